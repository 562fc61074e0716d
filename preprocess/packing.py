"""Bin packing: which units (samples, or ready-made packs) share a pack. Pure functions over integer arrays.

Best-fit decreasing over all units at once: the largest first, each into the fullest pack that still has room.

"""

from __future__ import annotations

import heapq

import numpy as np
import numpy.typing as npt


def pack_units(
    tokens: npt.NDArray[np.int64],
    patches: npt.NDArray[np.int64],
    token_capacity: int,
    patch_capacity: int | None = None,
) -> npt.NDArray[np.int64]:
    """Pack number of every unit, (num_units,), numbered from 0 in order of opening.

    Every unit fits alone (tokens <= token_capacity, patches <= patch_capacity). Deterministic: ties go by position.
    """
    assert not len(tokens) or tokens.max() <= token_capacity, "a unit is longer than a pack"
    assert patch_capacity is None or not len(patches) or patches.max() <= patch_capacity, "a unit has too many patches"
    pack_of = np.empty(len(tokens), np.int64)
    open_packs = _OpenPacks(token_capacity)
    unlimited = np.iinfo(np.int64).max
    num_packs = 0
    for unit in np.lexsort((-patches, -tokens)):
        need_tokens, need_patches = int(tokens[unit]), int(patches[unit])
        found = open_packs.take(need_tokens, need_patches if patch_capacity is not None else 0)
        if found is None:
            found = (token_capacity, patch_capacity if patch_capacity is not None else unlimited, num_packs)
            num_packs += 1
        free_tokens, free_patches, pack = found
        pack_of[unit] = pack
        open_packs.put(free_tokens - need_tokens, free_patches - need_patches, pack)
    return pack_of


class _OpenPacks:
    """Packs by free tokens; among equals, the one with most free patches comes first.

    `_occupied` has bit n set where a pack with n free tokens exists, so the fullest pack with room is found by one
    shift. Work per unit is bounded by the capacity, whatever the number of packs.
    """

    def __init__(self, token_capacity: int) -> None:
        self._by_free_tokens: list[list[tuple[int, int]]] = [[] for _ in range(token_capacity + 1)]
        self._occupied = 0

    def put(self, free_tokens: int, free_patches: int, pack: int) -> None:
        heapq.heappush(self._by_free_tokens[free_tokens], (-free_patches, pack))
        self._occupied |= 1 << free_tokens

    def take(self, need_tokens: int, need_patches: int) -> tuple[int, int, int] | None:
        """Remove and return (free tokens, free patches, pack) of the fullest pack with room, if there is one."""
        candidates = self._occupied >> need_tokens
        free_tokens = need_tokens
        while candidates:
            step = (candidates & -candidates).bit_length() - 1
            candidates >>= step
            free_tokens += step
            bucket = self._by_free_tokens[free_tokens]
            if -bucket[0][0] >= need_patches:
                negative_patches, pack = heapq.heappop(bucket)
                if not bucket:
                    self._occupied &= ~(1 << free_tokens)
                return free_tokens, -negative_patches, pack
            candidates >>= 1
            free_tokens += 1
        return None


def shuffle_packs(pack_of: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.int64]:
    """Renumber packs in seeded random order: opening order sorts them by length, and training must not see that."""
    num_packs = int(pack_of.max()) + 1 if len(pack_of) else 0
    return np.random.default_rng(seed).permutation(num_packs)[pack_of]
