"""The packs of a step -> ranks, so that none has much more to do than the others.

    shards.outline(pack) -> CostModel.cost          of every pack of the step, on every rank: no exchange is needed
    deal(costs) -> which rank takes which           the same number of packs each, the largest cost as small as it gets

Every rank runs graphs of the same shapes, so that products of matrices cost the same, padding included. What differs is
attention, where the kernel skips what is masked: it grows with the square of a segment. Which packs a step has is the
order's business (`shards.order`), whoever takes them; so their global sums don't depend on it, but for rounding. With
one rank, and where each rank takes one pack, they are taken in turn.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from shards import Outline, PaddedPack, ShardSet, load_padded
from shards.batch import BatchShape
from shards.order import PackOrder
from train.cluster.world import World
from train.models.sizes import ModelSizes, Stack

_STEPS_KEPT = 64  # that are read ahead, and the one at hand

Deal = tuple[tuple[int, ...], ...]  # for each rank, in the order of its micro-steps


@dataclass(frozen=True, kw_only=True)
class CostModel:
    """Multiply-adds of the forward of a padded pack, as far as they matter: the backward takes twice as many."""

    shape: BatchShape
    fixed: int  # products of matrices
    token_pair: int  # attention: of a query with a key that it sees, in all layers
    patch_pair: int

    @classmethod
    def of(cls, sizes: ModelSizes, shape: BatchShape) -> CostModel:
        values = {"llm": 0, "vision": 0, "head": 0}
        for module in sizes.linear:
            name = f"{module}.weight"
            part = "head" if module == sizes.head else "llm" if sizes.group_of[name] == "llm" else "vision"
            values[part] += math.prod(sizes.shapes[name])
        head = values["head"] or sizes.vocab_size * sizes.text.width
        return cls(
            shape=shape,
            fixed=shape.pack_length * values["llm"] + shape.patches * values["vision"] + shape.label_tokens * head,
            token_pair=_pair(sizes.text),
            patch_pair=_pair(sizes.vision),
        )

    def cost(self, pack: Outline | None) -> int:
        """None is an empty pack. Padding is a segment, and a frame, of its own."""
        lengths = pack.segment_lengths.tolist() if pack else []
        frames = [(t, h * w) for t, h, w in pack.grids.tolist()] if pack else []
        lengths.append(self.shape.pack_length - sum(lengths))
        frames.append((1, self.shape.patches - sum(count * patches for count, patches in frames)))
        token_pairs = sum(length * (length + 1) // 2 for length in lengths)
        patch_pairs = sum(count * patches**2 for count, patches in frames)
        return self.fixed + self.token_pair * token_pairs + self.patch_pair * patch_pairs


def _pair(stack: Stack) -> int:
    """The query with the key, and the probability with the value, of all heads."""
    return 2 * stack.width * stack.num_full_layers


def deal(costs: Sequence[int], num_ranks: int, *, in_step: bool) -> Deal:
    """Indices of `costs` for each rank, as many for each; never worse than in turn (`in_turn`).

    `in_step`: ranks wait for each other in every micro-step, so that packs of about the same cost belong together.
    Otherwise they wait once, and the largest sum is made small: heaviest first to whoever has least, then exchanges.
    """
    by_cost = sorted(range(len(costs)), key=lambda index: -costs[index])
    mine: list[list[int]] = [[] for _ in range(num_ranks)]
    sums = [0] * num_ranks
    for first in range(0, len(costs), num_ranks):
        free = set(range(num_ranks))
        for index in by_cost[first : first + num_ranks]:
            candidates = free if in_step else [r for r in range(num_ranks) if len(mine[r]) < len(costs) // num_ranks]
            rank = min(candidates, key=lambda each: (sums[each], each))
            free.discard(rank)
            mine[rank].append(index)
            sums[rank] += costs[index]
    found = tuple(map(tuple, mine)) if in_step else _exchange(np.array(costs, np.float64), np.array(mine))
    before = in_turn(len(costs), num_ranks)
    is_better = largest(found, costs, in_step=in_step) < largest(before, costs, in_step=in_step)
    return found if is_better else before


def _exchange(costs: npt.NDArray[np.float64], mine: npt.NDArray[np.int64]) -> Deal:
    """Exchange two packs as long as that makes the largest sum smaller. `mine`: (ranks, packs of one) indices."""
    for _ in range(mine.size):
        sums = costs[mine].sum(1)
        heaviest = int(sums.argmax())
        gain = costs[mine[heaviest]][:, None, None] - costs[mine][None]  # (its packs, ranks, packs of one)
        larger = np.maximum(sums[heaviest] - gain, sums[None, :, None] + gain)
        larger[:, heaviest] = np.inf
        out, rank, back = np.unravel_index(int(larger.argmin()), larger.shape)
        if not larger[out, rank, back] < sums[heaviest]:
            break
        mine[heaviest, out], mine[rank, back] = mine[rank, back], mine[heaviest, out]
    return tuple(tuple(sorted(row)) for row in mine.tolist())


def in_turn(count: int, num_ranks: int) -> Deal:
    """As `shards.order` has it."""
    return tuple(tuple(range(rank, count, num_ranks)) for rank in range(num_ranks))


def largest(dealt: Deal, costs: Sequence[int], *, in_step: bool) -> int:
    """The cost that the others wait for."""
    of_ranks = [[costs[index] for index in mine] for mine in dealt]
    return sum(map(max, zip(*of_ranks, strict=True))) if in_step else max(map(sum, of_ranks))


@dataclass(frozen=True, kw_only=True)
class DealtStep:
    """A step as it was dealt; costs are 0 where nobody looked."""

    positions: Deal  # of the run
    mean: float  # cost of a rank
    in_turn: float  # of the rank that the others wait for, had packs been taken in turn
    dealt: float  # and as it is


class Dealing:
    """Who takes which packs, in every step of a run. Threads may share it."""

    def __init__(self, shards: ShardSet, order: PackOrder, sizes: ModelSizes, world: World, *, zero_stage: int) -> None:
        self._shards, self._order, self._world = shards, order, world
        self._shape = BatchShape.of(shards.manifest)
        self._cost_model = CostModel.of(sizes, self._shape)
        self._in_step = zero_stage >= 2  # gradients travel in every micro-step
        self._deals = order.packs_per_step > world.size > 1
        self._looks = self._deals or (
            world.size > 1 and world.is_first
        )  # what is dealt in turn is reported all the same
        self.of_step = lru_cache(maxsize=_STEPS_KEPT)(self._of_step)

    @property
    def ranks_wait_once(self) -> bool:
        """In a step, once all its gradients are added up: until then, a rank's time is its own."""
        return not self._in_step

    def packs(self, first_step: int) -> Iterator[PaddedPack]:
        """Those of this rank, from step `first_step` on, counted from 0. Raises what `load_padded` raises."""
        for step in range(first_step, self._order.num_steps):
            for position in self.of_step(step).positions[self._world.rank]:
                yield load_padded(self._shards, self._order.pack_of(position), self._shape)

    def name_samples(self, step: int) -> list[dict[str, Any]]:
        """The packs of a step, empty ones left out, as JSON: who takes which, and the samples of each."""
        places = [
            (rank, index)
            for rank, positions in enumerate(self.of_step(step).positions)
            for index in map(self._order.pack_of, positions)
            if index is not None
        ]
        return [
            {"rank": rank, "pack": index, "samples": list(self._shards.outline(index).sample_keys)}
            for rank, index in places
        ]

    def _of_step(self, step: int) -> DealtStep:
        positions, size = self._order.positions_of_step(step), self._world.size
        turn = in_turn(len(positions), size)
        if not self._looks:
            return DealtStep(positions=_at(positions, turn), mean=0.0, in_turn=0.0, dealt=0.0)
        costs = [self._cost_model.cost(self._outline(position)) for position in positions]
        found = deal(costs, size, in_step=self._in_step) if self._deals else turn
        return DealtStep(
            positions=_at(positions, found),
            mean=sum(costs) / size,
            in_turn=float(largest(turn, costs, in_step=self._in_step)),
            dealt=float(largest(found, costs, in_step=self._in_step)),
        )

    def _outline(self, position: int) -> Outline | None:
        pack = self._order.pack_of(position)
        return None if pack is None else self._shards.outline(pack)


def _at(positions: Sequence[int], dealt: Deal) -> Deal:
    return tuple(tuple(positions[index] for index in mine) for mine in dealt)
