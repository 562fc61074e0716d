"""A small process beside the launcher, which ends the others where the launcher was killed and can't.

It reads a pipe of which the launcher alone holds the other end: `+PID` for a process group that began, `-PID` for one
that is over, `.` for a launcher that has nothing left to do. If the pipe ends without it, the launcher is dead. The
kernel kills the processes themselves at the same moment (`train.cluster.rank`), but not what they started, and it says
nothing.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

_END = b"."
_STDERR = 2
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)  # meant for the launcher


class Keeper:
    """Made before the launcher has threads: it is a fork."""

    def __init__(self, log: Path) -> None:
        launcher = os.getpid()
        read, self._write = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._write)
            _keep(read, launcher, log)
            os._exit(0)
        os.close(read)

    def add(self, pid: int) -> None:
        self._say(b"+%d\n" % pid)

    def remove(self, pid: int) -> None:
        self._say(b"-%d\n" % pid)

    def close(self) -> None:
        self._say(_END + b"\n")
        os.close(self._write)
        os.waitpid(self._pid, 0)

    def _say(self, line: bytes) -> None:
        with suppress(
            BrokenPipeError
        ):  # somebody killed it: the launcher itself is alive, and needs it only when it is not
            os.write(self._write, line)


def _keep(pipe: int, launcher: int, log: Path) -> None:
    os.setsid()
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    with os.fdopen(pipe, "rb") as lines:
        for line in lines:
            if line.startswith(_END):
                return
            pid = int(line[1:])
            groups.add(pid) if line.startswith(b"+") else groups.discard(pid)
    for pid in groups:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
    message = f"launch: the launcher (process {launcher}) was killed; its {len(groups)} processes were ended\n".encode()
    with suppress(OSError):
        os.write(_STDERR, message)
    with suppress(OSError), log.open("ab") as file:
        file.write(message)
