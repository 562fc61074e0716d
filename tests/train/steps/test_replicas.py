"""Ranks that drift apart. `tests/train/test_ranks.py` has real ones."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest

from train.cluster.world import World
from train.errors import TrainingFailed
from train.steps.replicas import digests_of, require_equal_replicas
from train.weights.parts import Part


class FourRanks(World):
    """Rank 0, and what the others bring."""

    def gather(self, values: object) -> np.ndarray:
        others = [digests_of(whole(parameters_of(rank))) for rank in range(1, 4)]
        return np.stack([values, *others])


DRIFTS: dict[tuple[int, str], float] = {}  # (rank, name): what is added to one value


def parameters_of(rank: int) -> list[ms.Parameter]:
    made = []
    for name, shape in (("norm", (8,)), ("weight", (3, 4)), ("scalar", ()), ("part", (6,))):
        values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
        values.reshape(-1)[-1:] += np.float32(DRIFTS.get((rank, name), 0))
        made.append(ms.Parameter(ms.Tensor(values), name=name))
    made[-1].part = Part(shape=(4, 6), rank=rank, num_parts=4, gather=id)
    return made


def whole(parameters: list[ms.Parameter]) -> list[ms.Parameter]:
    return parameters[:-1]


def check() -> None:
    require_equal_replicas(7, parameters_of(0), FourRanks(rank=0, size=4, device="CPU"))


@pytest.fixture(autouse=True)
def no_drift() -> None:
    DRIFTS.clear()


def test_equal_ranks_go_on_and_parts_are_each_ranks_own() -> None:
    DRIFTS[1, "part"] = 1
    check()


def test_a_bit_is_seen_and_its_parameter_and_ranks_are_named() -> None:
    DRIFTS[2, "weight"] = float(np.spacing(np.float32(11)))
    with pytest.raises(TrainingFailed, match=r"^after step 7, .* of weight: ranks 0, 1, 3 against rank 2;"):
        check()


def test_rank_0_may_be_the_one_that_is_wrong() -> None:
    DRIFTS[0, "norm"] = DRIFTS[3, "scalar"] = 1
    with pytest.raises(TrainingFailed, match=r"of norm, scalar: ranks 1, 2, 3 against rank 0;"):
        check()
