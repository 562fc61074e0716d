"""The order in which a run takes its packs.

    position 0 1 2 3 4 5 6 7 8 ...      one stream without end: epoch 0, epoch 1, ...
             |epoch 0| |epoch 1|        each epoch a permutation of all packs, seeded by (seed, epoch)
             |step 0| |step 1| ...      step s takes positions [s*G, (s+1)*G), across epochs and on any number of ranks

Which pack stands at a position is computed, not looked up: nothing of the size of the dataset is held, and a run can
start at any position.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from fractions import Fraction

_ROUNDS = 8


def pack_at(position: int, *, num_packs: int, seed: int) -> int:
    """Index of the pack at `position` of the stream."""
    epoch, offset = divmod(position, num_packs)
    return _permute(offset, num_packs, key=f"{seed}/{epoch}")


def _permute(index: int, size: int, *, key: str) -> int:
    """Image of `index` under a permutation of range(size) that is determined by `key`.

    A Feistel network permutes range(4**b), the smallest such range that holds `size`; results outside range(size) are
    permuted again until one lies inside ("cycle walking"), which takes less than 4 turns on average.
    """
    half_bits = max(1, ((size - 1).bit_length() + 1) // 2)
    mask = (1 << half_bits) - 1
    while True:
        left, right = index >> half_bits, index & mask
        for turn in range(_ROUNDS):
            digest = hashlib.blake2b(f"{key}/{turn}/{right}".encode(), digest_size=8).digest()
            left, right = right, left ^ (int.from_bytes(digest, "little") & mask)
        index = (left << half_bits) | right
        if index < size:
            return index


@dataclass(frozen=True, kw_only=True)
class PackOrder:
    """Which packs each step of a run takes."""

    num_packs: int  # in the dataset
    seed: int
    packs_per_step: int  # G, over all ranks and accumulation steps
    num_positions: int  # packs the run takes in all; the last step is filled up with empty packs

    @property
    def num_steps(self) -> int:
        return -(-self.num_positions // self.packs_per_step)

    def positions_of_step(self, step: int, *, rank: int = 0, world_size: int = 1) -> range:
        """The step's positions that a rank takes: those that leave the remainder `rank`, divided by `world_size`.

        So the ranks together take every position of the step, whatever their number, micro-steps go through it in
        order, and empty packs at the end of the run are spread evenly.
        """
        if world_size < 1 or self.packs_per_step % world_size:
            raise ValueError(f"packs_per_step is {self.packs_per_step}, which {world_size} ranks can't share evenly")
        if not 0 <= rank < world_size:
            raise ValueError(f"rank is {rank}, ranks are 0 to {world_size - 1}")
        first = step * self.packs_per_step
        return range(first + rank, first + self.packs_per_step, world_size)

    def packs_of_step(self, step: int, *, rank: int = 0, world_size: int = 1) -> tuple[int | None, ...]:
        """Pack indices of a step, counted from 0, that a rank takes; None where there is an empty pack."""
        return tuple(map(self.pack_of, self.positions_of_step(step, rank=rank, world_size=world_size)))

    def pack_of(self, position: int) -> int | None:
        """Index of the pack at a position of the run; None where there is an empty pack."""
        return pack_at(position, num_packs=self.num_packs, seed=self.seed) if position < self.num_positions else None


def num_positions(num_packs: int, *, packs_per_step: int, num_epochs: float, max_steps: int | None) -> int:
    """Packs that a run takes: whole steps if `max_steps` is given, else `num_epochs` of the packs, rounded up."""
    if max_steps is not None:
        return max_steps * packs_per_step
    return -int(-num_packs * Fraction(str(num_epochs)) // 1)
