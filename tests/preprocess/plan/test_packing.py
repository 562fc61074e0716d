"""Packing: nothing is lost, nothing overflows, and little room is wasted, on one axis and on two."""

from __future__ import annotations

import array
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

import preprocess.plan.packing as module
from preprocess.plan.packing import choose_patch_capacity, pack_units, shuffle_packs

Sizes = np.ndarray  # (num_units,) int64

units = st.lists(st.tuples(st.integers(1, 50), st.integers(0, 80)), max_size=60)


def columns(pairs: list[tuple[int, int]]) -> tuple[Sizes, Sizes]:
    tokens, patches = np.array(pairs, np.int64).reshape(-1, 2).T
    return tokens, patches


def loads(pack_of: Sizes, sizes: Sizes) -> Sizes:
    return np.bincount(pack_of, sizes).astype(np.int64)


def facts_distribution(num_samples: int = 20_000) -> tuple[Sizes, Sizes]:
    """Images of 0-576 visual tokens and log-normal text, as measured for the design: (tokens, patches)."""
    rng = np.random.default_rng(0)
    img = rng.choice([0, 64, 144, 256, 324, 400, 576], num_samples, p=[0.15, 0.05, 0.1, 0.2, 0.2, 0.15, 0.15])
    txt = np.clip(rng.lognormal(4.8, 0.8, num_samples), 20, 3000).astype(int)
    return np.minimum(img + txt, 4096), 4 * img


def first_fit_decreasing(tokens: Sizes, capacity: int) -> int:
    """Number of packs of the textbook rule, written the slow way."""
    free: list[int] = []
    for size in sorted(tokens.tolist(), reverse=True):
        for pack, room in enumerate(free):
            if size <= room:
                free[pack] -= size
                break
        else:
            free.append(capacity - size)
    return len(free)


# --- properties ----------------------------------------------------------------------------------------------------


@given(units, st.integers(50, 120), st.integers(80, 200) | st.none())
@example([], 50, None)
@example([], 50, 80)
@example([(50, 80)] * 5, 50, 80)  # every unit fills a pack
@example([(1, 0)] * 120, 50, 80)  # text only
def test_every_unit_is_in_one_pack_and_no_pack_overflows(
    pairs: list[tuple[int, int]], token_capacity: int, patch_capacity: int | None
) -> None:
    tokens, patches = columns(pairs)
    pack_of = pack_units(tokens, patches, token_capacity, patch_capacity)
    assert pack_of.shape == tokens.shape
    assert sorted(set(pack_of.tolist())) == list(range(pack_of.max(initial=-1) + 1)), "a pack without units"
    assert np.all(loads(pack_of, tokens) <= token_capacity)
    if patch_capacity is not None:
        assert np.all(loads(pack_of, patches) <= patch_capacity)


@given(units, st.integers(50, 120), st.integers(80, 200) | st.none())
def test_no_unit_would_fit_into_an_earlier_pack(
    pairs: list[tuple[int, int]], token_capacity: int, patch_capacity: int | None
) -> None:
    tokens, patches = columns(pairs)
    pack_of = pack_units(tokens, patches, token_capacity, patch_capacity)
    assume(len(pairs) and pack_of.max() > 0)
    largest = patch_capacity if patch_capacity is not None else int(patches.sum())
    free_tokens = token_capacity - loads(pack_of, tokens)
    free_patches = largest - loads(pack_of, patches)
    if patch_capacity is None:
        # Best fit: two packs never go into one.
        assert np.all(np.sort(loads(pack_of, tokens))[:2].sum() > token_capacity)
        return
    for unit, pack in enumerate(pack_of):
        fits = (free_tokens[:pack] >= tokens[unit]) & (free_patches[:pack] >= patches[unit])
        assert not fits.any()


@given(units, st.integers(80, 200) | st.none())
def test_packing_is_deterministic_and_leaves_its_input_alone(
    pairs: list[tuple[int, int]], patch_capacity: int | None
) -> None:
    tokens, patches = columns(pairs)
    before = tokens.copy(), patches.copy()
    first = pack_units(tokens, patches, 100, patch_capacity)
    np.testing.assert_array_equal(pack_units(tokens, patches, 100, patch_capacity), first)
    np.testing.assert_array_equal((tokens, patches), before)


@pytest.mark.parametrize("patch_capacity", [None, 99])
def test_a_unit_larger_than_a_pack_is_a_bug_of_the_caller(patch_capacity: int | None) -> None:
    one, large = np.array([1, 1]), np.array([1, 100])
    with pytest.raises(AssertionError, match="longer than a pack"):
        pack_units(large, one, 99, patch_capacity)
    if patch_capacity:
        with pytest.raises(AssertionError, match="too many patches"):
            pack_units(one, large, 99, patch_capacity)


# --- how full ------------------------------------------------------------------------------------------------------


def test_tokens_alone_are_packed_at_the_lower_bound() -> None:
    tokens, patches = facts_distribution()
    num_packs = pack_units(tokens, patches, 4096).max() + 1
    assert tokens.sum() / (num_packs * 4096) >= 0.999
    assert num_packs == -(-tokens.sum() // 4096)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("low", [1, 400, 1200])
def test_tokens_alone_take_no_more_packs_than_first_fit_decreasing(seed: int, low: int) -> None:
    rng = np.random.default_rng(seed)
    tokens = rng.integers(low, 4097, 400)
    slow = first_fit_decreasing(tokens, 4096)
    assert slow > 100
    assert pack_units(tokens, np.zeros_like(tokens), 4096).max() + 1 <= slow


def test_both_axes_fill_together() -> None:
    tokens, patches = facts_distribution()
    capacity = choose_patch_capacity(tokens, patches, 4096, multiple=4)
    num_packs = pack_units(tokens, patches, 4096, capacity).max() + 1
    assert tokens.sum() / (num_packs * 4096) >= 0.999
    assert patches.sum() / (num_packs * capacity) >= 0.973


def test_a_patch_capacity_that_never_binds_costs_no_tokens() -> None:
    tokens, patches = facts_distribution(5000)
    alone = pack_units(tokens, patches, 4096).max() + 1
    together = pack_units(tokens, patches, 4096, int(patches.sum())).max() + 1
    assert together <= alone * 1.01


def test_capacities_far_beyond_the_data_are_one_pack() -> None:
    tokens, patches = facts_distribution(50)
    for token_capacity, patch_capacity in ((10**30, 10**30), (int(tokens.sum()), 10**30), (10**30, int(patches.sum()))):
        assert pack_units(tokens, patches, token_capacity, patch_capacity).max() == 0


# --- how much work -------------------------------------------------------------------------------------------------


def uniform_distribution(num_units: int) -> tuple[Sizes, Sizes]:
    """Any image with any text: hardly two units are of equal size."""
    rng = np.random.default_rng(0)
    return rng.integers(1, 4097, num_units), 4 * rng.integers(0, 4097, num_units)


def opposite_distribution(num_units: int) -> tuple[Sizes, Sizes]:
    """Half use up the patches and leave tokens, half are long text with a thumbnail: then no unit has few patches."""
    rng = np.random.default_rng(0)
    is_image = rng.random(num_units) < 0.5
    visual = np.where(is_image, rng.integers(1_000, 16_000, num_units), 16)
    text = np.where(is_image, rng.integers(10, 300, num_units), rng.integers(2_000, 32_000, num_units))
    return visual + text, 4 * visual


def count_reads(monkeypatch: pytest.MonkeyPatch, tokens: Sizes, patches: Sizes, token_capacity: int) -> float:
    """How many numbers packing reads one by one, for each unit."""
    num_reads = 0

    class CountingArray(array.array):  # type: ignore[type-arg]
        def __getitem__(self, position: int) -> int:  # type: ignore[override]
            nonlocal num_reads
            num_reads += 1
            return super().__getitem__(position)

    monkeypatch.setattr(module, "array", CountingArray)
    pack_units(tokens, patches, token_capacity, choose_patch_capacity(tokens, patches, token_capacity, 4))
    monkeypatch.undo()
    return num_reads / len(tokens)


@pytest.mark.parametrize(
    ("distribution", "token_capacity"),
    [(uniform_distribution, 4096), (uniform_distribution, 32_768), (opposite_distribution, 32_768)],
)
def test_a_unit_like_no_other_costs_a_few_steps_however_many_there_are(
    distribution: Callable[[int], tuple[Sizes, Sizes]], token_capacity: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    few, many = (count_reads(monkeypatch, *distribution(num), token_capacity) for num in (2_000, 32_000))
    assert 10 < few < 90, "too few: they are not counted"
    assert many < 90
    assert many < 1.3 * few


# --- capacity of patches -------------------------------------------------------------------------------------------


@given(units.filter(bool), st.integers(50, 120), st.sampled_from([1, 4]))
def test_the_chosen_capacity_holds_the_largest_unit_and_the_share_of_the_data(
    pairs: list[tuple[int, int]], token_capacity: int, multiple: int
) -> None:
    tokens, patches = columns(pairs)
    capacity = choose_patch_capacity(tokens, patches, token_capacity, multiple)
    assert capacity % multiple == 0
    assert capacity >= patches.max()
    assert capacity >= token_capacity * patches.sum() / tokens.sum()
    assert capacity <= max(patches.max(), 1.03 * token_capacity * patches.sum() / tokens.sum() + 1) + multiple
    pack_units(tokens, patches, token_capacity, capacity)


def test_without_media_there_are_no_patches() -> None:
    tokens = np.array([5, 6, 7])
    assert choose_patch_capacity(tokens, np.zeros_like(tokens), 10, 4) == 0
    assert choose_patch_capacity(tokens[:0], tokens[:0], 10, 4) == 0
    assert len(set(pack_units(tokens, np.zeros_like(tokens), 18, 0))) == 1


# --- order ---------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 9), max_size=40), st.integers(0, 2**63))
def test_shuffling_renumbers_packs_and_keeps_their_units_together(packs: list[int], seed: int) -> None:
    pack_of = np.unique(np.array(packs, np.int64), return_inverse=True)[1].astype(np.int64)
    shuffled = shuffle_packs(pack_of, seed)
    assert sorted(set(shuffled.tolist())) == sorted(set(pack_of.tolist()))
    np.testing.assert_array_equal(shuffled[:, None] == shuffled, pack_of[:, None] == pack_of)
    np.testing.assert_array_equal(shuffle_packs(pack_of, seed), shuffled)


def test_the_order_depends_on_the_seed_and_hides_the_lengths() -> None:
    tokens, patches = facts_distribution(4000)
    pack_of = pack_units(tokens, patches, 4096)
    longest = np.zeros(pack_of.max() + 1)
    np.maximum.at(longest, pack_of, tokens)
    assert abs(np.corrcoef(longest, np.arange(len(longest)))[0, 1]) > 0.5, "packs open with the longest units"
    orders = [shuffle_packs(np.arange(len(longest)), seed) for seed in (0, 1)]
    assert not np.array_equal(*orders)
    for order in orders:
        assert abs(np.corrcoef(longest[np.argsort(order)], np.arange(len(longest)))[0, 1]) < 0.15
