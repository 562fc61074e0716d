from collections import Counter
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards.order import PackOrder, num_positions, pack_at

sizes = st.integers(1, 200)
seeds = st.integers(0, 2**40)


def order_of(num_packs: int, seed: int, packs_per_step: int, positions: int) -> PackOrder:
    return PackOrder(num_packs=num_packs, seed=seed, packs_per_step=packs_per_step, num_positions=positions)


@given(sizes, seeds, st.integers(0, 5))
def test_every_epoch_takes_every_pack_exactly_once(num_packs: int, seed: int, epoch: int) -> None:
    positions = range(epoch * num_packs, (epoch + 1) * num_packs)
    taken = [pack_at(position, num_packs=num_packs, seed=seed) for position in positions]
    assert sorted(taken) == list(range(num_packs))


@given(sizes, seeds, st.integers(1, 9), st.integers(1, 9), st.integers(1, 300))
def test_order_does_not_depend_on_the_packs_per_step(
    num_packs: int, seed: int, one: int, other: int, positions: int
) -> None:
    def flat(packs_per_step: int) -> list[int | None]:
        order = order_of(num_packs, seed, packs_per_step, positions)
        return [pack for step in range(order.num_steps) for pack in order.packs_of_step(step)]

    assert flat(one)[:positions] == flat(other)[:positions]


@given(sizes, seeds, st.integers(1, 9), st.integers(1, 300))
def test_only_the_end_of_the_last_step_is_filled_with_empty_packs(
    num_packs: int, seed: int, packs_per_step: int, positions: int
) -> None:
    order = order_of(num_packs, seed, packs_per_step, positions)
    steps = [order.packs_of_step(step) for step in range(order.num_steps)]
    assert all(len(step) == packs_per_step for step in steps)
    flat = [pack for step in steps for pack in step]
    assert None not in flat[:positions]
    assert set(flat[positions:]) <= {None}
    assert len(flat) - positions < packs_per_step


@st.composite
def shared_runs(draw: st.DrawFn) -> tuple[PackOrder, int]:
    """A run, and a number of ranks that can share its steps."""
    world_size = draw(st.integers(1, 6))
    packs_per_step = world_size * draw(st.integers(1, 4))
    return order_of(draw(st.integers(1, 60)), draw(seeds), packs_per_step, draw(st.integers(1, 200))), world_size


@given(shared_runs())
def test_the_ranks_of_a_step_take_its_packs_each_once_whatever_their_number(run: tuple[PackOrder, int]) -> None:
    order, world_size = run
    for step in range(order.num_steps):
        by_rank = [order.packs_of_step(step, rank=rank, world_size=world_size) for rank in range(world_size)]
        in_turn = tuple(pack for micro_step in zip(*by_rank, strict=True) for pack in micro_step)
        assert in_turn == order.packs_of_step(step)


@given(shared_runs())
def test_the_ranks_take_every_pack_once_an_epoch(run: tuple[PackOrder, int]) -> None:
    order, world_size = run
    taken: dict[int, int | None] = {}
    for step in range(order.num_steps):
        for rank in range(world_size):
            share = {"rank": rank, "world_size": world_size}
            packs = order.packs_of_step(step, **share)
            taken |= dict(zip(order.positions_of_step(step, **share), packs, strict=True))
    assert sorted(taken) == list(range(order.num_steps * order.packs_per_step))
    for epoch in range(order.num_positions // order.num_packs):
        packs = [taken[epoch * order.num_packs + offset] for offset in range(order.num_packs)]
        assert sorted(packs) == list(range(order.num_packs))


@given(shared_runs())
def test_empty_packs_are_spread_evenly(run: tuple[PackOrder, int]) -> None:
    order, world_size = run
    last = order.num_steps - 1
    empty = [order.packs_of_step(last, rank=rank, world_size=world_size).count(None) for rank in range(world_size)]
    assert max(empty) - min(empty) <= 1


@pytest.mark.parametrize(
    ("share", "message"),
    [
        ({"world_size": 3}, "packs_per_step is 4, which 3 ranks can't share evenly"),
        ({"world_size": 0}, "which 0 ranks can't share"),
        ({"rank": 2, "world_size": 2}, "rank is 2, ranks are 0 to 1"),
        ({"rank": -1}, "rank is -1"),
    ],
)
def test_ranks_that_cannot_share_a_step_are_refused(share: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        order_of(10, 0, 4, 10).packs_of_step(0, **share)


def test_a_run_can_start_at_any_step_of_a_dataset_of_any_size() -> None:
    huge = order_of(10**8, 3, 512, 3 * 10**8)
    packs = huge.packs_of_step(400_000)
    assert packs == huge.packs_of_step(400_000)
    assert all(pack is not None and 0 <= pack < 10**8 for pack in packs)
    assert len(set(packs)) == 512


def test_seeds_and_epochs_have_different_orders() -> None:
    def epoch_of(seed: int, epoch: int) -> tuple[int, ...]:
        return tuple(pack_at(50 * epoch + offset, num_packs=50, seed=seed) for offset in range(50))

    assert len({epoch_of(seed, epoch) for seed in range(3) for epoch in range(3)}) == 9
    assert epoch_of(1, 0) == epoch_of(1, 0)


def test_order_is_the_same_on_every_machine_and_version() -> None:
    assert [pack_at(position, num_packs=8, seed=42) for position in range(16)] == ORDER_OF_8_PACKS


def test_orders_of_few_packs_are_about_equally_frequent() -> None:
    frequencies = Counter(tuple(pack_at(p, num_packs=3, seed=seed) for p in range(3)) for seed in range(3000))
    assert set(frequencies) == set(permutations(range(3)))
    assert all(400 < frequency < 600 for frequency in frequencies.values())


@pytest.mark.parametrize(
    ("num_packs", "epochs", "max_steps", "expected"),
    [
        (10, 1.0, None, 10),
        (10, 2.5, None, 25),
        (30, 0.1, None, 3),
        (30, 0.11, None, 4),
        (7, 1e-9, None, 1),
        (7, 9, 2, 8),
    ],
)
def test_number_of_positions(num_packs: int, epochs: float, max_steps: int | None, expected: int) -> None:
    assert num_positions(num_packs, packs_per_step=4, num_epochs=epochs, max_steps=max_steps) == expected


ORDER_OF_8_PACKS = [5, 0, 2, 7, 4, 3, 1, 6, 2, 6, 5, 3, 0, 7, 4, 1]
