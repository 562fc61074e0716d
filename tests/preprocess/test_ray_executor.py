"""Ray hands the same jobs around: same bytes, same fate of a sample whose decoder dies."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from preprocess.errors import SampleError
from preprocess.ray_executor import RayExecutor
from tests.preprocess.workshop import Workshop, published, talk


def test_without_ray_the_error_names_the_extra_and_nothing_is_written(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    workshop.dataset([talk()])
    monkeypatch.setitem(sys.modules, "ray", None)
    outcome = workshop.run("--executor=ray")
    assert outcome.code == 2
    assert "[ray]" in outcome.error
    assert not outcome.folder.exists()


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


@pytest.fixture
def ray_stopped_afterwards(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    ray = pytest.importorskip("ray", reason="the extra ray is not installed")
    monkeypatch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    yield
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.usefixtures("ray_stopped_afterwards")
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
@pytest.mark.usefixtures("ray_stopped_afterwards")
def test_on_ray_a_decoder_that_dies_costs_its_own_sample_only() -> None:
    jobs = [[4, 9], [16, -1, 25], [36]]
    items: list[None] = []
    with RayExecutor(item_timeout=60) as executor:
        done = sorted(executor.run(Roots(), jobs, lambda: items.append(None)))
        again = list(executor.run(Roots(), [[49]], lambda: None))
    assert [result for _, result in done] == [[2.0, 3.0], [4.0, "crash", 5.0], [6.0]]
    assert len(items) >= 6
    assert again == [([49], [7.0])]
