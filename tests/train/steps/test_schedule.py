import json
from pathlib import Path

import pytest

from train.steps.schedule import SCHEDULES, factor_at, warmup_steps_of

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "optimizer.json").read_text())["schedules"]


def factors(schedule: str, *, warmup_steps: int, max_steps: int, lowest: float = 0.0) -> list[float]:
    return [
        factor_at(step, schedule=schedule, warmup_steps=warmup_steps, max_steps=max_steps, lowest=lowest)
        for step in range(max_steps)
    ]


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda golden: f"{golden['name']}-{golden['warmup_steps']}")
def test_schedules_are_those_of_transformers(golden: dict) -> None:
    ours = factors(
        golden["name"],
        warmup_steps=golden["warmup_steps"],
        max_steps=golden["max_steps"],
        lowest=golden["lowest"],
    )
    assert ours == pytest.approx(golden["factors"], rel=1e-12)


def test_golden_values_cover_every_schedule_with_and_without_warmup() -> None:
    assert {(golden["name"], golden["warmup_steps"] > 0) for golden in GOLDEN} == {
        (name, warmed) for name in SCHEDULES for warmed in (False, True)
    }


def test_golden_values_have_a_lowest_rate_above_zero() -> None:
    (lowest,) = {golden["lowest"] for golden in GOLDEN if golden["name"] == "cosine_with_min_lr"}
    assert 0 < lowest < 1


def test_linear_by_hand() -> None:
    assert factors("linear", warmup_steps=2, max_steps=6) == pytest.approx([0, 0.5, 1, 0.75, 0.5, 0.25])


def test_cosine_by_hand() -> None:
    half_of_root = 2**0.5 / 4
    by_hand = [1, 0.5 + half_of_root, 0.5, 0.5 - half_of_root]
    assert factors("cosine", warmup_steps=0, max_steps=4) == pytest.approx(by_hand)
    assert factors("cosine_with_min_lr", warmup_steps=0, max_steps=4, lowest=0.2) == pytest.approx(
        [0.2 + 0.8 * factor for factor in by_hand]
    )


def test_constant_stays_at_its_peak_after_the_warmup() -> None:
    assert factors("constant", warmup_steps=2, max_steps=5) == [0, 0.5, 1, 1, 1]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_run_that_is_all_warmup_never_divides_by_zero(schedule: str) -> None:
    assert factors(schedule, warmup_steps=4, max_steps=4, lowest=0.9) == [0, 0.25, 0.5, 0.75]


def test_warmup_ratio_rounds_up_and_steps_win_over_it() -> None:
    assert warmup_steps_of(100, warmup_ratio=0.03, warmup_steps=None) == 3
    assert warmup_steps_of(101, warmup_ratio=0.03, warmup_steps=None) == 4
    assert warmup_steps_of(100, warmup_ratio=0.03, warmup_steps=0) == 0


def test_unknown_schedule_is_an_error() -> None:
    with pytest.raises(ValueError, match="polynomial"):
        factor_at(0, schedule="polynomial", warmup_steps=0, max_steps=1)
