"""The tiny Qwen2-VL and Qwen3-VL of the families' golden values: configurations and samples, from NumPy seeds alone.

golden_families_models.py runs them with PyTorch, tests/train/models/test_golden_families.py with ours; weights are
those of golden_model_case. Gradients are compared by sketches: sums with random signs, whose norm is that of the
gradient to about 12%, and so for differences; whole gradients would take megabytes.

What could be left out shows: Qwen3-VL's heads are wider together than its hidden states, mrope has a temporal tail, a
block and a decoder layer are without DeepStack, and most patches lie between the learned positions.
"""

from __future__ import annotations

import copy
import hashlib
from typing import Any

import numpy as np
from golden_model_case import (
    FRAMES,
    IMAGE_TOKEN,
    MERGE,
    PATCH,
    VIDEO_TOKEN,
    VISION_END,
    VISION_START,
    Sample,
    make_sample,
)
from golden_training_case import make_packs

SKETCH = 32  # numbers a gradient, at most
POSITION_GRID = 5  # rows per side of the learned positions

_TOKENS = {
    "vision_start_token_id": VISION_START,
    "vision_end_token_id": VISION_END,
    "image_token_id": IMAGE_TOKEN,
    "video_token_id": VIDEO_TOKEN,
}
_PATCHES = {"patch_size": PATCH, "temporal_patch_size": FRAMES, "spatial_merge_size": MERGE}
CONFIGS: dict[str, dict[str, Any]] = {
    "qwen2_vl": {
        "model_type": "qwen2_vl",
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
        **_TOKENS,
        "vision_config": {
            "depth": 3,
            "embed_dim": 16,
            "mlp_ratio": 1.5,
            "num_heads": 2,
            "in_channels": 3,
            "hidden_size": 32,
            **_PATCHES,
        },
    },
    "qwen3_vl": {
        "model_type": "qwen3_vl",
        "tie_word_embeddings": False,
        **_TOKENS,
        "text_config": {
            "model_type": "qwen3_vl_text",
            "vocab_size": 96,
            "hidden_size": 32,
            "intermediate_size": 24,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "hidden_act": "silu",
            "rms_norm_eps": 1e-6,
            "rope_theta": 5000000.0,
            "rope_scaling": {"rope_type": "default", "mrope_interleaved": True, "mrope_section": [4, 2, 2]},
            "attention_bias": False,
            "attention_dropout": 0.0,
            "tie_word_embeddings": False,
            "max_position_embeddings": 4096,
        },
        "vision_config": {
            "depth": 3,
            "hidden_act": "gelu_pytorch_tanh",
            "hidden_size": 16,
            "intermediate_size": 20,
            "num_heads": 2,
            "in_channels": 3,
            "out_hidden_size": 32,
            "num_position_embeddings": POSITION_GRID**2,
            "deepstack_visual_indexes": [0, 2],
            **_PATCHES,
        },
    },
}


def tied(config: dict[str, Any]) -> dict[str, Any]:
    """With the embedding as its head."""
    config = {**copy.deepcopy(config), "tie_word_embeddings": True}
    if "text_config" in config:
        config["text_config"]["tie_word_embeddings"] = True
    return config


def make_family_sample(family: str, seed: int, **contents: Any) -> Sample:
    """As `make_sample`, with the positions of the family: in time one apart, or of one temporal patch after another."""
    return make_sample(seed, **{**contents, "seconds": 0.5}, frames_apart=family == "qwen3_vl")


def make_family_samples(family: str) -> dict[str, Sample]:
    """By name. Grids are in patches."""
    contents: dict[str, dict[str, Any]] = {
        "text": {"images": [], "videos": []},
        "image": {"images": [(1, 6, 10)], "videos": []},
        "images": {"images": [(1, 4, 6), (1, 10, 4), (1, 2, 2)], "videos": []},
        "video": {"images": [], "videos": [(3, 6, 8)]},
        "mixed": {"images": [(1, 4, 4)], "videos": [(2, 4, 6), (1, 8, 2)]},
    }
    return {name: make_family_sample(family, seed, **each) for seed, (name, each) in enumerate(contents.items(), 1)}


def make_family_packs(family: str) -> list[list[Sample]]:
    """Those of the golden training curves, with the positions of the family."""
    return make_packs(lambda seed, **contents: make_family_sample(family, seed, **contents))


def sketch(name: str, gradient: np.ndarray) -> np.ndarray:
    """(at most SKETCH,) float32: a small gradient itself, sums over a larger one with signs that its name decides."""
    values = gradient.astype(np.float64).ravel()
    if values.size <= SKETCH:
        return values.astype(np.float32)
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little")
    signs = np.random.RandomState(seed).randint(0, 2, (SKETCH, values.size)) * 2 - 1
    return (signs @ values / np.sqrt(SKETCH)).astype(np.float32)


def join_sketches(gradients: dict[str, np.ndarray]) -> np.ndarray:
    """Those of all gradients by name, one after another in the order of the names."""
    return np.concatenate([sketch(name, gradients[name]) for name in sorted(gradients)])
