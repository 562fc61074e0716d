"""config.json of Qwen2-VL, as published."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from shards.architecture.qwen2_vl import READER
from shards.model_folder import ModelFolderError

# As published with Qwen2-VL-2B-Instruct.
PUBLISHED: dict[str, Any] = {
    "architectures": ["Qwen2VLForConditionalGeneration"],
    "attention_dropout": 0.0,
    "bos_token_id": 151643,
    "eos_token_id": 151645,
    "vision_start_token_id": 151652,
    "vision_end_token_id": 151653,
    "vision_token_id": 151654,
    "image_token_id": 151655,
    "video_token_id": 151656,
    "hidden_act": "silu",
    "hidden_size": 1536,
    "initializer_range": 0.02,
    "intermediate_size": 8960,
    "max_position_embeddings": 32768,
    "max_window_layers": 28,
    "model_type": "qwen2_vl",
    "num_attention_heads": 12,
    "num_hidden_layers": 28,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "sliding_window": 32768,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "use_cache": True,
    "use_sliding_window": False,
    "vision_config": {
        "depth": 32,
        "embed_dim": 1280,
        "mlp_ratio": 4,
        "num_heads": 16,
        "in_chans": 3,
        "hidden_size": 1536,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "spatial_patch_size": 14,
        "temporal_patch_size": 2,
    },
    "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
    "vocab_size": 151936,
}


def with_vision(**values: Any) -> dict[str, Any]:
    record = copy.deepcopy(PUBLISHED)
    record["vision_config"] |= values
    return record


def test_the_published_file(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(PUBLISHED))
    config = READER.read(tmp_path / "config.json")
    assert (config.hidden_size, config.head_dim, config.query_size) == (1536, 128, 1536)
    assert config.generation.qkv_bias and not config.generation.qk_norm
    vision = config.vision
    assert (vision.hidden_size, vision.intermediate_size, vision.out_hidden_size) == (1280, 5120, 1536)
    assert (vision.head_dim, vision.merged_size) == (80, 5120)


@pytest.mark.parametrize("key", ["depth", "embed_dim", "mlp_ratio", "num_heads", "hidden_size", "patch_size"])
def test_a_missing_key_is_an_error_that_names_it(key: str) -> None:
    with pytest.raises(ModelFolderError, match=f"^vision_config.{key} is missing; is this a Qwen2-VL model"):
        READER.parse(with_vision(**{key: None}))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hidden_act", "silu"),
        ("mlp_ratio", "4"),
        ("mlp_ratio", 0),
        ("in_chans", 1),
        ("hidden_size", 1280),
        ("embed_dim", 1281),
    ],
)
def test_an_unsupported_value_is_an_error_that_names_the_key(key: str, value: Any) -> None:
    with pytest.raises(ModelFolderError) as raised:
        READER.parse(with_vision(**{key: value}))
    assert str(raised.value).startswith(f"vision_config.{key} ")
