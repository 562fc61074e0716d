"""Packs dealt to ranks: everyone gets as many, nobody's cost grows, and what a step has stays what it has."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards import Outline, open_shards
from shards.batch import BatchShape
from shards.convert import convert_shards
from shards.order import PackOrder
from tests.train.tiny_run import write_tiny_inputs
from train.cluster.world import World
from train.models import sizes_in
from train.models.sizes import ModelSizes
from train.steps.dealing import CostModel, Dealing, deal, in_turn, largest


@st.composite
def steps(draw: st.DrawFn) -> tuple[list[int], int, bool]:
    """Costs, ranks, and whether ranks wait in every micro-step."""
    num_ranks = draw(st.integers(1, 5))
    count = num_ranks * draw(st.integers(1, 5))
    return draw(st.lists(st.integers(1, 1000), min_size=count, max_size=count)), num_ranks, draw(st.booleans())


@given(steps())
def test_every_pack_is_dealt_once_as_many_to_each_and_never_worse_than_in_turn(
    step: tuple[list[int], int, bool],
) -> None:
    costs, num_ranks, in_step = step
    dealt = deal(costs, num_ranks, in_step=in_step)
    assert sorted(index for mine in dealt for index in mine) == list(range(len(costs)))
    assert {len(mine) for mine in dealt} == {len(costs) // num_ranks}
    turn = in_turn(len(costs), num_ranks)
    assert largest(dealt, costs, in_step=in_step) <= largest(turn, costs, in_step=in_step)
    assert dealt == deal(costs, num_ranks, in_step=in_step), "every rank must come to the same"


@given(st.lists(st.integers(1, 1000), min_size=6, max_size=6), st.booleans())
def test_it_is_near_the_best_there_is(costs: list[int], in_step: bool) -> None:
    best = min(
        largest((order[:3], order[3:]), costs, in_step=in_step) for order in permutations(range(6)) if order[0] == 0
    )
    found = largest(deal(costs, 2, in_step=in_step), costs, in_step=in_step)
    assert found == best if in_step else found <= 1.1 * best


def test_ranks_that_wait_in_every_micro_step_get_packs_alike() -> None:
    costs = [9, 1, 1, 9]  # in turn, a heavy one beside a light one, twice
    assert deal(costs, 2, in_step=True) == ((0, 1), (3, 2))
    assert largest(in_turn(4, 2), costs, in_step=True) == 18
    assert largest(deal(costs, 2, in_step=True), costs, in_step=True) == 10
    assert deal(costs, 2, in_step=False) == in_turn(4, 2), "each has a heavy and a light one already"


def test_the_heaviest_rank_gets_lighter_packs() -> None:
    costs = [10, 1, 10, 1, 10, 1, 10, 1]
    dealt = deal(costs, 2, in_step=False)
    assert [sum(costs[index] for index in mine) for mine in dealt] == [22, 22]
    assert all(list(mine) == sorted(mine) for mine in dealt), "micro-steps follow the order of the step"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("dealing")
    write_tiny_inputs(root, num_packs=8)
    return root


@pytest.fixture(scope="module")
def sizes(root: Path) -> ModelSizes:
    return sizes_in(root / "model")


def outline(*lengths: int, grids: tuple[tuple[int, int, int], ...] = ()) -> Outline:
    return Outline(
        segment_lengths=np.array(lengths),
        grids=np.array(grids, np.int64).reshape(-1, 3),
        sample_keys=tuple(f"x:{number}" for number in range(len(lengths))),
    )


def test_cost_is_quadratic_in_segments_and_frames_and_counts_padding(root: Path, sizes: ModelSizes) -> None:
    shape = replace(BatchShape.of(open_shards(root / "shards").manifest), pack_length=64, patches=64)
    model = CostModel.of(sizes, shape)
    assert model.token_pair == 2 * sizes.text.width * sizes.text.num_layers > 0
    assert model.patch_pair == 2 * sizes.vision.width * sizes.vision.num_full_layers > 0
    assert sizes.vision.num_full_layers < sizes.vision.num_layers, "windows cost the same whatever is in them"
    empty = model.cost(None)
    assert empty == model.fixed + model.token_pair * 64 * 65 // 2 + model.patch_pair * 64**2
    assert model.cost(outline(64)) == empty
    two = model.cost(outline(32, 32))
    assert empty - two == model.token_pair * 32 * 32, "no token of one sees the other"
    assert model.cost(outline(32)) == two, "padding is a segment too"
    frames = ((2, 4, 4), (1, 4, 8))
    assert model.cost(outline(64, grids=frames)) == empty - model.patch_pair * (64**2 - 2 * 16**2 - 32**2)
    products = sum(np.prod(sizes.shapes[f"{name}.weight"]) for name in sizes.linear if name.startswith("model."))
    assert model.fixed > 64 * products


def test_the_outline_of_a_pack_is_that_of_the_pack(root: Path) -> None:
    shards = open_shards(root / "shards")
    for index in range(len(shards)):
        pack, found = shards[index], shards.outline(index)
        assert found.segment_lengths.tolist() == np.diff(pack.cu_seqlens).tolist()
        assert found.grids.tolist() == [*pack.image_grid_thw.tolist(), *pack.video_grid_thw.tolist()]
        assert found.sample_keys == pack.sample_keys
    assert any(len(shards.outline(index).grids) > 1 for index in range(len(shards)))


def dealing_of(root: Path, sizes: ModelSizes, rank: int, num_ranks: int, stage: int = 0) -> Dealing:
    order = PackOrder(num_packs=8, seed=1, packs_per_step=4, num_positions=11)
    world = World(rank=rank, size=num_ranks, device="CPU")
    return Dealing(open_shards(root / "shards"), order, sizes, world, zero_stage=stage)


@pytest.mark.parametrize("stage", [0, 3])
def test_ranks_agree_and_take_the_packs_of_the_order(root: Path, sizes: ModelSizes, stage: int) -> None:
    one, other = (dealing_of(root, sizes, rank, 2, stage) for rank in range(2))
    order = PackOrder(num_packs=8, seed=1, packs_per_step=4, num_positions=11)
    packs = [iter(each.packs(1)) for each in (one, other)]
    differs = False
    for step in (1, 2):
        dealt = one.of_step(step)
        assert dealt == other.of_step(step)
        assert sorted(sum(dealt.positions, ())) == list(order.positions_of_step(step))
        taken = [next(each).pack_index for each in packs for _ in range(2)]
        assert taken == [-1 if pack is None else pack for pack in map(order.pack_of, sum(dealt.positions, ()))]
        assert dealt.mean <= dealt.dealt <= dealt.in_turn
        differs |= dealt.dealt < dealt.in_turn
    assert differs, "dealing helped"


def test_one_rank_and_one_pack_a_rank_are_in_turn(root: Path, sizes: ModelSizes) -> None:
    assert dealing_of(root, sizes, 0, 1).of_step(0).positions == ((0, 1, 2, 3),)
    first, last = (dealing_of(root, sizes, rank, 4).of_step(0) for rank in (0, 3))
    assert first.positions == last.positions == ((0,), (1,), (2,), (3,))
    assert first.dealt == first.in_turn > first.mean > 0
    assert last.mean == 0, "rank 0 alone reports, and alone looks"


def test_samples_are_named_by_rank_and_pack(root: Path, sizes: ModelSizes) -> None:
    dealing = dealing_of(root, sizes, 0, 2)
    named = dealing.name_samples(2)
    assert [each["rank"] for each in named].count(0) <= 2
    assert len(named) == 3, "the last place is an empty pack"
    for each in named:
        assert each["samples"] == list(dealing._shards[each["pack"]].sample_keys)


def test_mindrecord_has_outlines_too(root: Path, tmp_path: Path) -> None:
    convert_shards(root / "shards", tmp_path / "out", format="mindrecord")
    theirs, ours = open_shards(tmp_path / "out"), open_shards(root / "shards")
    for index in range(8):
        assert theirs.outline(index).segment_lengths.tolist() == ours.outline(index).segment_lengths.tolist()
