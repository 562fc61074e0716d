"""Bin packing: which units (samples, or ready-made packs) share a pack. Pure functions over integer arrays.

All units are seen at once, never in windows. Without a capacity in patches: best-fit decreasing on tokens, the largest
unit first, each into the fullest pack that still has room. With one: packs are filled one after another, each time with
a large unit whose ratio of patches to tokens is near that of the room left, so that both axes run out together.
"""

from __future__ import annotations

from bisect import bisect_right

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]

# Room for what two axes can't both fill: with less, packs stay open for lack of patches while tokens are left over.
_AUTO_SLACK = 1.025
_NUM_CLASSES = 48  # of the patch share of units; finer ones balance better until each holds too few units
_CLASSES_TRIED = 4


def pack_units(tokens: Integers, patches: Integers, token_capacity: int, patch_capacity: int | None = None) -> Integers:
    """Pack number of every unit, (num_units,), numbered from 0 in order of opening.

    Every unit fits alone (tokens <= token_capacity, patches <= patch_capacity). Deterministic: ties go by position.
    """
    assert not len(tokens) or tokens.max() <= token_capacity, "a unit is longer than a pack"
    if patch_capacity is None:
        return _best_fit_decreasing(tokens, token_capacity)
    assert not len(patches) or patches.max() <= patch_capacity, "a unit has too many patches"
    return _fill_balanced(tokens, patches, token_capacity, patch_capacity)


def choose_patch_capacity(tokens: Integers, patches: Integers, token_capacity: int, multiple: int) -> int:
    """A capacity in patches that lets both axes fill: the share of patches in the data, with a little slack.

    Never below the largest unit; a multiple of `multiple` (the patches of one visual token).
    """
    if not len(tokens):
        return 0
    balanced = token_capacity * float(patches.sum()) / float(tokens.sum()) * _AUTO_SLACK
    return -(-max(int(np.ceil(balanced)), int(patches.max())) // multiple) * multiple


def shuffle_packs(pack_of: Integers, seed: int) -> Integers:
    """Renumber packs in seeded random order: opening order sorts them by length, and training must not see that."""
    num_packs = int(pack_of.max()) + 1 if len(pack_of) else 0
    return np.random.default_rng(seed).permutation(num_packs)[pack_of]


def _best_fit_decreasing(tokens: Integers, capacity: int) -> Integers:
    """Packs by free tokens; bit n of `occupied` is set where a pack with n free tokens exists, so that the fullest
    pack with room is found by one shift. Work per unit is bounded by the capacity, whatever the number of packs.
    """
    pack_of = np.empty(len(tokens), np.int64)
    packs_with: list[list[int]] = [[] for _ in range(capacity + 1)]
    occupied = 0
    num_packs = 0
    sizes = tokens.tolist()
    for unit in np.argsort(-tokens, kind="stable").tolist():
        size = sizes[unit]
        candidates = occupied >> size
        if candidates:
            free = size + _lowest_bit(candidates)
            pack = packs_with[free].pop()
            if not packs_with[free]:
                occupied &= ~(1 << free)
        else:
            free, pack = capacity, num_packs
            num_packs += 1
        pack_of[unit] = pack
        packs_with[free - size].append(pack)
        occupied |= 1 << (free - size)
    return pack_of


def _fill_balanced(tokens: Integers, patches: Integers, token_capacity: int, patch_capacity: int) -> Integers:
    pack_of = np.empty(len(tokens), np.int64)
    stock = _Stock(tokens, patches, token_capacity, patch_capacity)
    num_packs = 0
    while stock.num_left:
        free_tokens, free_patches = token_capacity, patch_capacity
        while (found := stock.take(free_tokens, free_patches)) is not None:
            unit, unit_tokens, unit_patches = found
            pack_of[unit] = num_packs
            free_tokens -= unit_tokens
            free_patches -= unit_patches
        num_packs += 1
    return pack_of


class _Stock:
    """Units not packed yet, by the share of patches in their size and then by tokens.

    A size is tokens / token_capacity + patches / patch_capacity; the share of patches in it tells how a unit leans. Bit
    n of a class's mask is set where it has units of n tokens.
    """

    def __init__(self, tokens: Integers, patches: Integers, token_capacity: int, patch_capacity: int) -> None:
        self.num_left = len(tokens)
        self._token_scale = 1 / token_capacity
        self._patch_scale = 1 / max(patch_capacity, 1)
        self._masks = [0] * _NUM_CLASSES
        # tokens -> (patches, -unit) ascending, so that the most patches, then the earliest unit, stand last
        self._units: list[dict[int, list[tuple[int, int]]]] = [{} for _ in range(_NUM_CLASSES)]
        self._nearest = [
            np.argsort(abs(np.arange(_NUM_CLASSES) - n), kind="stable").tolist() for n in range(_NUM_CLASSES)
        ]
        leaning = self._class_of(tokens, patches).tolist()
        token_list, patch_list = tokens.tolist(), patches.tolist()
        for unit in np.lexsort((-np.arange(len(tokens)), patches)).tolist():
            number, size = leaning[unit], token_list[unit]
            self._masks[number] |= 1 << size
            self._units[number].setdefault(size, []).append((patch_list[unit], -unit))

    def _class_of(self, tokens: Integers, patches: Integers) -> Integers:
        share = patches * self._patch_scale / (tokens * self._token_scale + patches * self._patch_scale)
        return np.minimum((share * _NUM_CLASSES).astype(np.int64), _NUM_CLASSES - 1)

    def take(self, free_tokens: int, free_patches: int) -> tuple[int, int, int] | None:
        """Remove and return (unit, tokens, patches) of a large unit that fits and leans like the room left."""
        if not free_tokens:
            return None
        room_tokens, room_patches = free_tokens * self._token_scale, free_patches * self._patch_scale
        wanted = min(int(room_patches / (room_tokens + room_patches) * _NUM_CLASSES), _NUM_CLASSES - 1)
        best: tuple[float, int, int, int] | None = None
        tried = 0
        for number in self._nearest[wanted]:
            found = self._largest_that_fits(number, free_tokens, free_patches, room_patches)
            if found is None:
                continue
            size, position = found
            patches = self._units[number][size][position][0]
            value = size * self._token_scale + patches * self._patch_scale
            if best is None or value > best[0]:
                best = (value, number, size, position)
            tried += 1
            if tried == _CLASSES_TRIED:
                break
        if best is None:
            return None
        _, number, size, position = best
        units = self._units[number][size]
        patches, negative_unit = units.pop(position)
        if not units:
            del self._units[number][size]
            self._masks[number] ^= 1 << size
        self.num_left -= 1
        return -negative_unit, size, patches

    def _largest_that_fits(
        self, number: int, free_tokens: int, free_patches: int, room_patches: float
    ) -> tuple[int, int] | None:
        """(tokens, position in that list) of a unit of one class."""
        candidates = self._masks[number]
        if not candidates:
            return None
        limit = min(free_tokens, candidates.bit_length())
        if number:
            # Every unit of this class has at least this share of patches, which bounds its tokens from above.
            share = number / _NUM_CLASSES
            limit = min(limit, int(room_patches * (1 - share) / share / self._token_scale) + 1)
        candidates &= (1 << (limit + 1)) - 1
        while candidates:
            size = candidates.bit_length() - 1
            fitting = bisect_right(self._units[number][size], (free_patches, 1))
            if fitting:
                return size, fitting - 1
            candidates ^= 1 << size
        return None


def _lowest_bit(mask: int) -> int:
    return (mask & -mask).bit_length() - 1
