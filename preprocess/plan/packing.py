"""Bin packing: which units (samples, or ready-made packs) share a pack. Pure functions over integer arrays.

All units are seen at once, never in windows. Packs are filled one after another, each time with a large unit whose
share of patches is near that of the room left, so that both axes, tokens and patches, run out together. Where there are
no patches, that is the largest unit that fits.

Units of equal size are interchangeable. So the search runs over the distinct sizes, and the pack that it finds is
repeated for as long as there are units left for it: many units alike cost next to nothing. A unit like no other costs
a few steps down a tree, so that the time for n units grows with n log n, whatever their sizes.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right

import numpy as np
import numpy.typing as npt

from preprocess.streams import stream

Integers = npt.NDArray[np.integer]
PackNumbers = npt.NDArray[np.int32]

# Room for what two axes can't both fill: with less, packs stay open for lack of patches while tokens are left over.
AUTO_SLACK = 1.025
_NUM_CLASSES = 48  # of the patch share of sizes; finer ones balance better until each holds too few
_CLASSES_TRIED = 4
# A size with no more units left than this comes into a pack once, where others fit: its units may be copies of one
# sample. For more of them chance keeps copies apart, and packs are fuller when such sizes may come again and again.
_MAYBE_COPIES = 31
_HIDDEN = 2**31 - 1  # stands for the patches of a size that can't be taken now


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
    class_of = _classes_of(tokens, patches, token_capacity, patch_capacity)
    by_size = np.lexsort((patches, tokens, class_of)).astype(np.int32)
    starts = _starts_of_runs(tokens[by_size], patches[by_size])
    firsts = by_size[starts]
    num_units = np.diff(starts, append=np.int32(len(by_size)))
    stock = _Stock(class_of[firsts], tokens[firsts], patches[firsts], num_units, token_capacity, patch_capacity)
    unused = _compact(starts)  # of each size, where in `by_size` its units without a pack start
    del class_of, firsts, num_units, starts
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
    """A capacity in patches that lets both axes fill (`balanced_patches`), but never below the largest unit.

    A multiple of `multiple` (the patches of one visual token).
    """
    if not len(tokens):
        return 0
    balanced = balanced_patches(int(tokens.sum()), int(patches.sum()), token_capacity, multiple)
    return max(balanced, _round_up(int(patches.max()), multiple))


def balanced_patches(num_tokens: int, num_patches: int, token_capacity: int, multiple: int) -> int:
    """The share of patches in all data, with a little slack, as a capacity beside `token_capacity`."""
    return _round_up(math.ceil(token_capacity * num_patches / num_tokens * AUTO_SLACK), multiple)


def _round_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


def shuffle_packs(pack_of: Integers, seed: int) -> PackNumbers:
    """Renumber packs in seeded random order: opening order sorts them by length, and training must not see that."""
    num_packs = int(pack_of.max()) + 1 if len(pack_of) else 0
    return stream("packs", seed).permutation(num_packs).astype(np.int32)[pack_of]


def _classes_of(tokens: Integers, patches: Integers, token_capacity: int, patch_capacity: int) -> npt.NDArray[np.uint8]:
    """Classes by the share of patches in the weight of a unit: tokens / token_capacity + patches / patch_capacity."""
    share = patches * (1 / max(patch_capacity, 1))
    share /= tokens * (1 / token_capacity) + share
    share *= _NUM_CLASSES
    return np.minimum(share, _NUM_CLASSES - 1, out=share).astype(np.uint8)


def _starts_of_runs(*columns: Integers) -> npt.NDArray[np.int32]:
    """Positions where any column differs from the position before."""
    is_start = np.ones(len(columns[0]), bool)
    is_start[1:] = np.any([column[1:] != column[:-1] for column in columns], axis=0)
    return np.flatnonzero(is_start).astype(np.int32)


class _Stock:
    """How many units of each size are not packed yet. Sizes are sorted by class, then tokens, then patches."""

    def __init__(
        self,
        class_of: npt.NDArray[np.uint8],
        tokens: Integers,
        patches: Integers,
        num_units: Integers,
        token_capacity: int,
        patch_capacity: int,
    ) -> None:
        self._token_capacity, self._patch_capacity = token_capacity, patch_capacity
        self._token_scale = 1 / token_capacity
        self._patch_scale = 1 / max(patch_capacity, 1)
        self._class_of = class_of.tobytes()
        self._tokens = _compact(tokens)
        self._patches = _compact(patches)
        self._num_left = _compact(num_units)
        ends = np.searchsorted(class_of, np.arange(_NUM_CLASSES), side="right").tolist()
        self._classes = [
            _SizeClass(number, self._tokens, self._patches, self._num_left, start, end)
            for number, (start, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True))
        ]
        self._nearest = self._nearest_classes()

    def take_pack(self) -> dict[int, int]:
        """Remove the units of one pack; how many of each size. Empty when no units are left."""
        free_tokens, free_patches = self._token_capacity, self._patch_capacity
        num_of_size: dict[int, int] = {}
        hidden: list[int] = []
        while free_tokens:
            size = self._choose(free_tokens, free_patches)
            if size is not None:
                free_tokens -= self._tokens[size]
                free_patches -= self._patches[size]
                num_of_size[size] = num_of_size.get(size, 0) + 1
                self._remove(size, 1)
                if 0 < self._num_left[size] <= _MAYBE_COPIES:
                    self._classes[self._class_of[size]].hide(size)
                    hidden.append(size)
            elif hidden:
                self._show(hidden)
            else:
                break
        self._show(hidden)
        return num_of_size

    def repeat_pack(self, num_of_size: dict[int, int]) -> int:
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
        num_tried = 0
        free_patches = min(free_patches, _HIDDEN - 1)
        for sizes in self._nearest[wanted]:
            if sizes.fewest_tokens > free_tokens or sizes.least[1] > free_patches:
                continue
            # Otherwise whatever outweighs the best takes more tokens, or more patches, than are free.
            if best_weight * sizes.token_share <= room_tokens and best_weight * sizes.patch_share <= room_patches:
                size = sizes.largest_that_fits(free_tokens, free_patches)
                if size is None:
                    continue
                weight = self._tokens[size] * self._token_scale + self._patches[size] * self._patch_scale
                if weight > best_weight:
                    best, best_weight = size, weight
            num_tried += 1
            if num_tried == _CLASSES_TRIED:
                break
        return best

    def _remove(self, size: int, number: int) -> None:
        self._num_left[size] -= number
        if not self._num_left[size]:
            sizes = self._classes[self._class_of[size]]
            sizes.drop(size)
            if not sizes:
                self._nearest = self._nearest_classes()

    def _show(self, hidden: list[int]) -> None:
        """Let these sizes be chosen again; empties the list."""
        while hidden:
            size = hidden.pop()
            self._classes[self._class_of[size]].show(size)

    def _nearest_classes(self) -> list[list[_SizeClass]]:
        """For each class, all that have units left, the most alike first."""
        with_units = [number for number, sizes in enumerate(self._classes) if sizes]
        return [
            [self._classes[other] for other in sorted(with_units, key=lambda other: abs(other - number))]
            for number in range(_NUM_CLASSES)
        ]


class _SizeClass:
    """The sizes of class `number`: those from `start` to `end` of the stock, whose columns it shares.

    `least` is a tree of minima over their patches: the root is at 1, the children of n are at 2n and 2n + 1, and the
    last half are the leaves, one for a size; `_HIDDEN` is at those that have no units or may not be chosen now.
    """

    def __init__(
        self, number: int, tokens: array[int], patches: array[int], num_left: array[int], start: int, end: int
    ) -> None:
        self._tokens, self._patches, self._num_left = tokens, patches, num_left
        self._first, self._end = start, end  # no size outside has units left
        self.fewest_tokens = tokens[start] if start < end else 0
        # Of the weight of each size at least these shares are tokens and patches.
        self.token_share, self.patch_share = 1 - (number + 1) / _NUM_CLASSES, number / _NUM_CLASSES
        self._num_leaves = num_leaves = 1 << max(end - start - 1, 0).bit_length()
        self._leaf_of_0 = num_leaves - start
        self.least = array("i", bytes(2 * num_leaves * 4))
        least = np.frombuffer(self.least, np.int32)
        least[num_leaves:] = _HIDDEN
        least[num_leaves : num_leaves + end - start] = patches[start:end]
        while num_leaves > 1:
            children, num_leaves = least[num_leaves : 2 * num_leaves], num_leaves // 2
            np.minimum(children[::2], children[1::2], out=least[num_leaves : 2 * num_leaves])

    def __bool__(self) -> bool:
        return self._first < self._end

    def largest_that_fits(self, free_tokens: int, free_patches: int) -> int | None:
        """The size with the most tokens, and among those the most patches. At least `fewest_tokens` must be free."""
        least = self.least
        node = self._leaf_of_0 + bisect_right(self._tokens, free_tokens, self._first, self._end) - 1
        while least[node] > free_patches:  # in all of its leaves: on to the left, at twice the width each time
            while not node & 1:
                node >>= 1
            if node == 1:
                return None
            node -= 1
        while node < self._num_leaves:
            node = 2 * node + 1
            if least[node] > free_patches:
                node -= 1
        return node - self._leaf_of_0

    def drop(self, size: int) -> None:
        """It has no units left."""
        self.hide(size)
        while self._first < self._end and not self._num_left[self._first]:
            self._first += 1
        while self._first < self._end and not self._num_left[self._end - 1]:
            self._end -= 1
        if self._first < self._end:
            self.fewest_tokens = self._tokens[self._first]

    def hide(self, size: int) -> None:
        self._set_leaf(size, _HIDDEN)

    def show(self, size: int) -> None:
        self._set_leaf(size, self._patches[size])

    def _set_leaf(self, size: int, patches: int) -> None:
        least = self.least
        node = self._leaf_of_0 + size
        least[node] = patches
        while node > 1:
            smaller = min(least[node], least[node ^ 1])
            node >>= 1
            if least[node] == smaller:
                break
            least[node] = smaller


def _compact(numbers: Integers) -> array[int]:
    """Fast to index from Python, at four bytes a number."""
    compact = array("i")
    compact.frombytes(np.ascontiguousarray(numbers, np.int32).view(np.uint8).data)
    return compact
