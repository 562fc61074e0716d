"""A tiny Qwen2.5-VL and four packs of text, images and video: the same everywhere, from NumPy's frozen streams."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from shards import IGNORE_INDEX, ModelConstants, Pack, PackMaxima, check_pack, measure_pack
from shards.batch import BatchShape
from shards.files.names import CONFIG_NAME
from train.models import family_in
from train.models.precision import Precision
from train.models.trained import TrainedModel

_VISION_START, _VISION_END, _IMAGE, _VIDEO = 90, 91, 92, 93
_PATCH, _MERGE, _FRAMES = 4, 2, 2

# Grouped key-value heads, a full layer after a windowed one, heads of 16 channels: the least of Ascend's kernel.
CONFIG: dict[str, Any] = {
    "model_type": "qwen2_5_vl",
    "vocab_size": 96,
    "hidden_size": 64,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000.0,
    "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]},
    "tie_word_embeddings": False,
    "vision_config": {
        "depth": 2,
        "hidden_act": "silu",
        "hidden_size": 32,
        "intermediate_size": 40,
        "num_heads": 2,
        "out_hidden_size": 64,
        "patch_size": _PATCH,
        "temporal_patch_size": _FRAMES,
        "spatial_merge_size": _MERGE,
        "window_size": 2 * _MERGE * _PATCH,
        "fullatt_block_indexes": [1],
    },
}
CONSTANTS = ModelConstants(
    model_type=CONFIG["model_type"],
    vocab_size=CONFIG["vocab_size"],
    patch_size=_PATCH,
    merge_size=_MERGE,
    temporal_patch_size=_FRAMES,
    window_size=CONFIG["vision_config"]["window_size"],
    tokens_per_second=2,
    im_start_token_id=94,
    im_end_token_id=95,
    pad_token_id=0,
    vision_start_token_id=_VISION_START,
    vision_end_token_id=_VISION_END,
    image_token_id=_IMAGE,
    video_token_id=_VIDEO,
    image_mean=(0.48145466, 0.4578275, 0.40821073),
    image_std=(0.26862954, 0.26130258, 0.27577711),
    rescale_factor=1 / 255,
)
PACK_LENGTH = 96
# Grids of images and of videos, for each sample of each pack.
_PACKS: list[list[tuple[list[tuple[int, int, int]], list[tuple[int, int, int]]]]] = [
    [([], []), ([(1, 6, 10)], [])],
    [([], [(3, 6, 8)])],
    [([(1, 4, 6), (1, 2, 2)], []), ([], []), ([], [])],
    [([], [])],
]


def build_tiny(precision: Precision) -> TrainedModel:
    """Its weights are zero: see `weights_of`."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / CONFIG_NAME).write_text(json.dumps(CONFIG))
        family = family_in(folder)
        return family.build(family.read_config(folder), CONSTANTS, precision)


def values_of(name: str, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """The value of a weight, from its name. Norms are about 1."""
    random = np.random.RandomState(zlib.crc32(name.encode()))
    values = random.uniform(-1, 1, shape)
    if len(shape) == 1:
        return (0.1 * values + ("norm" in name or "ln_q" in name)).astype(np.float32)
    return (values * (3 / shape[-1]) ** 0.5).astype(np.float32)


def make_packs() -> list[Pack]:
    random = np.random.RandomState(0)
    packs = [_join([_sample(random, *grids) for grids in pack], number) for number, pack in enumerate(_PACKS)]
    for pack in packs:
        check_pack(pack, CONSTANTS)
    return packs


def shape_of(packs: list[Pack]) -> BatchShape:
    maxima = PackMaxima()
    for pack in packs:
        maxima = maxima.merge(measure_pack(pack, CONSTANTS))
    return BatchShape.holding(maxima, PACK_LENGTH, CONSTANTS)


def _sample(
    random: np.random.RandomState, images: list[tuple[int, int, int]], videos: list[tuple[int, int, int]]
) -> dict[str, Any]:
    """Arrays of a pack with one sample: text, then each image and video with text behind it."""
    ids = [int(each) for each in random.randint(1, _VISION_START, 7)]
    labels = [IGNORE_INDEX, *ids[1:]]
    for grids, token in ((images, _IMAGE), (videos, _VIDEO)):
        for time, height, width in grids:
            pads = [token] * (time * height * width // _MERGE**2)
            text = [int(each) for each in random.randint(1, _VISION_START, 5)]
            ids += [_VISION_START, *pads, _VISION_END, *text]
            labels += [IGNORE_INDEX] * (len(pads) + 2) + text
    image_grids, video_grids = (np.array(grids, np.int32).reshape(-1, 3) for grids in (images, videos))
    num_images, num_videos = (int(grids.prod(axis=1).sum()) for grids in (image_grids, video_grids))
    return {
        "input_ids": np.array(ids, np.int32),
        "labels": np.array(labels, np.int32),
        "position_ids": np.tile(np.arange(len(ids), dtype=np.int32), (3, 1)),
        "image_patches": random.randint(0, 256, (num_images, CONSTANTS.image_patch_bytes)).astype(np.uint8),
        "image_grid_thw": image_grids,
        "video_patches": random.randint(0, 256, (num_videos, CONSTANTS.video_patch_bytes)).astype(np.uint8),
        "video_grid_thw": video_grids,
        "second_per_grid_ts": np.ones(len(videos)),
    }


def _join(samples: list[dict[str, Any]], number: int) -> Pack:
    arrays = {
        name: np.concatenate([each[name] for each in samples], axis=1 if name == "position_ids" else 0)
        for name in samples[0]
    }
    lengths = [len(each["input_ids"]) for each in samples]
    return Pack(
        **arrays,
        cu_seqlens=np.cumsum([0, *lengths]).astype(np.int32),
        sample_keys=tuple(f"tiny:{number}.{member}" for member in range(len(samples))),
    )
