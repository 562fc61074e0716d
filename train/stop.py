"""Stopping by signal, with the work done so far saved."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from types import FrameType

_STDERR = 2
_SIGNALS = (signal.SIGTERM, signal.SIGINT)  # what schedulers send before they kill; Ctrl-C


class StopRequest:
    """In its context, the first SIGTERM or SIGINT only sets `signal_name`; a second one ends the process at once.

    Not so with `second_ends` False: a batch system signals every process of a job, and the launcher of ranks passes its
    own signal on, so that a rank gets two of each. That launcher ends its ranks at once where that is wanted.

    For the main thread only. Outside of the context nothing is ever requested. Whenever MindSpore (2.7.0) runs a graph
    it takes SIGINT for itself, and answers it with a SIGTERM to its own process: Ctrl-C arrives here as a SIGTERM, and
    once MindSpore is loaded, `signal_name` of a SIGTERM says so.
    """

    def __init__(self, *, second_ends: bool = True) -> None:
        self._second_ends = second_ends
        self.signal_name: str | None = None
        self._handlers: dict[signal.Signals, signal._HANDLER] = {}

    @property
    def is_requested(self) -> bool:
        return self.signal_name is not None

    def __enter__(self) -> StopRequest:
        self._handlers = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal_name = _name_of(number)
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_DFL if self._second_ends else _do_nothing)
        # Not print: the signal may have come in the middle of one.
        second = "; a second signal stops at once" if self._second_ends else ""
        message = f"train: {self.signal_name}: stopping after this step and saving{second}\n"
        with suppress(OSError):  # nobody reads it
            os.write(_STDERR, message.encode())


def _do_nothing(number: int, frame: FrameType | None) -> None:
    """Unlike SIG_IGN, it is not inherited by what this process starts."""


def _name_of(number: int) -> str:
    name = signal.Signals(number).name
    return f"{name} or Ctrl-C" if number == signal.SIGTERM and "mindspore" in sys.modules else name
