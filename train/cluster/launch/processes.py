"""One process that the launcher starts, a rank or the scheduler: its environment, its log, its end.

Each is the first of a process group, and what it starts itself ends with it. The log is a file from the start, no pipe:
it does not depend on the launcher, and a terminal that is held up holds up no rank.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from train.cluster.environment import ROLE, SCHEDULER, SIZE, WORKER
from train.cluster.launch.job import Job
from train.cluster.rank import DONE, LAUNCHER

LOGS = "logs"  # the folder of logs, in output_dir
# `vl-train` has no current folder on its path; `-m` puts one there, and it may hold a `train` that isn't ours.
PYTHON = (sys.executable, *(() if sys.path[0] in ("", os.getcwd()) else ("-P",)), "-m")
SCHEDULER_COMMAND = (*PYTHON, "train.cluster.launch.scheduler")
_KILL_SECONDS = 10.0  # a process in the middle of a driver's call takes a moment to die
_MOST_LINES, _MOST_BYTES = 15, 8_000  # of a log, shown where its process failed

# Seconds. A variable that the user set stays. Those of HCCL are set by the ranks (`train.cluster.environment`).
_TIMEOUTS = {
    # Until all ranks have registered with the scheduler; the launchers have met before, so only imports are left.
    "MS_TOPO_TIMEOUT": 600,
    # Both MindSpore's heartbeat and how long a collective on CPU waits; 30 is less than ranks differ in compiling, or
    # than one may save alone. Dead processes are the launcher's business, and need no heartbeat.
    "MS_NODE_TIMEOUT": 1800,
}


def environment_of(job: Job, rank: int | None, before: Mapping[str, str]) -> dict[str, str]:
    """What `msrun` would set, for a rank or (None) for the scheduler; see `train.cluster.environment`."""
    variables = {name: before.get(name, str(seconds)) for name, seconds in _TIMEOUTS.items()}
    variables |= {
        SIZE: str(job.size),
        "RANK_SIZE": str(job.size),
        "MS_SCHED_HOST": job.address,
        "MS_SCHED_PORT": str(job.port),
        LAUNCHER: str(os.getpid()),
        "PYTHONUNBUFFERED": "1",  # a process that is killed has written all it said
        "GLOG_v": before.get("GLOG_v", "3"),  # MindSpore's own log: errors only
    }
    if rank is None:
        variables |= {ROLE: SCHEDULER, "RANK_ID": "0"}
    else:
        variables |= {
            ROLE: WORKER,
            "MS_NODE_ID": str(rank),
            "MS_NODE_RANK": str(job.node),
            "RANK_ID": str(rank),
            "DEVICE_ID": str(rank - job.ranks[0]),
        }
    return {**before, **variables}


class Process:
    """Starts with the object, and appends to log_dir/{name}.log. Raises OSError where that can't be written."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str], log_dir: Path) -> None:
        self.name = name
        self.log = log_dir / f"{name.replace(' ', '_')}.log"
        self._begin = time.monotonic()
        self._is_done = False
        self._done, theirs = os.pipe()
        os.set_blocking(self._done, False)
        with self.log.open("ab") as log:
            date = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
            log.write(f"--- {date} {name} of {environment[SIZE]} on {socket.gethostname()}\n".encode())
            log.flush()
            self.log_start = log.tell()
            self._process = subprocess.Popen(
                command,
                env={**environment, DONE: str(theirs)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=(theirs,),
            )
        os.close(theirs)
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """Its exit code, negative after a signal; None while it runs. 0 once it had done its work, however it ended."""
        code = self._process.poll()
        return 0 if code and self.had_done() else code

    def crash_after_its_work(self) -> str | None:
        """What became of a process that had done its work, where it did not end as it should."""
        code = self._process.poll()
        if not code or not self.had_done():
            return None
        end = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"{self.name} had done its work when it ended with {end}: nothing is lost"

    def stop(self) -> None:
        """Ask it to stop, as a batch system would."""
        if self.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it, with all that it started. It may have ended before; what it started need not have."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def is_buried(self) -> bool:
        """Wait for the end of a process that was killed. False if it does not come."""
        try:
            self._process.wait(_KILL_SECONDS)
        except subprocess.TimeoutExpired:
            return False
        return True

    def had_done(self) -> bool:
        """Whether it has said that it did all its work."""
        with suppress(BlockingIOError):
            self._is_done = self._is_done or os.read(self._done, 1) != b""
        return self._is_done

    def describe_end(self) -> str:
        """Such as: rank 1 ended with exit code 1 after 12 s."""
        code = self.poll()
        after = f"after {time.monotonic() - self._begin:.0f} s"
        if code is None or code >= 0:
            return f"{self.name} ended with exit code {code} {after}"
        advice = "; is memory short?" if code == -signal.SIGKILL else ""
        return f"{self.name} was ended by {signal.Signals(-code).name} {after}{advice}"

    def last_lines(self) -> list[str]:
        """Of what this process wrote."""
        with self.log.open("rb") as log:
            end = log.seek(0, os.SEEK_END)
            log.seek(max(self.log_start, end - _MOST_BYTES))
            text = log.read().decode(errors="replace")
        return [line for line in text.splitlines() if line.strip()][-_MOST_LINES:]


class Copy:
    """What a process writes to its log from now on, on the terminal too."""

    def __init__(self, process: Process, terminal: BinaryIO) -> None:
        self._log = process.log.open("rb")
        self._log.seek(process.log_start)
        self._terminal: BinaryIO | None = terminal

    def go_on(self) -> None:
        """Copy what came since the last time."""
        new = self._log.read()
        if not new or self._terminal is None:
            return
        try:
            self._terminal.write(new)
            self._terminal.flush()
        except OSError:
            self._terminal = None  # it was closed, as that of a connection that broke; the log has all
