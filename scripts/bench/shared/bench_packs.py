"""A dataset of made-up packs of 2 MB, for benchmarks of reading."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import reduce
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from shards import (
    IGNORE_INDEX,
    Manifest,
    ModelConstants,
    Pack,
    PackCounts,
    PackMaxima,
    count_pack,
    measure_pack,
    write_manifest,
)
from shards.formats.writer import write_shard

FORMATS = ("arrow", "mindrecord")
PACK_LENGTH = 4096
PACK_PATCHES = 3300
SEGMENTS = 8
LARGEST_ROW_BYTES = 3 << 20
PACKS_PER_SHARD = 48
CONSTANTS = ModelConstants(
    model_type="qwen2_5_vl",
    vocab_size=151936,
    patch_size=14,
    merge_size=2,
    temporal_patch_size=2,
    window_size=112,
    tokens_per_second=2,
    im_start_token_id=151644,
    im_end_token_id=151645,
    pad_token_id=151643,
    vision_start_token_id=151652,
    vision_end_token_id=151653,
    image_token_id=151655,
    video_token_id=151656,
    image_mean=(0.5, 0.5, 0.5),
    image_std=(0.25, 0.25, 0.25),
    rescale_factor=1 / 255,
)


def write_dataset(folder: Path, num_packs: int, format: str) -> None:
    """Publish `num_packs` packs in shards of PACKS_PER_SHARD."""
    folder.mkdir()
    entries = []
    counts, maxima = PackCounts(), PackMaxima()
    for shard, first in enumerate(range(0, num_packs, PACKS_PER_SHARD)):
        packs = list(make_packs(range(first, min(first + PACKS_PER_SHARD, num_packs))))
        counts = reduce(PackCounts.__add__, map(count_pack, packs), counts)
        maxima = reduce(PackMaxima.merge, (measure_pack(pack, CONSTANTS) for pack in packs), maxima)
        entry = write_shard(folder, shard, packs, CONSTANTS, format=format, largest_row_bytes=LARGEST_ROW_BYTES).entry
        assert entry is not None
        entries.append(entry)
    manifest = Manifest(
        format=format,
        fingerprint="",
        inputs={},
        model=CONSTANTS,
        pack_length=PACK_LENGTH,
        pack_patches=PACK_PATCHES,
        maxima=maxima,
        totals=counts,
        datasets={},
        shards=tuple(entries),
    )
    write_manifest(folder, manifest)


def make_packs(seeds: range) -> Iterator[Pack]:
    for seed in seeds:
        rng = np.random.default_rng(seed)
        yield make_pack(rng, fill_with_images(rng))


def fill_with_images(rng: np.random.Generator) -> np.ndarray:
    """Grids (N, 3) of 256 to 1,600 patches, as many as there is room for."""
    grids: list[tuple[int, int, int]] = []
    room = PACK_PATCHES
    while room >= 1600:
        height, width = (int(side) for side in 2 * rng.integers(8, 21, 2))
        grids.append((1, height, width))
        room -= height * width
    grids.append((1, 2, room // 2 // 2 * 2))
    return np.array(grids, np.int32)


def make_pack(rng: np.random.Generator, grids: np.ndarray) -> Pack:
    """The images stand in the first segments, one each; text fills the pack, and its second half is supervised."""
    num_visual = CONSTANTS.num_visual_tokens(grids.prod(axis=1))
    pads = [np.full(number, CONSTANTS.image_token_id) for number in num_visual]
    pads += [np.zeros(0, np.int64)] * (SEGMENTS - len(pads))
    num_text = (PACK_LENGTH - int(num_visual.sum())) // SEGMENTS
    texts = [rng.integers(0, 151643, num_text) for _ in pads]
    ids = [np.concatenate(parts) for parts in zip(pads, texts, strict=True)]
    labels = [np.where(np.arange(len(part)) < len(part) - num_text // 2, IGNORE_INDEX, part) for part in ids]
    lengths = [len(part) for part in ids]
    num_patches = int(grids.prod(axis=1).sum())
    return Pack(
        input_ids=np.concatenate(ids).astype(np.int32),
        labels=np.concatenate(labels).astype(np.int32),
        position_ids=np.tile(np.concatenate([np.arange(length) for length in lengths]), (3, 1)).astype(np.int32),
        cu_seqlens=np.cumsum([0, *lengths]).astype(np.int32),
        image_patches=rng.integers(0, 256, (num_patches, CONSTANTS.image_patch_bytes), np.uint8),
        image_grid_thw=grids,
        video_patches=np.zeros((0, CONSTANTS.video_patch_bytes), np.uint8),
        video_grid_thw=np.zeros((0, 3), np.int32),
        second_per_grid_ts=np.zeros(0),
        sample_keys=tuple(f"made up:{number}" for number in range(SEGMENTS)),
    )
