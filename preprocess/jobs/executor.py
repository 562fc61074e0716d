"""Run jobs on worker processes that a decoder may crash or hang.

A stage says what a job is and what one item (a sample) of it costs; the executor knows neither. A job whose worker
dies, or spends longer than the time limit on one item, runs again unchanged. If that fails too, it runs once more with
its items one at a time in another process, and only an item that fails twice in a fresh one is a reject (crash or
timeout). No other outcome depends on the machine.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from typing import Any, Protocol

from preprocess.errors import FatalError
from preprocess.jobs.signals import holding_signals
from preprocess.jobs.stage import Signal, Stage
from preprocess.jobs.worker import ATTEMPTS_ALONE, DEATH_ADVICE, LOAD_SECONDS, WorkerProcess, value_of

_ATTEMPTS_TOGETHER = 2  # of a job in an ordinary worker, before its items are done one by one
_ATTEMPTS_TO_LOAD = 3  # of any workers, one after another, before the run gives up
_POLL_SECONDS = 1.0


class Executor(Protocol):
    """Holds what runs jobs; entered once, it does one stage after another."""

    def run(
        self, stage: Stage, jobs: Iterable[Any], on_item: Signal, num_expected: int = 0
    ) -> Iterator[tuple[Any, Any]]:
        """Yield (job, result) as jobs end, in any order. Raises FatalError or WorkerBug.

        `num_expected` processes at most will have work in this stage or in the next one, and may start at once.
        """
        ...

    def __enter__(self) -> Executor: ...

    def __exit__(self, *exception: object) -> None: ...


class ThisProcess:
    """No process but this one, unprotected from crashes."""

    def run(
        self, stage: Stage, jobs: Iterable[Any], on_item: Signal, num_expected: int = 0
    ) -> Iterator[tuple[Any, Any]]:
        loaded = stage.load()
        for job in jobs:
            yield job, loaded.do_job(job, loaded.do_item, on_item)

    def __enter__(self) -> ThisProcess:
        return self

    def __exit__(self, *exception: object) -> None:
        pass


@dataclass
class _Assignment:
    job: Any
    num_deaths: int = 0  # of workers that had it

    @property
    def is_isolated(self) -> bool:
        return self.num_deaths >= _ATTEMPTS_TOGETHER


@dataclass
class _Worker:
    process: WorkerProcess
    stage: Stage | None = None  # that it has, or is loading
    num_loading: int = 0  # stages that it was told to load, and has not reported
    assignment: _Assignment | None = None
    since: float = field(default_factory=time.monotonic)  # start of loading, or of the item it works on

    def is_ready_for(self, stage: Stage) -> bool:
        return self.stage == stage and not self.num_loading

    def load(self, stage: Stage) -> None:
        if self.stage != stage:
            self.stage, self.since = stage, time.monotonic()
            self.num_loading += 1
            self.process.send("load", stage)

    def assign(self, assignment: _Assignment) -> None:
        self.assignment, self.since = assignment, time.monotonic()
        self.process.send("isolated_job" if assignment.is_isolated else "job", assignment.job)


class WorkerPool:
    """Processes of this machine. They start when there are jobs for them, or will be, and stay for the next stage.

    A job is sent to a worker that has loaded the stage: one that is still importing would keep us waiting.
    """

    def __init__(self, workers: int, item_timeout: float) -> None:
        """`item_timeout` is in seconds."""
        self._num_workers = workers
        self._item_timeout = item_timeout
        self._workers: list[_Worker] = []
        self._waiting: deque[_Assignment] = deque()
        self._failed_loads = 0  # in succession

    def run(
        self, stage: Stage, jobs: Iterable[Any], on_item: Signal, num_expected: int = 0
    ) -> Iterator[tuple[Any, Any]]:
        """Yield (job, result) as jobs end; a job is taken from `jobs` when a worker is free or started for it."""
        coming = (_Assignment(job) for job in jobs)
        self._waiting.clear()
        self._failed_loads = 0
        while len(self._workers) < min(num_expected, self._num_workers):
            self._start(stage)
        try:
            while self._hand_out(stage, coming):
                by_connection: dict[Any, _Worker] = {worker.process.connection: worker for worker in self._workers}
                for connection in wait(list(by_connection), timeout=_POLL_SECONDS):
                    yield from self._listen(by_connection[connection], on_item)
                self._replace_hung_workers()
        finally:
            self._stop([worker for worker in self._workers if worker.assignment])  # where the run was cut short

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop(list(self._workers))

    def _stop(self, workers: list[_Worker]) -> None:
        for worker in workers:
            worker.process.kill()
        for worker in workers:
            worker.process.wait_for_end()
            self._workers.remove(worker)

    def _hand_out(self, stage: Stage, coming: Iterator[_Assignment]) -> bool:
        """Give jobs to workers that are ready, start workers for others; whether any job is running or waiting."""
        free = [worker for worker in self._workers if worker.assignment is None]
        num_busy = len(self._workers) - len(free)
        while True:
            while len(free) < len(self._waiting):
                free.append(self._start(stage))  # it imports while the next job is read
            if num_busy + len(self._waiting) >= self._num_workers or (assignment := next(coming, None)) is None:
                break
            self._waiting.append(assignment)
        for worker in free:
            if self._waiting and worker.is_ready_for(stage):
                worker.assign(self._waiting.popleft())
        for worker, _ in zip((worker for worker in free if worker.assignment is None), self._waiting, strict=False):
            worker.load(stage)
        return bool(self._waiting) or any(worker.assignment for worker in self._workers)

    def _start(self, stage: Stage) -> _Worker:
        with holding_signals():  # until it is known to whoever stops it
            self._workers.append(worker := _Worker(WorkerProcess(self._item_timeout)))
        worker.load(stage)
        return worker

    def _listen(self, worker: _Worker, on_item: Signal) -> Iterator[tuple[Any, Any]]:
        try:
            kind, value = worker.process.receive()
        except EOFError:
            self._replace(worker)
            return
        worker.since = time.monotonic()
        if kind == "loaded":
            worker.num_loading -= 1
            self._failed_loads = 0
        elif kind == "item":
            on_item()
        else:
            result = value_of(kind, value)
            assert worker.assignment is not None
            job, worker.assignment = worker.assignment.job, None
            yield job, result

    def _replace_hung_workers(self) -> None:
        now = time.monotonic()
        for worker in list(self._workers):
            is_late = now - worker.since > self._patience(worker)
            if is_late and not worker.process.connection.poll():  # else it was us who did not listen
                worker.process.kill()
                self._replace(worker)

    def _patience(self, worker: _Worker) -> float:
        """Seconds that may pass without a sign of life."""
        if worker.num_loading:
            return LOAD_SECONDS
        if worker.assignment is None:
            return float("inf")
        if worker.assignment.is_isolated:  # it watches a process of its own, of which there may be one more than fresh
            return (1 + ATTEMPTS_ALONE) * (LOAD_SECONDS + self._item_timeout)
        return self._item_timeout

    def _replace(self, dead: _Worker) -> None:
        """Its job waits for whoever is ready next, be it a fresh worker."""
        exit_code = dead.process.wait_for_end()
        self._workers.remove(dead)
        if dead.num_loading:
            self._failed_loads += 1
            if self._failed_loads == _ATTEMPTS_TO_LOAD:
                raise FatalError(
                    f"{_ATTEMPTS_TO_LOAD} workers died or hung while loading, the last with exit code {exit_code}; "
                    + DEATH_ADVICE
                )
        if dead.assignment is not None:
            if dead.assignment.is_isolated:
                raise FatalError(f"a worker died (exit code {exit_code}) outside of any decoder; {DEATH_ADVICE}")
            dead.assignment.num_deaths += 1
            self._waiting.appendleft(dead.assignment)
