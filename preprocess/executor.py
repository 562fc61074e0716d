"""Run jobs on worker processes that a decoder may crash or hang.

A stage says what a job is and what one item (a sample) of it costs; the executor knows neither. A job whose worker
dies, or spends longer than the time limit on one item, runs again unchanged. If that fails too, it runs once more with
every item in a fresh process of its own, and only an item that fails there twice is a reject (crash or timeout). No
other outcome depends on the machine.
"""

from __future__ import annotations

import multiprocessing
import os
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

from preprocess.errors import FatalError, Reason, SampleError, disk_error

_SPAWN = multiprocessing.get_context("spawn")
_ATTEMPTS_TOGETHER = 2  # of a job in an ordinary worker, before its items are done one by one
_ATTEMPTS_ALONE = 2  # of an item in a process of its own, before it is a reject
_POLL_SECONDS = 1.0
_LOAD_SECONDS = 600.0  # for starting a process and importing, on whatever file system
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")

Signal = Callable[[], None]  # a sign of life: an item is taken up


class LoadedStage(Protocol):
    """A stage in a process of its own, with whatever it had to load."""

    def do_item(self, item: Any) -> Any:
        """The dangerous part, on one sample. Raises SampleError."""
        ...

    def do_job(self, job: Any, do_item: Callable[[Any], Any], before_item: Signal) -> Any:
        """A whole job; `do_item` is the method above, or the same in a fresh process each time."""
        ...


class Stage(Protocol):
    """What crosses to worker processes: picklable, small, and equal to its copies."""

    def load(self) -> LoadedStage: ...


class WorkerBug(Exception):
    """A worker ended with an exception that is our fault; the message is its traceback."""


class Executor(Protocol):
    """Holds what runs jobs; entered once, it does one stage after another."""

    def run(self, stage: Stage, jobs: Iterable[Any], on_item: Signal) -> Iterator[tuple[Any, Any]]:
        """Yield (job, result) as jobs end, in any order. Raises FatalError or WorkerBug."""
        ...

    def __enter__(self) -> Executor: ...

    def __exit__(self, *exception: object) -> None: ...


class ThisProcess:
    """No process but this one, unprotected from crashes."""

    def run(self, stage: Stage, jobs: Iterable[Any], on_item: Signal) -> Iterator[tuple[Any, Any]]:
        loaded = stage.load()
        for job in jobs:
            yield job, loaded.do_job(job, loaded.do_item, on_item)

    def __enter__(self) -> ThisProcess:
        return self

    def __exit__(self, *exception: object) -> None:
        pass


@dataclass(frozen=True)
class _Assignment:
    stage: Stage
    number: int  # of the job, in this run
    job: Any


@dataclass
class _Worker:
    process: Any
    connection: Connection
    loaded: Stage | None = None
    assignment: _Assignment | None = None
    since: float = field(default_factory=time.monotonic)  # start of loading, or of the item it works on


class WorkerPool:
    """Processes of this machine. They start when there are jobs for them, and stay for the next stage."""

    def __init__(self, workers: int, item_timeout: float) -> None:
        """`item_timeout` is in seconds."""
        self._num_workers = workers
        self._item_timeout = item_timeout
        self._workers: list[_Worker] = []
        self._deaths: Counter[int] = Counter()  # of workers, by job number

    def run(self, stage: Stage, jobs: Iterable[Any], on_item: Signal) -> Iterator[tuple[Any, Any]]:
        """Yield (job, result) as jobs end; a job is taken from `jobs` when a worker is free for it."""
        assignments = (_Assignment(stage, number, job) for number, job in enumerate(jobs))
        self._deaths.clear()
        try:
            while self._hand_out(assignments):
                by_connection = {worker.connection: worker for worker in self._workers}
                for connection in wait(list(by_connection), timeout=_POLL_SECONDS):
                    assert isinstance(connection, Connection)
                    yield from self._listen(by_connection[connection], on_item)
                self._kill_hung_workers()
        finally:
            self._stop([worker for worker in self._workers if worker.assignment])  # where the run was cut short

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop(list(self._workers))

    def _stop(self, workers: list[_Worker]) -> None:
        for worker in workers:
            worker.connection.close()
            worker.process.terminate()
            worker.process.join()
            self._workers.remove(worker)

    def _hand_out(self, assignments: Iterator[_Assignment]) -> bool:
        """Give idle workers jobs, starting workers as long as there are jobs for them; whether any job is running."""
        idle = [worker for worker in self._workers if worker.assignment is None]
        while idle or len(self._workers) < self._num_workers:
            assignment = next(assignments, None)
            if assignment is None:
                break
            self._assign(idle.pop() if idle else self._start(), assignment)
        return any(worker.assignment for worker in self._workers)

    def _start(self) -> _Worker:
        ours, theirs = _SPAWN.Pipe()
        process = _SPAWN.Process(target=_work, args=(theirs, self._item_timeout))
        process.start()
        theirs.close()
        self._workers.append(worker := _Worker(process, ours))
        return worker

    def _assign(self, worker: _Worker, assignment: _Assignment) -> None:
        worker.assignment = assignment
        worker.since = time.monotonic()
        # One that died while idle can't take it; `_listen` then meets the end of its pipe.
        with suppress(BrokenPipeError, ConnectionResetError):
            worker.connection.send((assignment.stage, assignment.job, self._is_isolating(assignment)))

    def _is_isolating(self, assignment: _Assignment) -> bool:
        return self._deaths[assignment.number] >= _ATTEMPTS_TOGETHER

    def _listen(self, worker: _Worker, on_item: Signal) -> Iterator[tuple[Any, Any]]:
        try:
            kind, value = worker.connection.recv()
        except (EOFError, ConnectionResetError):
            self._replace(worker)
            return
        assert worker.assignment is not None
        worker.since = time.monotonic()
        if kind == "loaded":
            worker.loaded = worker.assignment.stage
        elif kind == "item":
            on_item()
        elif kind == "done":
            job, worker.assignment = worker.assignment.job, None
            yield job, value
        elif kind == "fatal":
            raise FatalError(value)
        else:
            raise WorkerBug(value)

    def _kill_hung_workers(self) -> None:
        for worker in list(self._workers):
            if worker.assignment and time.monotonic() - worker.since > self._patience(worker, worker.assignment):
                worker.process.kill()
                self._replace(worker)

    def _patience(self, worker: _Worker, assignment: _Assignment) -> float:
        """Seconds that may pass without a sign of life."""
        if worker.loaded != assignment.stage:
            return _LOAD_SECONDS
        if self._is_isolating(assignment):  # it watches its own processes, which start anew for every attempt
            return _ATTEMPTS_ALONE * (_LOAD_SECONDS + self._item_timeout)
        return self._item_timeout

    def _replace(self, dead: _Worker) -> None:
        """Start a fresh worker in its place, with the same job."""
        dead.connection.close()
        dead.process.join()
        self._workers.remove(dead)
        if dead.assignment is None:
            return
        if self._is_isolating(dead.assignment):
            raise FatalError(
                f"a worker died (exit code {dead.process.exitcode}) outside of any decoder; is memory short? "
                "Run again with fewer --workers"
            )
        self._deaths[dead.assignment.number] += 1
        self._assign(self._start(), dead.assignment)


def _work(connection: Connection, item_timeout: float) -> None:
    """Main function of a worker: takes (stage, job, isolate) until the pipe closes. A new stage is loaded first."""
    limit_threads()
    stage: Stage | None = None
    loaded: LoadedStage | None = None
    before_item = partial(connection.send, ("item", None))
    while True:
        try:
            wanted, job, isolate = connection.recv()
        except EOFError:
            return
        try:
            if loaded is None or stage != wanted:
                loaded = None  # frees its memory first
                stage, loaded = wanted, wanted.load()
                connection.send(("loaded", None))
            do_item = partial(_do_item_alone, wanted, item_timeout) if isolate else loaded.do_item
            result = loaded.do_job(job, do_item, before_item)
        except FatalError as error:
            connection.send(("fatal", str(error)))
            return
        except OSError as error:  # media that can't be read are SampleErrors: this is our own disk
            connection.send(("fatal", disk_error(error)))
            return
        except Exception:
            connection.send(("bug", traceback.format_exc()))
            return
        connection.send(("done", result))


def limit_threads() -> None:
    """One thread a process: jobs are spread over processes. Call before NumPy's or the tokenizer's first work."""
    for variable in _THREAD_VARIABLES:
        os.environ.setdefault(variable, "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def _do_item_alone(stage: Stage, timeout: float, item: Any) -> Any:
    """One item in a fresh process. Raises SampleError: what the item raised, or crash or timeout after two attempts."""
    for attempt in range(1, _ATTEMPTS_ALONE + 1):
        try:
            return _do_item_in_fresh_process(stage, timeout, item)
        except SampleError as error:
            if error.reason not in (Reason.CRASH, Reason.TIMEOUT) or attempt == _ATTEMPTS_ALONE:
                raise
    raise AssertionError("unreachable")


def _do_item_in_fresh_process(stage: Stage, timeout: float, item: Any) -> Any:
    ours, theirs = _SPAWN.Pipe(duplex=False)
    process = _SPAWN.Process(target=_send_result, args=(theirs, stage, item))
    process.start()
    theirs.close()
    try:
        if not ours.poll(_LOAD_SECONDS):
            raise FatalError(f"a worker did not start in {_LOAD_SECONDS:g} s; is the machine overloaded?")
        ours.recv()  # it has loaded
        if not ours.poll(timeout):
            raise SampleError(Reason.TIMEOUT, f"not decoded in {timeout:g} s, alone in a fresh process, twice")
        result = ours.recv()
    except EOFError:
        process.join()
        raise SampleError(
            Reason.CRASH, f"its decoder died (exit code {process.exitcode}), alone in a fresh process, twice"
        ) from None
    finally:
        process.kill()
        process.join()
        ours.close()
    if isinstance(result, Exception):
        raise result
    return result


def _send_result(connection: Connection, stage: Stage, item: Any) -> None:
    limit_threads()
    loaded = stage.load()
    connection.send(None)
    try:
        result = loaded.do_item(item)
    except (SampleError, FatalError) as error:
        result = error
    except Exception:
        result = WorkerBug(traceback.format_exc())
    connection.send(result)
