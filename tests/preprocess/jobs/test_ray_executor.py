"""Ray hands the same jobs around: same bytes, same fate of a sample whose decoder dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

import pytest

from preprocess.errors import FatalError, SampleError, WorkerBug
from preprocess.jobs import ray_executor
from preprocess.jobs.ray_executor import RayExecutor
from preprocess.jobs.signals import Stopped
from tests.preprocess.workshop import Workshop, published, talk


@dataclass(frozen=True)
class Commands:
    """A stage whose jobs are commands."""

    folder: Path

    def load(self) -> Commands:
        return self

    def do_item(self, item: str) -> str:
        return item

    def do_job(self, job: str, do_item: Any, before_item: Any) -> tuple[str, int]:
        """The job and the process that did it."""
        marker = self.folder / "lost"
        if job == "lose the actor once" and not marker.exists():
            marker.touch()
            os.kill(os.getppid(), signal.SIGKILL)
            signal.pause()
        if job == "fatal":
            raise FatalError("no room")
        if job == "bug":
            raise ZeroDivisionError
        return job, os.getpid()


def test_a_process_that_uses_ray_can_still_write_mindrecord() -> None:
    code = "from preprocess.jobs.ray_executor import RayExecutor; RayExecutor(1.0); import mindspore.train.summary_pb2"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_without_ray_the_error_names_the_extra_and_nothing_is_written(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    workshop.dataset([talk()])
    monkeypatch.setitem(sys.modules, "ray", None)
    outcome = workshop.run("--executor=ray")
    assert outcome.code == 2
    assert "[ray]" in outcome.error
    assert not outcome.folder.exists()


# --- without a cluster -----------------------------------------------------------------------------------------------


class StandIn:
    """As much of Ray as the executor uses, in this process: a future is a call, done when it is waited for."""

    def __init__(self, num_cpus: Sequence[int]) -> None:
        self.exceptions = pytest.importorskip("ray.exceptions", reason="the extra ray is not installed")
        self.num_actors = 0
        self.losses: list[Exception] = []  # of the next jobs
        self._num_cpus = list(num_cpus)  # at each look; the last one stays

    def is_initialized(self) -> bool:
        return True

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": float(self._num_cpus.pop(0) if len(self._num_cpus) > 1 else self._num_cpus[0])}

    def remote(self, **options: Any) -> Any:
        def start(*arguments: Any) -> Any:
            self.num_actors += 1
            is_running, do_job = (lambda: None), (lambda stage, job: (stage.do_job(job, None, None), 0))
            return SimpleNamespace(
                is_running=SimpleNamespace(remote=lambda: is_running),
                do_job=SimpleNamespace(remote=lambda stage, job: partial(do_job, stage, job)),
            )

        return lambda actor_class: SimpleNamespace(remote=start)

    def wait(self, futures: list[Any], num_returns: int, timeout: float) -> tuple[list[Any], list[Any]]:
        return futures[-1:], futures[:-1]

    def get(self, future: Any) -> Any:
        if isinstance(future, partial) and self.losses:
            raise self.losses.pop(0)
        return future()

    def kill(self, actor: Any) -> None:
        pass


def on_stand_in(monkeypatch: pytest.MonkeyPatch, *, num_cpus: Sequence[int]) -> tuple[StandIn, RayExecutor]:
    ray = StandIn(num_cpus)
    monkeypatch.setattr(ray_executor, "_import_ray", lambda: ray)
    monkeypatch.setattr(ray_executor, "_LOOK_SECONDS", 0.0)
    return ray, RayExecutor(item_timeout=60)


def test_whatever_ray_loses_an_actor_by_is_no_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray, executor = on_stand_in(monkeypatch, num_cpus=[1])
    gone = ray.exceptions
    with executor:
        ray.losses = [gone.OutOfMemoryError("killed"), gone.NodeDiedError("the machine is away")]
        assert [job for job, _ in executor.run(Commands(tmp_path), ["a", "b"], lambda: None)] == ["a", "b"]
        assert ray.num_actors == 3
        ray.losses = [gone.WorkerCrashedError(), gone.ObjectLostError("1f", None, ""), gone.RaySystemError("no answer")]
        with pytest.raises(FatalError, match=r"Ray lost 3 actors with the same job: .*no answer"):
            list(executor.run(Commands(tmp_path), ["a"], lambda: None))


def test_a_cluster_that_grows_from_nothing_gets_more_actors_while_jobs_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray, executor = on_stand_in(monkeypatch, num_cpus=[0, 0, 2, 4])
    with executor:
        running = executor.run(Commands(tmp_path), map(str, range(50)), lambda: None)
        next(running)
        assert ray.num_actors < 4, "the cluster did not grow"
        assert len(list(running)) == 49
    assert ray.num_actors == 4


def test_a_signal_while_ray_starts_is_a_signal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray sets a handler of its own meanwhile, which ends the process with another exit code."""

    def init(**options: Any) -> None:
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(number))
        signal.raise_signal(signal.SIGTERM)

    ray, executor = on_stand_in(monkeypatch, num_cpus=[1])
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init, raising=False)
    before = signal.getsignal(signal.SIGTERM)
    with executor, pytest.raises(Stopped, match="SIGTERM"):
        list(executor.run(Commands(tmp_path), ["a"], lambda: None))
    assert signal.getsignal(signal.SIGTERM) is before


def test_there_are_no_more_actors_than_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray, executor = on_stand_in(monkeypatch, num_cpus=[64])
    with executor:
        assert list(executor.run(Commands(tmp_path), [], lambda: None)) == []
        assert ray.num_actors == 0
        assert len(list(executor.run(Commands(tmp_path), ["a", "b"], lambda: None))) == 2
    assert ray.num_actors == 2


# --- with Ray, which takes long to start -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Roots:
    """A stage whose decoder dies of negative numbers; a job is a list of numbers."""

    def load(self) -> Roots:
        return self

    def do_item(self, item: int) -> float:
        if item < 0:
            os.abort()
        return item**0.5

    def do_job(self, job: list[int], do_item: Any, before_item: Any) -> list[float | str]:
        results: list[float | str] = []
        for item in job:
            before_item()
            try:
                results.append(do_item(item))
            except SampleError as error:
                results.append(error.reason.value)
        return results


def our_handler(number: int, frame: FrameType | None) -> None:
    raise AssertionError("no test sends this signal")


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """A cluster of this machine's cores, for all tests of this file, started by the executor with `our_handler` set."""
    ray = pytest.importorskip("ray", reason="the extra ray is not installed")
    before = signal.signal(signal.SIGTERM, our_handler)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
        monkeypatch.delenv("RAY_ADDRESS", raising=False)
        RayExecutor(item_timeout=60)._connect()
        yield ray
        ray.shutdown()
    signal.signal(signal.SIGTERM, before)


@pytest.mark.slow
@pytest.mark.usefixtures("ray")
def test_ray_leaves_sigterm_to_us() -> None:
    assert signal.getsignal(signal.SIGTERM) is our_handler


@pytest.mark.slow
@pytest.mark.usefixtures("ray")
def test_a_run_on_ray_writes_the_bytes_of_a_local_one(workshop: Workshop) -> None:
    image, broken = workshop.image(), workshop.truncated_image()
    workshop.dataset(
        [talk("<image>", image=image), talk("<image>", image=broken), *[talk("so " * n) for n in range(9)]]
    )
    flags = ("--packing=none", "--shard_bytes=3000", "--max_reject_share=1")
    local, on_ray = workshop.run(*flags, "--workers=0", out="local"), workshop.run(*flags, "--executor=ray", out="ray")
    assert local.code == on_ray.code == 0
    assert len(local.manifest.shards) > 2
    assert [reject["reason"] for reject in local.rejects] == ["undecodable"]
    assert published(on_ray.folder) == published(local.folder)


@pytest.mark.slow
@pytest.mark.usefixtures("ray")
def test_on_ray_a_decoder_that_dies_costs_its_own_sample_only() -> None:
    jobs = [[4, 9], [16, -1, 25], [36]]
    items: list[None] = []
    with RayExecutor(item_timeout=60) as executor:
        done = sorted(executor.run(Roots(), jobs, lambda: items.append(None)))
        again = list(executor.run(Roots(), [[49]], lambda: None))
    assert [result for _, result in done] == [[2.0, 3.0], [4.0, "crash", 5.0], [6.0]]
    assert len(items) >= 6
    assert again == [([49], [7.0])]


@pytest.mark.slow
def test_jobs_go_to_the_actors_that_have_a_cpu_and_others_may_wait_for_ever(ray: Any, tmp_path: Path) -> None:
    num_cpus = int(ray.cluster_resources()["CPU"])
    if num_cpus == 1:
        pytest.skip("a single core leaves nothing to a neighbour")

    @ray.remote(num_cpus=num_cpus - 1)
    class Neighbour:
        def is_running(self) -> None:
            pass

    neighbour = Neighbour.remote()
    ray.get(neighbour.is_running.remote())
    try:
        with RayExecutor(item_timeout=60) as executor:
            done = list(executor.run(Commands(tmp_path), map(str, range(5)), lambda: None))
    finally:
        ray.kill(neighbour)
    assert sorted(job for job, _ in done) == list("01234")
    assert len({pid for _, (_, pid) in done}) == 1, "it took more than one process"


@pytest.mark.slow
@pytest.mark.usefixtures("ray")
def test_the_job_of_a_lost_actor_goes_to_another(tmp_path: Path) -> None:
    jobs = ["a", "lose the actor once", "b"]
    with RayExecutor(item_timeout=60) as executor:
        done = list(executor.run(Commands(tmp_path), jobs, lambda: None))
    assert (tmp_path / "lost").exists()
    assert sorted(job for job, _ in done) == sorted(jobs)


@pytest.mark.slow
@pytest.mark.usefixtures("ray")
def test_on_ray_a_full_disk_and_a_bug_arrive_as_what_they_are(tmp_path: Path) -> None:
    with RayExecutor(item_timeout=60) as executor:
        with pytest.raises(FatalError, match="no room"):
            list(executor.run(Commands(tmp_path), ["fatal"], lambda: None))
        with pytest.raises(WorkerBug, match="ZeroDivisionError"):
            list(executor.run(Commands(tmp_path), ["bug"], lambda: None))
