"""Jobs on a Ray cluster (extra `ray`): an existing one by RAY_ADDRESS, or one started on this machine.

Each actor holds one worker process of its own, so crashes and hangs of decoders are met exactly as on one machine; Ray
only hands jobs around. A job goes to an actor that runs: others wait for a CPU that someone else holds, or for a
machine that is still to come. A job whose actor is lost (its machine went away) goes to another one.
"""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from preprocess.errors import ConfigError, FatalError, WorkerBug
from preprocess.jobs.executor import WorkerPool
from preprocess.jobs.signals import Stopped
from preprocess.jobs.stage import Signal, Stage

_ACTORS_LOST = 3  # with the same job, until the run gives up
# MindSpore, which writes MindRecord, works with this implementation of protobuf alone. A process chooses one when it
# first imports protobuf, which Ray does.
_PROTOBUF = {"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python"}
_LOOK_SECONDS = 10.0  # between looks at the size of the cluster


@dataclass
class _ActorJob:
    job: Any
    num_lost: int = 0  # actors that had it


class RayExecutor:
    """Actors, which start when there are jobs for them, and stay for the next stage."""

    def __init__(self, item_timeout: float) -> None:
        """`item_timeout` is in seconds. Raises ConfigError without Ray."""
        self._ray = _import_ray()
        self._item_timeout = item_timeout
        self._actor_class = self._ray.remote(num_cpus=1, max_restarts=0)(_Actor)
        self._asked: dict[Any, Any] = {}  # future -> actor, until it answers that it runs
        self._idle: list[Any] = []
        self._running: dict[Any, tuple[Any, _ActorJob]] = {}  # future -> actor and what it does
        self._waiting: deque[_ActorJob] = deque()
        self._lost_unused = 0  # actors that had no job, in succession
        self._room, self._looked = 0, -_LOOK_SECONDS

    def run(
        self, stage: Stage, jobs: Iterable[Any], on_item: Signal, num_expected: int = 0
    ) -> Iterator[tuple[Any, Any]]:
        """Yield (job, result) as jobs end, in any order. Raises FatalError or WorkerBug."""
        self._connect()
        coming = (_ActorJob(job) for job in jobs)
        self._waiting.clear()
        self._lost_unused = 0
        self._ask_idle()
        try:
            while self._hand_out(stage, coming):
                futures = [*self._running, *self._asked]
                for future in self._ray.wait(futures, num_returns=1, timeout=_LOOK_SECONDS)[0]:
                    if future in self._asked:
                        self._take_in(future)
                    else:
                        yield from self._finish(future, on_item)
        finally:
            for actor, _ in self._running.values():  # where the run was cut short
                self._ray.kill(actor)
            self._running.clear()

    def __enter__(self) -> RayExecutor:
        return self

    def __exit__(self, *exception: object) -> None:
        for actor in [*self._asked.values(), *self._idle]:
            self._ray.kill(actor)

    def _hand_out(self, stage: Stage, coming: Iterator[_ActorJob]) -> bool:
        """Give jobs to idle actors, start actors for others; whether any job is running or waiting."""
        room = self._find_room()
        while len(self._running) + len(self._waiting) < room and (assignment := next(coming, None)) is not None:
            self._waiting.append(assignment)
        while self._idle and self._waiting:
            actor, assignment = self._idle.pop(), self._waiting.popleft()
            self._running[actor.do_job.remote(stage, assignment.job)] = (actor, assignment)
        while len(self._asked) < len(self._waiting) and len(self._running) + len(self._asked) < room:
            self._ask(self._actor_class.remote(self._item_timeout))
        return bool(self._waiting or self._running)

    def _find_room(self) -> int:
        """How many actors the cluster has room for, at least one, so that it may grow from nothing."""
        if time.monotonic() - self._looked >= _LOOK_SECONDS:
            self._room = max(1, int(self._ray.cluster_resources().get("CPU", 0)))
            self._looked = time.monotonic()
        return self._room

    def _ask(self, actor: Any) -> None:
        """Whether it runs: a new one may have to wait for a CPU, and one of before may be gone."""
        self._asked[actor.is_running.remote()] = actor

    def _ask_idle(self) -> None:
        while self._idle:
            self._ask(self._idle.pop())

    def _take_in(self, future: Any) -> None:
        actor = self._asked.pop(future)
        try:
            self._ray.get(future)
        except self._ray.exceptions.RayError as error:
            self._ray.kill(actor)
            self._lost_unused += 1
            if self._lost_unused > max(_ACTORS_LOST, self._room):  # more than a machine could take with it
                raise FatalError(f"Ray lost {self._lost_unused} actors before they had a job: {error}") from None
            return
        self._lost_unused = 0
        self._idle.append(actor)

    def _finish(self, future: Any, on_item: Signal) -> Iterator[tuple[Any, Any]]:
        actor, assignment = self._running.pop(future)
        try:
            result, num_items = self._ray.get(future)
        except self._ray.exceptions.RayTaskError as error:
            self._idle.append(actor)
            raise error.cause if isinstance(error.cause, FatalError) else WorkerBug(str(error)) from None
        except self._ray.exceptions.RayError as error:  # of the many that are no fault of the job
            self._ray.kill(actor)  # it may still live, out of reach
            assignment.num_lost += 1
            if assignment.num_lost == _ACTORS_LOST:
                raise FatalError(f"Ray lost {_ACTORS_LOST} actors with the same job: {error}") from None
            self._waiting.appendleft(assignment)
            self._ask_idle()  # those of the same machine are gone too
            return
        self._idle.append(actor)
        for _ in range(num_items):
            on_item()
        yield assignment.job, result

    def _connect(self) -> None:
        if self._ray.is_initialized():
            return
        # RAY_ADDRESS is read by Ray itself; without it, a cluster of this machine's cores starts.
        environment = {"env_vars": {"PYTHONPATH": _here(), **_PROTOBUF}}
        on_sigterm = signal.getsignal(signal.SIGTERM)
        try:
            self._ray.init(log_to_driver=False, include_dashboard=False, runtime_env=environment)
        except SystemExit:  # of Ray's handler of SIGTERM
            raise Stopped(signal.SIGTERM) from None
        finally:
            signal.signal(signal.SIGTERM, on_sigterm)


class _Actor:
    def __init__(self, item_timeout: float) -> None:
        self._pool = WorkerPool(1, item_timeout)

    def is_running(self) -> None:
        """Returns once it does."""

    def do_job(self, stage: Stage, job: Any) -> tuple[Any, int]:
        """The job's result, and how many items were taken up for it."""
        items: list[None] = []
        [(_, result)] = self._pool.run(stage, [job], lambda: items.append(None))
        return result, len(items)


def _import_ray() -> Any:
    os.environ.update(_PROTOBUF)
    try:
        import ray
    except ImportError:
        raise ConfigError("--executor ray needs Ray: pip install 'qwen-vl-shards[ray]'") from None
    return ray


def _here() -> str:
    """Where this package can be imported from, for actors on this machine and on machines that share the folder."""
    return os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
