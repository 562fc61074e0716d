"""Packing by distinct sizes: units of equal size are interchangeable, and cost next to nothing."""

from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import preprocess.plan.packing as module
from preprocess.plan.packing import choose_patch_capacity, pack_units

Sizes = np.ndarray

few_sizes = st.lists(st.tuples(st.integers(1, 6), st.sampled_from([0, 4, 8])), min_size=1, max_size=200)


def facts_distribution(num_samples: int) -> tuple[Sizes, Sizes]:
    """Images of 0-576 visual tokens and log-normal text, as measured for the design: (tokens, patches)."""
    rng = np.random.default_rng(0)
    img = rng.choice([0, 64, 144, 256, 324, 400, 576], num_samples, p=[0.15, 0.05, 0.1, 0.2, 0.2, 0.15, 0.15])
    txt = np.clip(rng.lognormal(4.8, 0.8, num_samples), 20, 3000).astype(int)
    return np.minimum(img + txt, 4096).astype(np.int32), (4 * img).astype(np.int32)


@given(few_sizes, st.integers(6, 30), st.integers(8, 40) | st.none())
def test_of_equal_units_the_earlier_ones_come_into_the_earlier_packs(
    pairs: list[tuple[int, int]], token_capacity: int, patch_capacity: int | None
) -> None:
    tokens, patches = np.array(pairs, np.int32).T
    pack_of = pack_units(tokens, patches, token_capacity, patch_capacity)
    effective = list(pairs) if patch_capacity is not None else [(size, 0) for size, _ in pairs]
    for pair in set(effective):
        packs = [int(pack) for pack, other in zip(pack_of, effective, strict=True) if other == pair]
        assert packs == sorted(packs)


@given(few_sizes, st.permutations(range(200)))
def test_the_order_of_units_does_not_change_what_packs_hold(pairs: list[tuple[int, int]], order: list[int]) -> None:
    def contents(pairs: list[tuple[int, int]]) -> list[list[tuple[int, int]]]:
        tokens, patches = np.array(pairs, np.int32).T
        pack_of = pack_units(tokens, patches, 20, 30)
        return [
            sorted(pair for pair, pack in zip(pairs, pack_of, strict=True) if pack == number)
            for number in range(pack_of.max() + 1)
        ]

    shuffled = [pairs[position] for position in order if position < len(pairs)]
    assert contents(shuffled) == contents(pairs)


def test_a_pack_that_was_found_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    searches: list[int] = []
    take_pack = module._Stock.take_pack
    monkeypatch.setattr(module._Stock, "take_pack", lambda self: searches.append(1) or take_pack(self))
    tokens = np.repeat(np.array([50, 30, 21], np.int32), 10_000)
    patches = np.repeat(np.array([40, 0, 16], np.int32), 10_000)
    pack_of = pack_units(tokens, patches, 101, 60)
    np.testing.assert_array_equal(pack_of, np.tile(np.arange(10_000), 3))
    assert len(searches) == 2  # the last one finds nothing


def test_memory_for_a_unit_is_small() -> None:
    many_alike = facts_distribution(20_000)
    assert len(np.unique(np.stack(many_alike), axis=1).T) < 4_000
    all_distinct = np.arange(1, 10_001, dtype=np.int32), 2 * np.arange(10_000, dtype=np.int32)
    for (tokens, patches), most in ((many_alike, 60), (all_distinct, 80)):
        tracemalloc.start()
        pack_units(tokens, patches, 20_000, 40_000)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak / len(tokens) < most


@pytest.mark.slow
def test_a_million_units_are_packed_in_seconds_and_both_axes_are_full() -> None:
    tokens, patches = facts_distribution(1_000_000)
    capacity = choose_patch_capacity(tokens, patches, 4096, multiple=4)
    start = time.process_time()
    num_packs = int(pack_units(tokens, patches, 4096, capacity).max()) + 1
    assert time.process_time() - start < 20
    assert tokens.sum() / (num_packs * 4096) >= 0.99
    assert patches.sum() / (num_packs * capacity) >= 0.97
