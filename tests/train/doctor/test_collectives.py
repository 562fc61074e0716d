"""What is wrong with a collective is seen. Real ones of two ranks: `test_doctor.py`, and tests/train/cluster."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

from train.cluster.world import World
from train.doctor import collectives
from train.doctor.collectives import _check_one, _Collective, check


class Factor(nn.Cell):
    """A collective of one rank that gives `factor` times its values, without the first `cut`."""

    def __init__(self, factor: float, cut: int = 0) -> None:
        super().__init__()
        self.factor, self.cut = factor, cut

    def construct(self, values: ms.Tensor) -> ms.Tensor:
        return values[self.cut :] * self.factor


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(collectives._LARGE_BYTES, "CPU", 8 << 10)


@pytest.mark.parametrize(
    ("given", "outcome", "detail"),
    [
        (Factor(1.0), "ok", "4 KB in "),
        (Factor(2.0), "FAILED", " values are wrong: value 1 is 6, not 3"),
        (Factor(1.0, cut=1), "FAILED", "gives the shape (1023,), not (1024,)"),
    ],
    ids=["right", "doubled", "cut"],
)
def test_every_value_counts(given: nn.Cell, outcome: str, detail: str) -> None:
    mine = _Collective(name="mine", make=lambda world: given, expect=lambda given, world: given.sum(0))
    finding = _check_one(mine, World.single())
    assert finding.outcome == outcome
    assert detail in finding.detail


def test_a_process_alone_is_told_how_to_test_them() -> None:
    (finding,) = check(World.single())
    assert (finding.outcome, finding.detail) == ("skipped", "one process has none; --nproc 2 tests them")


def test_numbers_differ_between_ranks_and_are_exact_in_bfloat16() -> None:
    numbers = [collectives._numbers(1000, rank) for rank in range(64)]
    assert len({each.tobytes() for each in numbers}) == 64
    assert max(each.max() for each in numbers) <= 256
    assert all(np.array_equal(each, each.astype(int)) for each in numbers)
