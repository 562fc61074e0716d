"""config.json of Qwen3-VL, as published."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from shards.architecture.qwen3_vl import READER
from shards.model_folder import ModelFolderError

# As published with Qwen3-VL-4B-Instruct.
PUBLISHED: dict[str, Any] = {
    "architectures": ["Qwen3VLForConditionalGeneration"],
    "image_token_id": 151655,
    "model_type": "qwen3_vl",
    "text_config": {
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 151643,
        "dtype": "bfloat16",
        "eos_token_id": 151645,
        "head_dim": 128,
        "hidden_act": "silu",
        "hidden_size": 2560,
        "initializer_range": 0.02,
        "intermediate_size": 9728,
        "max_position_embeddings": 262144,
        "model_type": "qwen3_vl_text",
        "num_attention_heads": 32,
        "num_hidden_layers": 36,
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-06,
        "rope_scaling": {"mrope_interleaved": True, "mrope_section": [24, 20, 20], "rope_type": "default"},
        "rope_theta": 5000000,
        "tie_word_embeddings": True,
        "use_cache": True,
        "vocab_size": 151936,
    },
    "tie_word_embeddings": True,
    "transformers_version": "4.57.0.dev0",
    "video_token_id": 151656,
    "vision_config": {
        "deepstack_visual_indexes": [5, 11, 17],
        "depth": 24,
        "hidden_act": "gelu_pytorch_tanh",
        "hidden_size": 1024,
        "in_channels": 3,
        "initializer_range": 0.02,
        "intermediate_size": 4096,
        "model_type": "qwen3_vl",
        "num_heads": 16,
        "num_position_embeddings": 2304,
        "out_hidden_size": 2560,
        "patch_size": 16,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
    },
    "vision_end_token_id": 151653,
    "vision_start_token_id": 151652,
}


def changed(path: str, value: Any) -> dict[str, Any]:
    """A copy with one value replaced, or taken away where `value` is `...`."""
    record = copy.deepcopy(PUBLISHED)
    *parents, key = path.split(".")
    place = record
    for parent in parents:
        place = place[parent]
    if value is ...:
        del place[key]
    else:
        place[key] = value
    return record


def test_the_published_file(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(PUBLISHED))
    config = READER.read(tmp_path / "config.json")
    assert (config.hidden_size, config.head_dim, config.query_size, config.key_value_size) == (2560, 128, 4096, 1024)
    assert (config.mrope_section, config.rope_theta) == ((24, 20, 20), 5e6)
    assert config.generation.qk_norm and config.generation.interleaved_mrope and not config.generation.qkv_bias
    assert config.tie_word_embeddings
    vision = config.vision
    assert (vision.head_dim, vision.merged_size, vision.num_position_embeddings) == (64, 4096, 2304)
    assert vision.deepstack_visual_indexes == (5, 11, 17)


def test_files_of_transformers_5_give_the_same_model() -> None:
    newer = copy.deepcopy(PUBLISHED)
    text = newer["text_config"]
    text["rope_parameters"] = text.pop("rope_scaling") | {"rope_theta": text.pop("rope_theta")}
    assert READER.parse(newer) == READER.parse(PUBLISHED)


REQUIRED = [
    "model_type",
    "vision_config",
    *(
        f"text_config.{key}"
        for key in PUBLISHED["text_config"]
        if key.startswith(("hidden", "num", "intermediate", "head", "rms", "rope", "vocab"))
    ),
    *(
        f"vision_config.{key}"
        for key in PUBLISHED["vision_config"]
        if key not in ("in_channels", "initializer_range", "model_type")
    ),
]


@pytest.mark.parametrize("path", REQUIRED)
def test_a_missing_key_is_an_error_that_names_it(path: str) -> None:
    with pytest.raises(ModelFolderError, match="is missing") as raised:
        READER.parse(changed(path, ...))
    assert path.removeprefix("text_config.") in str(raised.value)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("model_type", "qwen3_vl_moe"),
        ("text_config.hidden_act", "gelu"),
        ("text_config.attention_bias", True),
        ("text_config.attention_dropout", 0.1),
        ("text_config.rope_scaling.mrope_interleaved", False),
        ("text_config.rope_scaling.mrope_section", [24, 20, 21]),
        ("text_config.head_dim", 0),
        ("text_config.num_key_value_heads", 3),
        ("vision_config.hidden_act", "gelu"),
        ("vision_config.out_hidden_size", 2048),
        ("vision_config.in_channels", 4),
        ("vision_config.hidden_size", 1032),
        ("vision_config.num_position_embeddings", -1),
        ("vision_config.deepstack_visual_indexes", [5, 24]),
        ("vision_config.deepstack_visual_indexes", [11, 5]),
        ("vision_config.deepstack_visual_indexes", [5, 5]),
        ("vision_config.deepstack_visual_indexes", 5),
    ],
)
def test_an_unsupported_value_is_an_error_that_names_the_key(path: str, value: Any) -> None:
    with pytest.raises(ModelFolderError) as raised:
        READER.parse(changed(path, value))
    assert str(raised.value).startswith(path.removeprefix("text_config."))
