"""A stage that does to its process what a test says, for the tests of workers. A module that workers can import."""

from __future__ import annotations

import multiprocessing
import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from preprocess.errors import SampleError

_done_here: list[str] = []  # items, in this process


@dataclass(frozen=True)
class FaultyStage:
    """A job is a list of items, an item a word that says what befalls the process. Results are the items themselves,
    or the reason and detail of their SampleError.
    """

    folder: Path  # of the traces that it leaves
    on_load: str = ""

    def load(self) -> FaultyStage:
        with open(self.folder / "loads", "a") as file:
            file.write("sandbox\n" if _is_sandbox() else "worker\n")
        self._suffer(self.on_load)
        return self

    @property
    def loads(self) -> list[str]:
        """Which processes loaded the stage, in order."""
        return (self.folder / "loads").read_text().split()

    def do_item(self, item: str) -> str:
        self._suffer(item)
        _done_here.append(item)
        return item

    def do_job(self, job: list[str], do_item: Any, before_item: Any) -> list[str]:
        results = []
        for item in job:
            before_item()
            try:
                results.append(do_item(item))
            except SampleError as error:
                results.append(f"{error.reason.value}: {error.detail}")
        return results

    def _suffer(self, fault: str) -> None:
        if fault.endswith(" in the sandbox") and not _is_sandbox():
            os.abort()  # so that there is one
        match fault.removesuffix(" in the sandbox"):
            case "crash":
                os.abort()
            case "exit":
                sys.exit(3)
            case "memory runs out":
                raise MemoryError
            case "the kernel kills":
                os.kill(os.getpid(), signal.SIGKILL)
            case "crash unless fresh" if _done_here:
                os.abort()
            case "crash the first two workers" if len(self.loads) <= 2:
                os.abort()
            case "crash the first two sandboxes" if self.loads.count("sandbox") <= 2:
                os.abort()
            case "crash sandboxes" if _is_sandbox():
                os.abort()
            case "stale handle":
                raise OSError(116, "Stale file handle", "tokenizer.json")
            case "stale handle of sandboxes" if _is_sandbox():
                raise OSError(116, "Stale file handle", "tokenizer.json")
            case "bug of sandboxes" if _is_sandbox():
                raise ZeroDivisionError
            case "crash while sending":
                marker = self.folder / "crashed"
                if not marker.exists():
                    marker.touch()
                    Connection._send = _send_half  # type: ignore[attr-defined]
            case "hang":
                hang(self.folder)
            case "wait" | "wait too":
                open(self.folder / fault).close()


def hang(folder: Path) -> NoReturn:
    """For ever, holding the pipe `folder/hanging` open."""
    with open(folder / "hanging", "w") as pipe:
        pipe.write("x")
        pipe.flush()
        while True:
            signal.pause()


def _is_sandbox() -> bool:
    return ":" in multiprocessing.current_process().name  # a process of a process


def _send_half(self: Connection, content: Any) -> NoReturn:
    os.write(self.fileno(), bytes(content[: len(content) // 2]))
    os.abort()


@contextmanager
def within(seconds: int) -> Iterator[None]:
    """A test that would wait for ever fails."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"not done within {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


class Hanging:
    """The processes that `hang`, as seen through the other end of the pipe that they hold."""

    def __init__(self, folder: Path) -> None:
        os.mkfifo(folder / "hanging")
        self._end = os.open(folder / "hanging", os.O_RDONLY | os.O_NONBLOCK)  # not waiting for the first of them
        os.set_blocking(self._end, True)

    def wait_for(self, num_processes: int) -> None:
        for _ in range(num_processes):
            select.select([self._end], [], [])
            assert os.read(self._end, 1) == b"x"

    def wait_for_their_end(self) -> None:
        assert os.read(self._end, 1) == b""
        os.close(self._end)
