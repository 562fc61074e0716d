"""Jobs on a Ray cluster (extra `ray`): an existing one by RAY_ADDRESS, or one started on this machine.

Each actor holds one worker process of its own, so crashes and hangs of decoders are met exactly as on one machine; Ray
only hands jobs around. A job whose actor is lost (its machine went away) goes to another one.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from preprocess.errors import ConfigError, FatalError, WorkerBug
from preprocess.executor import Signal, Stage, WorkerPool

_ACTORS_LOST = 3  # with the same job, before the run gives up


class RayExecutor:
    """Actors, which start when there are jobs for them, and stay for the next stage."""

    def __init__(self, item_timeout: float) -> None:
        """`item_timeout` is in seconds. Raises ConfigError without Ray."""
        self._ray = _import_ray()
        self._item_timeout = item_timeout
        self._actor_class = self._ray.remote(num_cpus=1, max_restarts=0)(_Actor)
        self._actors: list[Any] = []
        self._idle: list[Any] = []

    def run(self, stage: Stage, jobs: Iterable[Any], on_item: Signal) -> Iterator[tuple[Any, Any]]:
        """Yield (job, result) as jobs end, in any order. Raises FatalError or WorkerBug."""
        ray = self._ray
        numbered = enumerate(jobs)
        num_actors = self._connect()
        lost: Counter[int] = Counter()  # actors, by job number
        running: dict[Any, tuple[Any, int, Any]] = {}  # future -> actor, number, job

        def give(number: int, job: Any) -> None:
            if not self._idle:
                self._actors.append(self._actor_class.remote(self._item_timeout))
                self._idle.append(self._actors[-1])
            actor = self._idle.pop()
            running[actor.do_job.remote(stage, job)] = (actor, number, job)

        for _, (number, job) in zip(range(num_actors), numbered, strict=False):
            give(number, job)
        while running:
            [future], _ = ray.wait(list(running), num_returns=1)
            actor, number, job = running.pop(future)
            try:
                result, num_items = ray.get(future)
            except ray.exceptions.RayActorError as error:
                lost[number] += 1
                if lost[number] == _ACTORS_LOST:
                    raise FatalError(f"Ray lost {_ACTORS_LOST} actors with the same job: {error}") from None
                give(number, job)
                continue
            except ray.exceptions.RayTaskError as error:
                raise error.cause if isinstance(error.cause, FatalError) else WorkerBug(str(error)) from None
            self._idle.append(actor)
            for _ in range(num_items):
                on_item()
            if (following := next(numbered, None)) is not None:
                give(*following)
            yield job, result

    def __enter__(self) -> RayExecutor:
        return self

    def __exit__(self, *exception: object) -> None:
        for actor in self._actors:
            self._ray.kill(actor)

    def _connect(self) -> int:
        """How many actors the cluster has room for."""
        if not self._ray.is_initialized():
            # RAY_ADDRESS is read by Ray itself; without it, a cluster of this machine's cores starts.
            environment = {"env_vars": {"PYTHONPATH": _here()}}
            self._ray.init(log_to_driver=False, include_dashboard=False, runtime_env=environment)
        return max(1, int(self._ray.cluster_resources().get("CPU", 1)))


class _Actor:
    def __init__(self, item_timeout: float) -> None:
        self._pool = WorkerPool(1, item_timeout)

    def do_job(self, stage: Stage, job: Any) -> tuple[Any, int]:
        """The job's result, and how many items were taken up for it."""
        items: list[None] = []
        [(_, result)] = self._pool.run(stage, [job], lambda: items.append(None))
        return result, len(items)


def _import_ray() -> Any:
    try:
        import ray
    except ImportError:
        raise ConfigError("--executor ray needs Ray: pip install 'qwen-vl-shards[ray]'") from None
    return ray


def _here() -> str:
    """Where this package can be imported from, for actors on this machine and on machines that share the folder."""
    return os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
