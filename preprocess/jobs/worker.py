"""Worker processes: WorkerProcess as seen by who starts one, `_WorkerMain` inside of it.

Messages are pairs of a kind and a value:

    to a worker      load STAGE, then any number of: job JOB, isolated_job JOB, item ITEM
    its answers      loaded, done RESULT, reject SAMPLE_ERROR (of an item); fatal LINE, bug TRACEBACK
    and meanwhile    item: one is taken up

A worker may die or hang in a decoder at any moment. It ends with its pipe, or when who started it dies.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import pickle
import signal
import sys
import traceback
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from preprocess.errors import FatalError, Reason, SampleError, WorkerBug, disk_error
from preprocess.jobs.signals import holding_signals
from preprocess.jobs.stage import LoadedStage, Stage

LOAD_SECONDS = 600.0  # for starting a process and importing, on whatever file system
ATTEMPTS_ALONE = 2  # of an item in a fresh process, before it is a reject
DEATH_ADVICE = "is memory short? Run again with fewer --workers"
_OUT_OF_MEMORY = 12  # exit code of a worker that got no memory: errno.ENOMEM
_SPAWN = multiprocessing.get_context("spawn")
_LAST_SECONDS = 5.0  # between the end of its pipe and that of a process
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")


def limit_threads() -> None:
    """One thread a process, whatever the machine says: jobs are spread over processes.

    Call before NumPy is imported and the tokenizer works.
    """
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"), TOKENIZERS_PARALLELISM="false")


def value_of(kind: str, value: Any) -> Any:
    """What an answer holds. Raises FatalError or WorkerBug where it is one of those."""
    if kind == "fatal":
        raise FatalError(value)
    if kind == "bug":
        raise WorkerBug(value)
    return value


def _describe_death(exit_code: int | None) -> str:
    """Of a worker in the middle of a sample, which may be innocent: short memory ends whoever asks for more."""
    advice = f"; {DEATH_ADVICE}" if exit_code in (_OUT_OF_MEMORY, -signal.SIGKILL) else ""
    return f"its decoder died (exit code {exit_code}){advice}"


class WorkerProcess:
    """Starts with the object, and dies at the latest with the thread that made it."""

    def __init__(self, item_timeout: float) -> None:
        self.connection, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_work, args=(theirs, item_timeout))
        with holding_signals():
            self._process.start()
        theirs.close()

    def send(self, kind: str, value: Any) -> None:
        """Waits for the worker to take it, unless it is small. `receive` says whether it is dead."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send((kind, value))

    def receive(self, timeout: float | None = None) -> tuple[str, Any]:
        """The next message. Raises TimeoutError; EOFError where the worker died, be it in the middle of a message."""
        if not self.connection.poll(timeout):
            raise TimeoutError
        try:
            message = self.connection.recv_bytes()
        except OSError as error:
            raise EOFError from error
        kind, value = pickle.loads(message)
        return kind, value

    def kill(self) -> None:
        self._process.kill()

    def wait_for_end(self) -> int | None:
        """Wait for its end, which should be near, and return the exit code."""
        self._process.join(_LAST_SECONDS)
        self._process.kill()
        self._process.join()
        self.connection.close()
        return self._process.exitcode


def _work(connection: Connection, item_timeout: float) -> None:
    """Main function of a worker process."""
    _die_with_parent()
    limit_threads()
    _WorkerMain(connection, item_timeout).serve()


def _die_with_parent() -> None:
    """No process is left hanging in a decoder, however the one ends that started it. On Linux."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid != os.getppid():  # it died before the kernel was asked
        sys.exit()


class _WorkerMain:
    def __init__(self, connection: Connection, item_timeout: float) -> None:
        self._connection = connection
        self._item_timeout = item_timeout
        self._loaded: LoadedStage | None = None

    def serve(self) -> None:
        while True:
            try:
                message = self._connection.recv_bytes()
            except (EOFError, OSError):
                return
            self._send(*self._answer(message))

    def _send(self, kind: str, value: Any) -> None:
        try:
            self._connection.send((kind, value))
        except (BrokenPipeError, ConnectionResetError):
            sys.exit()  # quietly, and past all that takes an OSError for one of the disk: nobody listens any more

    def _answer(self, message: bytes) -> tuple[str, Any]:
        try:
            kind, value = pickle.loads(message)  # imports the modules of the stage
            if kind == "load":
                return self._load(value)
            assert self._loaded is not None
            if kind == "item":
                return _do_item(self._loaded, value)
            return self._do_job(self._loaded, value, isolated=kind == "isolated_job")
        except FatalError as error:
            return "fatal", str(error)
        except MemoryError:
            sys.exit(_OUT_OF_MEMORY)  # as if the kernel had killed it, which is what else happens then
        except OSError as error:  # media that can't be read are SampleErrors: this is our own disk
            return "fatal", disk_error(error)
        except Exception:
            return "bug", traceback.format_exc()

    def _load(self, stage: Stage) -> tuple[str, Any]:
        self._loaded = None  # frees its memory first
        self._stage, self._loaded = stage, stage.load()
        return "loaded", None

    def _do_job(self, loaded: LoadedStage, job: Any, isolated: bool) -> tuple[str, Any]:
        before_item = partial(self._send, "item", None)
        if not isolated:
            return "done", loaded.do_job(job, loaded.do_item, before_item)
        with _Sandbox(self._stage, self._item_timeout) as sandbox:
            return "done", loaded.do_job(job, sandbox.do_item, before_item)


def _do_item(loaded: LoadedStage, item: Any) -> tuple[str, Any]:
    try:
        return "done", loaded.do_item(item)
    except SampleError as error:
        return "reject", error


class _Sandbox:
    """Does one item at a time in a process that is kept as long as it survives, since starting one takes long.

    An item that it does not survive is tried again in a fresh process, and what fails twice in a fresh one is a reject.
    """

    def __init__(self, stage: Stage, item_timeout: float) -> None:
        self._stage = stage
        self._item_timeout = item_timeout
        self._process: WorkerProcess | None = None

    def do_item(self, item: Any) -> Any:
        """Raises SampleError: what the item raised, crash or timeout. Raises FatalError or WorkerBug."""
        num_failures = 0
        while True:
            is_fresh = self._process is None
            process = self._process or self._start()
            process.send("item", item)
            try:
                kind, value = process.receive(self._item_timeout)
            except TimeoutError:
                reason, failure = Reason.TIMEOUT, f"it took more than {self._item_timeout:g} s"
            except EOFError:
                reason, failure = Reason.CRASH, _describe_death(process.wait_for_end())
            else:
                if kind == "reject":
                    raise value
                return value_of(kind, value)
            self._close()
            num_failures += is_fresh
            if num_failures == ATTEMPTS_ALONE:
                raise SampleError(reason, f"failed twice, alone in a fresh process; at last {failure}")

    def _start(self) -> WorkerProcess:
        process = self._process = WorkerProcess(self._item_timeout)
        process.send("load", self._stage)
        try:
            value_of(*process.receive(LOAD_SECONDS))
        except (TimeoutError, EOFError):
            raise FatalError(
                f"a process died or hung while loading (exit code {process.wait_for_end()}); {DEATH_ADVICE}"
            ) from None
        return process

    def _close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait_for_end()
            self._process = None

    def __enter__(self) -> _Sandbox:
        return self

    def __exit__(self, *exception: object) -> None:
        self._close()
