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

from preprocess.errors import FatalError, Reason, SampleError

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
    """What crosses to worker processes: picklable, small."""

    def load(self) -> LoadedStage: ...


class WorkerBug(Exception):
    """A worker ended with an exception that is our fault; the message is its traceback."""


class Executor(Protocol):
    def run(self, stage: Stage, jobs: Iterable[Any], on_item: Signal) -> Iterator[tuple[Any, Any]]:
        """Yield (job, result) as jobs end, in any order. Raises FatalError or WorkerBug."""
        ...


@dataclass(frozen=True, kw_only=True)
class LocalExecutor:
    """Processes of this machine."""

    workers: int  # 0: no processes but this one, unprotected from crashes
    item_timeout: float  # seconds

    def run(self, stage: Stage, jobs: Iterable[Any], on_item: Signal) -> Iterator[tuple[Any, Any]]:
        if self.workers == 0:
            loaded = stage.load()
            for job in jobs:
                yield job, loaded.do_job(job, loaded.do_item, on_item)
            return
        pool = WorkerPool(stage, self.workers, self.item_timeout)
        try:
            yield from pool.run(jobs, on_item)
        finally:
            pool.stop()


@dataclass
class _Worker:
    process: Any
    connection: Connection
    job: tuple[int, Any] | None = None  # with its number
    is_loaded: bool = False
    since: float = field(default_factory=time.monotonic)  # start of loading, or of the item it works on


class WorkerPool:
    """Worker processes for one stage; they stay for the next `run` until `stop`."""

    def __init__(self, stage: Stage, workers: int, item_timeout: float) -> None:
        self._stage = stage
        self._num_workers = workers
        self._item_timeout = item_timeout
        self._workers: list[_Worker] = []
        self._deaths: Counter[int] = Counter()  # of workers, by job number

    def run(self, jobs: Iterable[Any], on_item: Signal) -> Iterator[tuple[Any, Any]]:
        """Yield (job, result) as jobs end; a job is taken from `jobs` when a worker is free for it."""
        numbered = enumerate(jobs)
        self._deaths.clear()
        while self._hand_out(numbered):
            by_connection = {worker.connection: worker for worker in self._workers}
            for connection in wait(list(by_connection), timeout=_POLL_SECONDS):
                assert isinstance(connection, Connection)
                yield from self._listen(by_connection[connection], on_item)
            self._kill_hung_workers()

    def stop(self) -> None:
        for worker in self._workers:
            worker.connection.close()
            worker.process.terminate()
            worker.process.join()
        self._workers.clear()

    def _hand_out(self, jobs: Iterator[tuple[int, Any]]) -> bool:
        """Give idle workers jobs, starting workers as long as there are jobs for them; whether any job is running."""
        idle = [worker for worker in self._workers if worker.job is None]
        while idle or len(self._workers) < self._num_workers:
            job = next(jobs, None)
            if job is None:
                break
            if not idle:
                idle.append(self._start())
                self._workers.append(idle[0])
            self._assign(idle.pop(), job)
        return any(worker.job is not None for worker in self._workers)

    def _start(self) -> _Worker:
        ours, theirs = _SPAWN.Pipe()
        process = _SPAWN.Process(target=_work, args=(theirs, self._stage, self._item_timeout))
        process.start()
        theirs.close()
        return _Worker(process, ours)

    def _assign(self, worker: _Worker, job: tuple[int, Any]) -> None:
        worker.job = job
        worker.since = time.monotonic()
        # One that died while idle can't take it; `_listen` then meets the end of its pipe.
        with suppress(BrokenPipeError, ConnectionResetError):
            worker.connection.send((job[1], self._is_isolating(job)))

    def _is_isolating(self, job: tuple[int, Any]) -> bool:
        return self._deaths[job[0]] >= _ATTEMPTS_TOGETHER

    def _listen(self, worker: _Worker, on_item: Signal) -> Iterator[tuple[Any, Any]]:
        try:
            kind, value = worker.connection.recv()
        except (EOFError, ConnectionResetError):
            self._replace(worker)
            return
        worker.since = time.monotonic()
        if kind == "loaded":
            worker.is_loaded = True
        elif kind == "item":
            on_item()
        elif kind == "done":
            assert worker.job is not None
            job, worker.job = worker.job[1], None
            yield job, value
        elif kind == "fatal":
            raise FatalError(value)
        else:
            raise WorkerBug(value)

    def _kill_hung_workers(self) -> None:
        for worker in list(self._workers):
            if worker.job is not None and time.monotonic() - worker.since > self._patience(worker, worker.job):
                worker.process.kill()
                self._replace(worker)

    def _patience(self, worker: _Worker, job: tuple[int, Any]) -> float:
        """Seconds that may pass without a sign of life."""
        if not worker.is_loaded:
            return _LOAD_SECONDS
        if self._is_isolating(job):  # it watches its own processes, which start anew for every attempt
            return _ATTEMPTS_ALONE * (_LOAD_SECONDS + self._item_timeout)
        return self._item_timeout

    def _replace(self, dead: _Worker) -> None:
        """Start a fresh worker in its place, with the same job."""
        dead.connection.close()
        dead.process.join()
        self._workers.remove(dead)
        if dead.job is None:
            return
        if self._is_isolating(dead.job):
            raise FatalError(
                f"a worker died (exit code {dead.process.exitcode}) outside of any decoder; is memory short? "
                "Run again with fewer --workers"
            )
        self._deaths[dead.job[0]] += 1
        fresh = self._start()
        self._workers.append(fresh)
        self._assign(fresh, dead.job)


def _work(connection: Connection, stage: Stage, item_timeout: float) -> None:
    """Main function of a worker: takes (job, isolate) until the pipe closes."""
    limit_threads()
    loaded = stage.load()
    connection.send(("loaded", None))
    before_item = partial(connection.send, ("item", None))
    alone = partial(_do_item_alone, stage, item_timeout)
    while True:
        try:
            job, isolate = connection.recv()
        except EOFError:
            return
        try:
            result = loaded.do_job(job, alone if isolate else loaded.do_item, before_item)
        except (FatalError, OSError) as error:  # media that can't be read are SampleErrors: this is our own disk
            connection.send(("fatal", str(error)))
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
