"""The tiny Qwen2.5-VL of the model's golden values: configuration, weights and samples, from NumPy seeds alone.

scripts/golden/golden_model.py runs it with PyTorch, tests/train/models/qwen2_5_vl/test_model.py with ours. Neither
weights nor samples are stored: both sides make them here. NumPy's RandomState is used because its streams are frozen
for ever.

The numbers are chosen so that each thing that could be left out shows: grouped key-value heads, rope sections, windows
that borders cut, a full layer between windowed ones, biases that are not 0 and norms that are not 1. They are not those
of the real model (patches of 4 pixels, windows of 2 x 2 cells), so that a constant in the code would show as well.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

IMAGE_TOKEN, VIDEO_TOKEN, VISION_START, VISION_END = 92, 93, 90, 91
IGNORE_INDEX = -100
IMAGE_MEAN = (0.48145466, 0.4578275, 0.40821073)
IMAGE_STD = (0.26862954, 0.26130258, 0.27577711)
PATCH, MERGE, FRAMES = 4, 2, 2
MERGE_UNIT = MERGE**2
TOKENS_PER_SECOND = 2
STAMP = 3  # tokens before each temporal patch of a video whose patches stand apart

CONFIG: dict[str, Any] = {
    "model_type": "qwen2_5_vl",
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000.0,
    "rope_scaling": {"type": "mrope", "mrope_section": [1, 1, 2]},
    "attention_dropout": 0.0,
    "use_sliding_window": False,
    "tie_word_embeddings": False,
    "max_position_embeddings": 4096,
    "vision_start_token_id": VISION_START,
    "vision_end_token_id": VISION_END,
    "image_token_id": IMAGE_TOKEN,
    "video_token_id": VIDEO_TOKEN,
    "vision_config": {
        "depth": 3,
        "hidden_act": "silu",
        "hidden_size": 16,
        "intermediate_size": 20,
        "num_heads": 2,
        "in_channels": 3,
        "out_hidden_size": 32,
        "patch_size": PATCH,
        "temporal_patch_size": FRAMES,
        "spatial_merge_size": MERGE,
        "window_size": 2 * MERGE * PATCH,  # 2 x 2 merged cells
        "fullatt_block_indexes": [1],
        "tokens_per_second": TOKENS_PER_SECOND,
    },
}


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One sample as the format stores it; shapes as in shards/pack.py, with the tiny model's patch size."""

    input_ids: np.ndarray
    labels: np.ndarray
    position_ids: np.ndarray  # (3, S)
    image_patches: np.ndarray  # uint8 (Pi, 3 * PATCH**2)
    image_grid_thw: np.ndarray
    video_patches: np.ndarray  # uint8 (Pv, 3 * FRAMES * PATCH**2)
    video_grid_thw: np.ndarray
    second_per_grid_ts: np.ndarray


def make_samples() -> dict[str, Sample]:
    """By name. Grids are in patches; windows hold 4 x 4 of them."""
    return {
        "text": make_sample(1, images=[], videos=[]),
        "image": make_sample(2, images=[(1, 6, 10)], videos=[]),
        "images": make_sample(3, images=[(1, 4, 6), (1, 10, 4), (1, 2, 2)], videos=[]),
        "video": make_sample(4, images=[], videos=[(3, 6, 8)], seconds=1.33),
    }


def make_sample(
    seed: int,
    *,
    images: list[tuple[int, int, int]],
    videos: list[tuple[int, int, int]],
    seconds: float = 1.0,
    num_text: int = 9,
    frames_apart: bool = False,
) -> Sample:
    """Random text, images, videos, in that order with text between them; about half of the text is supervised.

    `frames_apart`: each temporal patch of a video is a span of its own, behind STAMP tokens of text.
    """
    random = np.random.RandomState(seed)
    ids = list(random.randint(0, VISION_START, num_text))
    labels = [IGNORE_INDEX, *ids[1:]]
    spans = []
    for grids, token, gap in ((images, IMAGE_TOKEN, 0.0), (videos, VIDEO_TOKEN, seconds)):
        for time, height, width in grids:
            text = list(random.randint(0, VISION_START, num_text))
            is_cut = frames_apart and token == VIDEO_TOKEN
            for _ in range(time if is_cut else 1):
                if is_cut:
                    ids += list(random.randint(0, VISION_START, STAMP))
                span = (1 if is_cut else time, height // MERGE, width // MERGE)
                spans.append((len(ids) + 1, span, gap))
                ids += [VISION_START, *[token] * math.prod(span), VISION_END]
            labels += [IGNORE_INDEX] * (len(ids) - len(labels))
            ids += text
            labels += [id_ if random.rand() < 0.5 else IGNORE_INDEX for id_ in text]
    image_grids, video_grids = (np.array(grids, np.int32).reshape(-1, 3) for grids in (images, videos))
    num_image_patches, num_video_patches = (int(g.prod(axis=1).sum()) for g in (image_grids, video_grids))
    return Sample(
        input_ids=np.array(ids, np.int32),
        labels=np.array(labels, np.int32),
        position_ids=_rope_positions(len(ids), spans),
        image_patches=random.randint(0, 256, (num_image_patches, 3 * PATCH**2)).astype(np.uint8),
        image_grid_thw=image_grids,
        video_patches=random.randint(0, 256, (num_video_patches, 3 * FRAMES * PATCH**2)).astype(np.uint8),
        video_grid_thw=video_grids,
        second_per_grid_ts=np.full(len(videos), seconds),
    )


def _rope_positions(length: int, spans: list[tuple[int, tuple[int, int, int], float]]) -> np.ndarray:
    """(3, S): text counts on; a visual span of T x H x W cells counts from where it starts."""
    positions = np.zeros((3, length), np.int32)
    done, following = 0, 0
    for start, (time, height, width), seconds in spans:
        positions[:, done:start] = following + np.arange(start - done)
        base = following + start - done
        t, h, w = np.indices((time, height, width)).reshape(3, -1)
        done = start + time * height * width
        positions[:, start:done] = base + np.stack([(t * (seconds * TOKENS_PER_SECOND)).astype(int), h, w])
        following = int(positions[:, start:done].max()) + 1
    positions[:, done:] = following + np.arange(length - done)
    return positions


def make_weights(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """float32 weights by their names on disk (`visual.*`, `model.layers.*`), each from a seed of its own."""
    return {name: _make_weight(name, shape) for name, shape in shapes.items()}


def _make_weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little")
    noise = np.random.RandomState(seed).standard_normal(shape)
    if name.endswith("bias"):
        return (0.2 * noise).astype(np.float32)
    if "norm" in name or "ln_q" in name:
        return (1 + 0.2 * noise).astype(np.float32)
    if "embed_tokens" in name:
        return (0.5 * noise).astype(np.float32)
    return (noise / np.sqrt(np.prod(shape[1:]))).astype(np.float32)


def digest(arrays: dict[str, np.ndarray]) -> str:
    """Of names and values: tells a wrong rule from a wrong model."""
    state = hashlib.sha256()
    for name in sorted(arrays):
        state.update(name.encode() + arrays[name].tobytes())
    return state.hexdigest()
