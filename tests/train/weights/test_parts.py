"""Parts of a weight: any number of ranks, nothing lost, zeros behind."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from train.weights.parts import Part


@pytest.mark.parametrize("num_parts", [1, 2, 3, 8, 13])
@pytest.mark.parametrize("shape", [(5, 7), (3, 5, 7), (2, 3)])
def test_parts_in_a_row_are_the_whole(shape: tuple[int, ...], num_parts: int) -> None:
    whole = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    parts = [Part(shape=shape, rank=rank, num_parts=num_parts, gather=id) for rank in range(num_parts)]
    rows = [part.fill(whole.reshape(-1)[slice(*part.bounds)]) for part in parts]
    joined = np.concatenate(rows)
    assert {len(row) for row in rows} == {parts[0].length}
    np.testing.assert_array_equal(joined[: whole.size], whole.reshape(-1))
    assert not joined[whole.size :].any()
    assert len(joined) - whole.size == parts[0].padding
    assert [parts[0].bounds[0], parts[-1].bounds[1]] == [0, whole.size]
    assert all(before.bounds[1] == after.bounds[0] for before, after in pairwise(parts))


def test_the_last_parts_may_be_nothing_but_filling() -> None:
    parts = [Part(shape=(2, 3), rank=rank, num_parts=4, gather=id) for rank in range(4)]
    assert [part.bounds for part in parts] == [(0, 2), (2, 4), (4, 6), (6, 6)]
    assert parts[2].fill(np.ones(2, np.float32)).tolist() == [1, 1]
    assert parts[3].fill(np.ones(0, np.float32)).tolist() == [0, 0]
