"""How large the samples of a plan are, in columns, and which of them come into which pack.

A plan may have a hundred million samples: here they are numbers in arrays, a few dozen bytes each, never objects.

    row    a measured sample
    item   a use of a row: a repeated sample has several
    unit   items that packing may not tear apart: one use of a record, or of a ready-made pack
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from preprocess.config import RunConfig
from preprocess.errors import ConfigError
from preprocess.plan.gather import append, as_numpy
from preprocess.plan.packing import choose_patch_capacity, pack_units, shuffle_packs
from preprocess.streams import stream
from shards import ModelConstants

_TOKEN_BYTES = 20  # input_ids, labels and three rows of positions, int32 each
_MOST_ITEMS = 2**31 - 1  # so that 32 bits number them
Counts = npt.NDArray[np.int32]


@dataclass(frozen=True, kw_only=True)
class SampleSizes:
    """Columns of shape (num_rows,)."""

    records: Counts  # ascending; members of a ready-made pack have the same number
    copies: Counts
    tokens: Counts
    image_patches: Counts
    video_patches: Counts

    def __len__(self) -> int:
        return len(self.records)

    @property
    def patches(self) -> Counts:
        return self.image_patches + self.video_patches

    def num_bytes(self, constants: ModelConstants) -> npt.NDArray[np.int64]:
        """Of each row in a shard, about."""
        total = self.tokens.astype(np.int64) * _TOKEN_BYTES
        total += self.image_patches.astype(np.int64) * constants.image_patch_bytes
        total += self.video_patches.astype(np.int64) * constants.video_patch_bytes
        return total

    def keep(self, rows: npt.NDArray[np.bool_]) -> SampleSizes:
        return SampleSizes(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


class SizeColumns:
    """SampleSizes while the measured parts are read, one after another."""

    def __init__(self) -> None:
        self._columns = {field.name: array("i") for field in fields(SampleSizes)}
        self._last_record = -1

    def add(self, samples: pa.Table) -> None:
        """The samples of the next part."""
        records = self._last_record + np.cumsum(_differ_from_before(samples["index"].to_numpy()))
        append(self._columns["records"], records)
        append(self._columns["copies"], samples["copies"].to_numpy())
        for name in ("tokens", "image_patches", "video_patches"):
            append(self._columns[name], samples[f"num_{name}"].to_numpy())
        self._last_record = int(records[-1]) if len(records) else self._last_record

    def sizes(self) -> SampleSizes:
        """Of all samples; none can be added any more."""
        return SampleSizes(**{name: as_numpy(column) for name, column in self._columns.items()})


def fits(sizes: SampleSizes, config: RunConfig) -> npt.NDArray[np.bool_]:
    """Rows within the capacity of a pack: all members of a ready-made pack or none, where they stay together."""
    tokens, patches = sizes.tokens, sizes.patches
    if config.packing == "global":
        tokens, patches = (_sum_by(sizes.records, numbers)[sizes.records] for numbers in (tokens, patches))
    within = tokens <= config.pack_length
    return within if config.patch_capacity is None else within & (patches <= config.patch_capacity)


@dataclass(frozen=True, kw_only=True)
class PackedItems:
    """Columns of shape (num_items,), in the order of the rows; the packs are in their final order."""

    rows: Counts
    repeats: Counts  # 0: the first use of that row
    packs: Counts
    num_packs: int
    pack_patches: int  # capacity of a pack in patches
    largest_unit_patches: int


def pack_samples(sizes: SampleSizes, config: RunConfig, constants: ModelConstants) -> PackedItems:
    """Every use of every sample into packs, as `config` says. No unit is over capacity. Raises ConfigError."""
    num_items = int(sizes.copies.sum(dtype=np.int64))
    if num_items > _MOST_ITEMS:
        raise ConfigError(f"dataset_use gives {num_items:,} samples, a run takes {_MOST_ITEMS:,}; make several runs")
    rows = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes.copies)
    first_items = np.cumsum(sizes.copies, dtype=np.int32) - sizes.copies
    repeats = np.arange(len(rows), dtype=np.int32) - first_items[rows]
    units = _units(sizes, rows, repeats) if config.packing == "global" else np.arange(len(rows), dtype=np.int32)
    tokens = _sum_by(units, sizes.tokens[rows])
    patches = _sum_by(units, sizes.patches[rows])
    largest = int(patches.max(initial=0))
    if config.packing == "none":
        pack_patches = config.patch_capacity or largest
        pack_of_unit = units
    else:
        pack_patches = config.patch_capacity or choose_patch_capacity(
            tokens, patches, config.pack_length, constants.merge_unit
        )
        # Which units of equal size come together must not follow the order of the annotations.
        order = np.arange(len(tokens), dtype=np.int32)
        stream("units", config.seed).shuffle(order)
        tokens, patches = tokens[order], patches[order]
        pack_of_unit = np.empty(len(order), np.int32)
        pack_of_unit[order] = pack_units(tokens, patches, config.pack_length, pack_patches)
    return PackedItems(
        rows=rows,
        repeats=repeats,
        packs=shuffle_packs(pack_of_unit, config.seed)[units],
        num_packs=int(pack_of_unit.max(initial=-1)) + 1,
        pack_patches=pack_patches,
        largest_unit_patches=largest,
    )


def _units(sizes: SampleSizes, rows: Counts, repeats: Counts) -> Counts:
    """Units are numbered record by record, and within a record by repeat."""
    is_first = _differ_from_before(sizes.records)
    copies = sizes.copies[is_first]  # of each record
    first_units = np.cumsum(copies, dtype=np.int32) - copies
    position_of_record = np.cumsum(is_first, dtype=np.int32) - 1  # of each row: records may be missing
    return first_units[position_of_record[rows]] + repeats


def _differ_from_before(numbers: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
    differs = np.ones(len(numbers), bool)
    differs[1:] = numbers[1:] != numbers[:-1]
    return differs


def _sum_by(units: Counts, numbers: Counts) -> Counts:
    return np.bincount(units, numbers).astype(np.int32)
