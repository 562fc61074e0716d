import json
from pathlib import Path

import pytest

from train.schedule import SCHEDULES, learning_rate_at, warmup_steps_of

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "optimizer.json").read_text())["schedules"]


def rates(schedule: str, *, warmup_steps: int, max_steps: int, peak: float = 1.0) -> list[float]:
    return [
        learning_rate_at(step, peak=peak, schedule=schedule, warmup_steps=warmup_steps, max_steps=max_steps)
        for step in range(max_steps)
    ]


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda golden: f"{golden['name']}-{golden['warmup_steps']}")
def test_schedules_are_those_of_transformers(golden: dict) -> None:
    ours = rates(golden["name"], warmup_steps=golden["warmup_steps"], max_steps=golden["max_steps"])
    assert ours == pytest.approx(golden["factors"], rel=1e-12)


def test_golden_values_cover_every_schedule_with_and_without_warmup() -> None:
    assert {(golden["name"], golden["warmup_steps"] > 0) for golden in GOLDEN} == {
        (name, warmed) for name in SCHEDULES for warmed in (False, True)
    }


def test_linear_by_hand() -> None:
    assert rates("linear", warmup_steps=2, max_steps=6, peak=8.0) == pytest.approx([0, 4, 8, 6, 4, 2])


def test_cosine_by_hand() -> None:
    half_of_root = 2**0.5 / 4
    assert rates("cosine", warmup_steps=0, max_steps=4) == pytest.approx(
        [1, 0.5 + half_of_root, 0.5, 0.5 - half_of_root]
    )


def test_constant_stays_at_its_peak_after_the_warmup() -> None:
    assert rates("constant", warmup_steps=2, max_steps=5, peak=3.0) == [0, 1.5, 3, 3, 3]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_run_that_is_all_warmup_never_divides_by_zero(schedule: str) -> None:
    assert rates(schedule, warmup_steps=4, max_steps=4) == [0, 0.25, 0.5, 0.75]


def test_warmup_ratio_rounds_up_and_steps_win_over_it() -> None:
    assert warmup_steps_of(100, warmup_ratio=0.03, warmup_steps=None) == 3
    assert warmup_steps_of(101, warmup_ratio=0.03, warmup_steps=None) == 4
    assert warmup_steps_of(100, warmup_ratio=0.03, warmup_steps=0) == 0


def test_unknown_schedule_is_an_error() -> None:
    with pytest.raises(ValueError, match="polynomial"):
        learning_rate_at(0, peak=1.0, schedule="polynomial", warmup_steps=0, max_steps=1)
