from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from train.cluster.world import World
from train.doctor.one_step import STORED, Numbers, Step, compare, make_one_step
from train.doctor.tiny import make_packs
from train.models.precision import FLOAT32


@pytest.fixture(scope="module")
def stored() -> Numbers:
    return Numbers(**json.loads(STORED.read_text()))


@pytest.mark.parametrize("stage", [pytest.param(each, marks=pytest.mark.slow) for each in range(3)] + [3])
def test_a_step_gives_the_stored_numbers(stage: int, stored: Numbers) -> None:
    step = make_one_step(stage, World.single())
    finding = compare(step, stored, stage, "CPU", FLOAT32)
    assert finding.outcome == "ok", finding.detail
    assert stored.loss_sum_after < 0.95 * stored.loss_sum


@pytest.mark.parametrize("name", ["loss_sum", "grad_norm", "loss_sum_after", "change_llm", "change_vision"])
@pytest.mark.parametrize("factor", [1.001, float("nan")])
def test_another_number_is_named(name: str, factor: float, stored: Numbers) -> None:
    step = Step(numbers=replace(stored, **{name: factor * getattr(stored, name)}), compile_seconds=1.0, seconds=1.0)
    finding = compare(step, stored, 0, "CPU", FLOAT32)
    assert finding.outcome == "FAILED"
    assert finding.detail.startswith(name)


def test_packs_are_of_every_kind() -> None:
    packs = make_packs()
    assert len({len(pack.sample_keys) for pack in packs}) > 2
    assert [bool(len(pack.video_patches)) for pack in packs] == [False, True, False, False]
    assert len(packs[3].image_patches) == 0, "text alone"
    assert all(np.array_equal(one.input_ids, other.input_ids) for one, other in zip(packs, make_packs(), strict=True))
