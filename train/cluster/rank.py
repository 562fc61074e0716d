"""What a rank does beside its work: it ends with its launcher, and it ends when it is stuck.

A process that waits in a collective of a device runs no handler of Python's: after SIGTERM it would wait until HCCL
gives up, half an hour later, and not even then say where it stood. So a thread, which a byte wakes that the signal
itself writes, gives the process `TRAIN_STOP_SECONDS` to finish its step and to save.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress

from train.cluster.environment import find_place, set_hccl_timeouts
from train.errors import UsageError

LAUNCHER = "TRAIN_LAUNCHER_PID"  # set by the launcher, for all that it starts
DONE = "TRAIN_DONE_FD"  # too: a pipe to it
STOP_SECONDS = "TRAIN_STOP_SECONDS"
# One step and one checkpoint: 880 GB, those of 72B, take this long at 0.5 GB/s. Batch systems kill sooner.
_DEFAULT_STOP_SECONDS = 1800.0
_STOPPING = (signal.SIGTERM, signal.SIGINT)
_STUCK_CODE = 1
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_STDERR = 2


def guard_rank() -> bool:
    """Call first, in the main thread, before MindSpore is imported. Whether this process has a launcher of ours.

    If so, a second signal must not end it: batch systems signal every process, and the launcher passes its own on, so
    a rank gets two of each. The launcher ends it where that is wanted.
    """
    if find_place(os.environ) is None:
        return False
    set_hccl_timeouts(os.environ)
    _Watchdog(stop_seconds()).start()
    return end_with_launcher()


def end_with_launcher() -> bool:
    """Have the kernel kill this process when its launcher dies, however that happens; False without one. On Linux."""
    launcher = os.environ.get(LAUNCHER)
    if launcher is None:
        return False
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))
    if os.getppid() != int(launcher):  # it died before the kernel was asked
        sys.exit(1)
    return True


def say_done() -> None:
    """Tell the launcher that this rank has done all that it had to: what happens to it from now on is no failure.

    MindSpore (2.7.0, on CPU) takes seconds to end a process that had a collective, and crashes in one of some twenty.
    """
    pipe = os.environ.get(DONE)
    if pipe is not None:
        with suppress(OSError):  # nobody listens: the launcher is gone, and this process about to be
            os.write(int(pipe), b".")


def stop_seconds(environment: Mapping[str, str] = os.environ) -> float:
    """Between SIGTERM and the end of a process that did not stop by itself."""
    text = environment.get(STOP_SECONDS, str(_DEFAULT_STOP_SECONDS))
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise UsageError(f"{STOP_SECONDS} is {text!r}; it must be a number of seconds")
    return seconds


class _Watchdog:
    """Ends the process `seconds` after the first signal that asks it to stop, and says where each thread stood."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._read, write = os.pipe()
        os.set_blocking(write, False)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)  # written before, and without, any handler of Python's

    def start(self) -> None:
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def _watch(self) -> None:
        while os.read(self._read, 1)[0] not in _STOPPING:
            pass
        time.sleep(self._seconds)
        message = f"train: stuck: still running {self._seconds:g} s after it was told to stop; ended. Its threads:\n"
        os.write(_STDERR, message.encode())
        faulthandler.dump_traceback(_STDERR, all_threads=True)
        os._exit(_STUCK_CODE)
