"""Jobs on a Ray cluster (extra `ray`): an existing one by RAY_ADDRESS, or one started on this machine.

Each actor holds one worker process of its own, so crashes and hangs of decoders are met exactly as on one machine; Ray
only hands jobs around. A job whose actor is lost (its machine went away) goes to another one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from preprocess.errors import ConfigError, FatalError
from preprocess.executor import Signal, Stage, WorkerBug, WorkerPool

_ACTORS_LOST = 3  # with the same job, before the run gives up


@dataclass(frozen=True, kw_only=True)
class RayExecutor:
    item_timeout: float  # seconds

    def run(self, stage: Stage, jobs: Iterable[Any], on_item: Signal) -> Iterator[tuple[Any, Any]]:
        """Yield (job, result) as jobs end, in any order. Raises ConfigError, FatalError or WorkerBug."""
        ray = _import_ray()
        if not ray.is_initialized():
            # RAY_ADDRESS is read by Ray itself; without it, a cluster of this machine's cores starts.
            ray.init(log_to_driver=False, include_dashboard=False, runtime_env={"env_vars": {"PYTHONPATH": _here()}})
        actor_class = ray.remote(num_cpus=1, max_restarts=0)(_Actor)
        num_actors = max(1, int(ray.cluster_resources().get("CPU", 1)))
        numbered = enumerate(jobs)
        lost: dict[int, int] = {}
        running: dict[Any, tuple[Any, int, Any]] = {}  # future -> actor, number, job

        def give(actor: Any, number: int, job: Any) -> None:
            running[actor.do_job.remote(job)] = (actor, number, job)

        for _, (number, job) in zip(range(num_actors), numbered, strict=False):
            give(actor_class.remote(stage, self.item_timeout), number, job)
        while running:
            [future], _ = ray.wait(list(running), num_returns=1)
            actor, number, job = running.pop(future)
            try:
                result, num_items = ray.get(future)
            except ray.exceptions.RayActorError as error:
                lost[number] = lost.get(number, 0) + 1
                if lost[number] == _ACTORS_LOST:
                    raise FatalError(f"Ray lost {_ACTORS_LOST} actors with the same job: {error}") from None
                give(actor_class.remote(stage, self.item_timeout), number, job)
                continue
            except ray.exceptions.RayTaskError as error:
                raise error.cause if isinstance(error.cause, FatalError) else WorkerBug(str(error)) from None
            for _ in range(num_items):
                on_item()
            if (following := next(numbered, None)) is not None:
                give(actor, *following)
            else:
                ray.kill(actor)
            yield job, result


class _Actor:
    def __init__(self, stage: Stage, item_timeout: float) -> None:
        self._pool = WorkerPool(stage, 1, item_timeout)

    def do_job(self, job: Any) -> tuple[Any, int]:
        """The job's result, and how many items were taken up for it."""
        items: list[None] = []
        [(_, result)] = self._pool.run([job], lambda: items.append(None))
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
