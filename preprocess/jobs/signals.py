"""SIGTERM (a batch queue) and SIGINT (Ctrl-C) end a run in order: its processes are stopped, and one line says so."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(BaseException):
    """A signal came. No error: like KeyboardInterrupt, it passes by whatever handles errors."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}; the same command goes on")
        self.exit_code = 128 + number  # as shells say it: 143, 130


@contextmanager
def stopping_on_signals() -> Iterator[None]:
    """In here, the first of these signals raises Stopped, and further ones are ignored. In the main thread only.

    A signal that is ignored (that of Ctrl-C, in the background of a script) stays ignored.
    """
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    stopped: Stopped | None = None

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopped
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        stopped = Stopped(number)
        if _held.depth:
            _held.stopped = stopped
        else:
            raise stopped

    try:
        for number in _SIGNALS:
            if before[number] != signal.SIG_IGN:
                signal.signal(number, stop)
        yield
    except BaseException:
        if stopped is not None:
            raise stopped from None  # whatever the code that was interrupted made of it, as Ray's makes a SystemError
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass
class _Held:
    depth: int = 0  # of `holding_signals`
    stopped: Stopped | None = None  # what waits there


_held = _Held()


@contextmanager
def holding_signals() -> Iterator[None]:
    """In here, these signals are blocked, and Stopped waits where another thread takes one. In the main thread only.

    A process that starts in here inherits that, so it never gets them; who started it stops it.
    """
    resource_tracker.ensure_running()  # multiprocessing starts it with the first process, and then lets signals through
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    _held.depth += 1
    try:
        yield
    finally:
        _held.depth -= 1
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if _held.stopped is not None and not _held.depth:
            stopped, _held.stopped = _held.stopped, None
            raise stopped
