"""A model folder and shards small enough to train in a test: made-up packs that satisfy the format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from demo_model import ModelSize, write_model_folder

from shards import (
    IGNORE_INDEX,
    Manifest,
    ModelConstants,
    Pack,
    PackMaxima,
    count_pack,
    measure_pack,
    read_model_constants,
    write_manifest,
)
from shards.formats.writer import write_shard
from shards.pack import PackCounts

PACK_LENGTH = 64
TINY = ModelSize(
    vocab_size=300,
    hidden_size=32,
    intermediate_size=32,
    vision_hidden_size=16,
    vision_intermediate_size=16,
    num_heads=2,
    num_key_value_heads=1,
)


def write_tiny_model(folder: Path) -> ModelConstants:
    write_model_folder(folder, ["a short text to train a tokenizer on"], size=TINY)
    return read_model_constants(folder)


def write_tiny_inputs(root: Path, *, num_packs: int) -> None:
    """root/model and root/shards."""
    constants = write_tiny_model(root / "model")
    write_tiny_shards(root / "shards", make_packs(constants, num_packs=num_packs), constants)


def make_packs(constants: ModelConstants, *, num_packs: int, seed: int = 0) -> list[Pack]:
    """Packs in turn of text only, with an image, with a video, and with both; of unequal numbers of labels."""
    rng = np.random.default_rng(seed)
    return [_make_pack(rng, constants, number) for number in range(num_packs)]


def write_tiny_shards(
    folder: Path, packs: list[Pack], constants: ModelConstants, *, pack_length: int = PACK_LENGTH
) -> None:
    """Publish a dataset of two shards."""
    folder.mkdir(parents=True)
    half = (len(packs) + 1) // 2
    written = [write_shard(folder, index, part, constants) for index, part in enumerate((packs[:half], packs[half:]))]
    maxima, totals = PackMaxima(), PackCounts()
    for pack in packs:
        maxima = maxima.merge(measure_pack(pack, constants))
        totals += count_pack(pack)
    manifest = Manifest(
        format="arrow",
        fingerprint="0" * 64,
        inputs={},
        model=constants,
        pack_length=pack_length,
        pack_patches=256,
        maxima=maxima,
        totals=totals,
        datasets={},
        shards=tuple(shard.entry for shard in written if shard.entry),
    )
    write_manifest(folder, manifest)


def _make_pack(rng: np.random.Generator, constants: ModelConstants, number: int) -> Pack:
    unit = constants.merge_size**2
    image_grids = [(1, 4, 6)] if number % 2 else []
    video_grids = [(2, 4, 4)] if number % 4 >= 2 else []
    segments = [_text_segment(rng, num_labels=3 + 4 * (number % 5))]
    for grids, pad in ((image_grids, constants.image_token_id), (video_grids, constants.video_token_id)):
        for time, height, width in grids:
            text_ids, text_labels = _text_segment(rng, num_labels=5)
            pads = np.full(time * height * width // unit, pad)
            segments.append((np.r_[pads, text_ids], np.r_[np.full(len(pads), IGNORE_INDEX), text_labels]))

    lengths = [len(ids) for ids, _ in segments]
    positions = np.concatenate([np.arange(length) for length in lengths])
    grid_arrays = [np.array(grids, np.int32).reshape(-1, 3) for grids in (image_grids, video_grids)]
    num_image_patches, num_video_patches = (int(grid.prod(axis=1).sum()) for grid in grid_arrays)
    return Pack(
        input_ids=np.concatenate([ids for ids, _ in segments]).astype(np.int32),
        labels=np.concatenate([labels for _, labels in segments]).astype(np.int32),
        position_ids=np.tile(positions, (3, 1)).astype(np.int32),
        cu_seqlens=np.cumsum([0, *lengths]).astype(np.int32),
        image_patches=rng.integers(0, 256, (num_image_patches, constants.image_patch_bytes), dtype=np.uint8),
        image_grid_thw=grid_arrays[0],
        video_patches=rng.integers(0, 256, (num_video_patches, constants.video_patch_bytes), dtype=np.uint8),
        video_grid_thw=grid_arrays[1],
        second_per_grid_ts=np.ones(len(video_grids)),
        sample_keys=tuple(f"tiny:{number}.{member}" for member in range(len(segments))),
    )


def _text_segment(rng: np.random.Generator, *, num_labels: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids that count up from a random one, so that there is something to learn, and their labels."""
    ids = rng.integers(200) + np.arange(num_labels + 2)
    labels = ids.copy()
    labels[:2] = IGNORE_INDEX
    return ids, labels
