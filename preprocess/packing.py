"""Bin packing: which units (samples, or ready-made packs) share a pack. Pure functions over integer arrays.

All units are seen at once, never in windows. Packs are filled one after another, each time with a large unit whose
share of patches is near that of the room left, so that both axes, tokens and patches, run out together. Where there are
no patches, that is the largest unit that fits.

Units of equal size are interchangeable. So the search runs over the distinct sizes, and the pack that it finds is
repeated for as long as there are units left for it: time and memory grow with the sizes more than with the units.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import Counter

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.integer]
PackNumbers = npt.NDArray[np.int32]

# Room for what two axes can't both fill: with less, packs stay open for lack of patches while tokens are left over.
_AUTO_SLACK = 1.025
_NUM_CLASSES = 48  # of the patch share of sizes; finer ones balance better until each holds too few
_CLASSES_TRIED = 4


def pack_units(
    tokens: Integers, patches: Integers, token_capacity: int, patch_capacity: int | None = None
) -> PackNumbers:
    """Pack number of every unit, (num_units,), numbered from 0 in order of opening.

    Every unit has at least one token and fits alone (tokens <= token_capacity, patches <= patch_capacity; None: any
    number). Deterministic: of units of equal size, the earlier ones come into the earlier packs.
    """
    if patch_capacity is None:
        patches, patch_capacity = np.zeros(len(tokens), np.int32), 0
    assert tokens.min(initial=1) > 0, "a unit has no tokens"
    assert tokens.max(initial=0) <= token_capacity, "a unit is longer than a pack"
    assert patches.max(initial=0) <= patch_capacity, "a unit has too many patches"
    by_size = np.lexsort((patches, tokens)).astype(np.int32)
    starts = _starts_of_runs(tokens[by_size], patches[by_size])
    num_units = np.diff(starts, append=len(by_size))
    firsts = by_size[starts]
    stock = _Stock(tokens[firsts], patches[firsts], num_units, token_capacity, patch_capacity)
    unused = starts[stock.order].tolist()  # of each size, where in `by_size` its units without a pack start
    pack_of_sorted = np.empty(len(by_size), np.int32)
    num_packs = 0
    while num_of_size := stock.take_pack():
        repeats = 1 + stock.repeat_pack(num_of_size)
        packs = np.arange(num_packs, num_packs + repeats)
        for size, number in num_of_size.items():
            start, unused[size] = unused[size], unused[size] + repeats * number
            pack_of_sorted[start : unused[size]] = packs.repeat(number) if repeats > 1 else num_packs
        num_packs += repeats
    pack_of = np.empty(len(by_size), np.int32)
    pack_of[by_size] = pack_of_sorted
    return pack_of


def choose_patch_capacity(tokens: Integers, patches: Integers, token_capacity: int, multiple: int) -> int:
    """A capacity in patches that lets both axes fill: the share of patches in the data, with a little slack.

    Never below the largest unit; a multiple of `multiple` (the patches of one visual token).
    """
    if not len(tokens):
        return 0
    balanced = token_capacity * float(patches.sum()) / float(tokens.sum()) * _AUTO_SLACK
    return -(-max(int(np.ceil(balanced)), int(patches.max())) // multiple) * multiple


def shuffle_packs(pack_of: Integers, seed: int) -> PackNumbers:
    """Renumber packs in seeded random order: opening order sorts them by length, and training must not see that."""
    num_packs = int(pack_of.max()) + 1 if len(pack_of) else 0
    return np.random.default_rng(seed).permutation(num_packs).astype(np.int32)[pack_of]


def _starts_of_runs(*columns: Integers) -> npt.NDArray[np.int64]:
    """Positions where any column differs from the position before."""
    is_start = np.ones(len(columns[0]), bool)
    is_start[1:] = np.any([column[1:] != column[:-1] for column in columns], axis=0)
    return np.flatnonzero(is_start)


class _Stock:
    """How many units of each size are not packed yet.

    Sizes are sorted by class (the share of patches in them), then tokens, then patches; those of equal class and
    tokens are a group. A size weighs tokens / token_capacity + patches / patch_capacity. Bit n of a class's mask is
    set while the n-th group of the class has units.
    """

    def __init__(
        self, tokens: Integers, patches: Integers, num_units: Integers, token_capacity: int, patch_capacity: int
    ) -> None:
        self._token_capacity, self._patch_capacity = token_capacity, patch_capacity
        self._token_scale = 1 / token_capacity
        self._patch_scale = 1 / max(patch_capacity, 1)
        patch_weight = patches * self._patch_scale
        share = patch_weight / (tokens * self._token_scale + patch_weight)
        class_of = np.minimum((share * _NUM_CLASSES).astype(np.int64), _NUM_CLASSES - 1)
        self.order = np.lexsort((patches, tokens, class_of))  # where in the arguments each size stands
        class_of, tokens, patches = class_of[self.order], tokens[self.order], patches[self.order]
        group_starts = _starts_of_runs(class_of, tokens)
        class_starts = np.searchsorted(class_of[group_starts], np.arange(_NUM_CLASSES + 1))
        self._masks = [(1 << int(number)) - 1 for number in np.diff(class_starts)]
        self._class_of = _compact(class_of)
        self._class_starts = class_starts.tolist()  # where the groups of each class start
        self._group_tokens = _compact(tokens[group_starts])
        self._group_starts = _compact(np.append(group_starts, len(tokens)))  # where the sizes of each group start
        self._group_of = _compact(np.repeat(np.arange(len(group_starts)), np.diff(group_starts, append=len(tokens))))
        self._tokens = _compact(tokens)
        self._patches = _compact(patches)
        self._num_left = _compact(num_units[self.order])
        self._links = _compact(np.arange(-1, len(tokens)))  # at n + 1: n while size n has units, then a size below it
        self._nearest = self._nearest_classes()

    def take_pack(self) -> Counter[int]:
        """Remove the units of one pack; how many of each size. Empty when no units are left."""
        free_tokens, free_patches = self._token_capacity, self._patch_capacity
        num_of_size: Counter[int] = Counter()
        while free_tokens and (size := self._choose(free_tokens, free_patches)) is not None:
            free_tokens -= self._tokens[size]
            free_patches -= self._patches[size]
            num_of_size[size] += 1
            self._remove(size, 1)
        return num_of_size

    def repeat_pack(self, num_of_size: Counter[int]) -> int:
        """Remove the units of more packs like this one, as many as there are; how many."""
        repeats = min(self._num_left[size] // number for size, number in num_of_size.items())
        if repeats:
            for size, number in num_of_size.items():
                self._remove(size, repeats * number)
        return repeats

    def _choose(self, free_tokens: int, free_patches: int) -> int | None:
        """A large size that fits and leans like the room left."""
        room_tokens, room_patches = free_tokens * self._token_scale, free_patches * self._patch_scale
        wanted = min(int(room_patches / (room_tokens + room_patches) * _NUM_CLASSES), _NUM_CLASSES - 1)
        best, best_weight = None, 0.0
        tried = 0
        for number in self._nearest[wanted]:
            size = self._largest_that_fits(number, free_tokens, free_patches)
            if size is None:
                continue
            weight = self._tokens[size] * self._token_scale + self._patches[size] * self._patch_scale
            if weight > best_weight:
                best, best_weight = size, weight
            tried += 1
            if tried == _CLASSES_TRIED:
                break
        return best

    def _nearest_classes(self) -> list[list[int]]:
        """For each class, all that have units left, the most alike first."""
        with_units = [number for number, mask in enumerate(self._masks) if mask]
        return [sorted(with_units, key=lambda other: abs(other - number)) for number in range(_NUM_CLASSES)]

    def _largest_that_fits(self, number: int, free_tokens: int, free_patches: int) -> int | None:
        """The size of class `number` with the most tokens, and among those the most patches."""
        most_tokens = free_tokens
        if number:
            # Every size of this class has at least this share of patches, which bounds its tokens from above.
            share = number / _NUM_CLASSES
            bound = free_patches * self._patch_scale * (1 - share) / share / self._token_scale
            most_tokens = min(most_tokens, int(bound) + 1)
        first, end = self._class_starts[number], self._class_starts[number + 1]
        num_short_enough = bisect_right(self._group_tokens, most_tokens, first, end) - first
        candidates = self._masks[number] & ((1 << num_short_enough) - 1)
        while candidates:
            bit = candidates.bit_length() - 1
            start, end = self._group_starts[first + bit], self._group_starts[first + bit + 1]
            size = self._last_left(bisect_right(self._patches, free_patches, start, end) - 1)
            if size >= start:
                return size
            candidates ^= 1 << bit
        return None

    def _remove(self, size: int, number: int) -> None:
        self._num_left[size] -= number
        if self._num_left[size]:
            return
        self._links[size + 1] = size - 1
        number, group = self._class_of[size], self._group_of[size]
        if self._last_left(self._group_starts[group + 1] - 1) < self._group_starts[group]:
            self._masks[number] ^= 1 << (group - self._class_starts[number])
            if not self._masks[number]:
                self._nearest = self._nearest_classes()

    def _last_left(self, size: int) -> int:
        """The last of the sizes up to this one that has units left; -1: none. Shortens the way for the next search."""
        links = self._links
        found = size
        while links[found + 1] != found:
            found = links[found + 1]
        while links[size + 1] != found:
            links[size + 1], size = found, links[size + 1]
        return found


def _compact(numbers: Integers) -> array[int]:
    """Fast to index from Python, at four bytes a number."""
    return array("i", numbers.astype(np.int32).tobytes())
