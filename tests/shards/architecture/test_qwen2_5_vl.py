"""config.json, as published and as transformers 4.57.1 writes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from shards.architecture.qwen2_5_vl import READER, ModelConfig
from shards.model_folder import ModelFolderError

# As published with Qwen2.5-VL-3B-Instruct.
FLAT: dict[str, Any] = {
    "architectures": ["Qwen2_5_VLForConditionalGeneration"],
    "attention_dropout": 0.0,
    "eos_token_id": 151645,
    "image_token_id": 151655,
    "hidden_act": "silu",
    "hidden_size": 2048,
    "initializer_range": 0.02,
    "intermediate_size": 11008,
    "max_position_embeddings": 128000,
    "max_window_layers": 70,
    "model_type": "qwen2_5_vl",
    "num_attention_heads": 16,
    "num_hidden_layers": 36,
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
        "hidden_act": "silu",
        "hidden_size": 1280,
        "intermediate_size": 3420,
        "num_heads": 16,
        "in_chans": 3,
        "out_hidden_size": 2048,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "spatial_patch_size": 14,
        "window_size": 112,
        "fullatt_block_indexes": [7, 15, 23, 31],
        "tokens_per_second": 2,
        "temporal_patch_size": 2,
    },
    "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
    "vocab_size": 151936,
}
TEXT_KEYS = (
    "attention_dropout",
    "hidden_act",
    "hidden_size",
    "intermediate_size",
    "num_attention_heads",
    "num_hidden_layers",
    "num_key_value_heads",
    "rms_norm_eps",
    "rope_theta",
    "tie_word_embeddings",
    "use_sliding_window",
    "vocab_size",
)


def nested() -> dict[str, Any]:
    """The same as transformers 4.57.1 writes it, without the copies of the language model's keys at the top."""
    rope = {"mrope_section": [16, 24, 24], "rope_type": "default", "type": "default"}
    text = {key: FLAT[key] for key in TEXT_KEYS} | {
        "model_type": "qwen2_5_vl_text",
        "rope_scaling": rope,
        "sliding_window": None,
        "layer_types": ["full_attention"] * 36,
    }
    return {
        "model_type": "qwen2_5_vl",
        "text_config": text,
        "vision_config": FLAT["vision_config"] | {"in_channels": 3, "model_type": "qwen2_5_vl"},
    }


def of_transformers_5() -> dict[str, Any]:
    record = nested()
    text = record["text_config"]
    sections = text.pop("rope_scaling")["mrope_section"]
    rope = {"mrope_section": sections, "rope_theta": text.pop("rope_theta"), "rope_type": "default"}
    tied = text.pop("tie_word_embeddings")
    return record | {"text_config": text | {"rope_parameters": rope}, "tie_word_embeddings": tied}


def changed(path: str, value: Any, record: dict[str, Any] = FLAT) -> dict[str, Any]:
    """A copy with one value replaced, or taken away where `value` is `...`."""
    copy = json.loads(json.dumps(record))
    *parents, key = path.split(".")
    place = copy
    for parent in parents:
        place = place[parent]
    if value is ...:
        del place[key]
    else:
        place[key] = value
    return copy


def test_files_of_three_generations_give_the_same_model(tmp_path: Path) -> None:
    configs = []
    for name, record in (("flat.json", FLAT), ("nested.json", nested()), ("newest.json", of_transformers_5())):
        (tmp_path / name).write_text(json.dumps(record))
        configs.append(READER.read(tmp_path / name))
    assert configs[0] == configs[1] == configs[2]

    config: ModelConfig = configs[0]
    assert (config.hidden_size, config.head_dim, config.mrope_section) == (2048, 128, (16, 24, 24))
    assert config.tie_word_embeddings
    assert (config.vision.head_dim, config.vision.merge_unit, config.vision.merged_size) == (80, 4, 5120)
    assert config.vision.fullatt_block_indexes == (7, 15, 23, 31)


def test_text_config_wins_over_copies_at_the_top() -> None:
    record = nested() | {"hidden_size": 1, "num_hidden_layers": 1, "tie_word_embeddings": False}
    assert READER.parse(record) == READER.parse(FLAT)


@pytest.mark.parametrize("record", [FLAT, nested()], ids=["flat", "nested"])
def test_tied_embeddings(record: dict[str, Any]) -> None:
    path = "text_config.tie_word_embeddings" if "text_config" in record else "tie_word_embeddings"
    assert READER.parse(changed(path, True, record)).tie_word_embeddings
    assert not READER.parse(changed(path, False, record)).tie_word_embeddings
    # transformers 4.57.1 leaves it out at the top of a file of an untied model, or writes it there alone.
    absent = changed(path, ..., record)
    assert not READER.parse(absent).tie_word_embeddings
    assert READER.parse(absent | {"tie_word_embeddings": True}).tie_word_embeddings


REQUIRED = [
    "model_type",
    "hidden_act",
    "rope_scaling",
    "rope_scaling.mrope_section",
    "vision_config",
    "vision_config.hidden_act",
    *(key for key in TEXT_KEYS if key not in ("attention_dropout", "tie_word_embeddings", "use_sliding_window")),
    *(
        f"vision_config.{key}"
        for key in FLAT["vision_config"]
        if key not in ("in_chans", "spatial_patch_size", "tokens_per_second")
    ),
]


@pytest.mark.parametrize("path", REQUIRED)
def test_a_missing_key_is_an_error_that_names_file_and_key(path: str, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(changed(path, ...)))
    with pytest.raises(ModelFolderError) as raised:
        READER.read(file)
    assert str(file) in str(raised.value) and f"{path} is missing" in str(raised.value)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("model_type", "qwen2_vl"),
        ("model_type", "qwen3_vl"),
        ("hidden_act", "gelu"),
        ("vision_config.hidden_act", "quick_gelu"),
        ("use_sliding_window", True),
        ("attention_dropout", 0.1),
        ("layer_types", 5),
        ("tie_word_embeddings", "false"),
        ("rms_norm_eps", 0),
        ("rms_norm_eps", float("nan")),
        ("rope_theta", 0.0),
        ("rope_theta", -1.0),
        ("rope_theta", float("inf")),
        ("rope_theta", 10**400),
        ("num_hidden_layers", 10**400),
        ("layer_types", ["full_attention", "sliding_attention"]),
        ("rope_scaling", {"type": "yarn", "mrope_section": [16, 24, 24]}),
        ("rope_scaling.mrope_section", [16, 24]),
        ("rope_scaling.mrope_section", [16, 24, 25]),
        ("rope_scaling.mrope_section", "16,24,24"),
        ("hidden_size", 2050),
        ("hidden_size", "2048"),
        ("num_hidden_layers", 0),
        ("num_hidden_layers", True),
        ("rms_norm_eps", "1e-6"),
        ("num_key_value_heads", 3),
        ("vision_config.out_hidden_size", 3584),
        ("vision_config.in_chans", 4),
        ("vision_config.window_size", 100),
        ("vision_config.fullatt_block_indexes", [7, 32]),
        ("vision_config.hidden_size", 1288),
        ("vision_config", [1]),
    ],
)
def test_an_unsupported_value_is_an_error_that_names_the_key(path: str, value: Any) -> None:
    with pytest.raises(ModelFolderError) as raised:
        READER.parse(changed(path, value))
    key = "rope_scaling" if isinstance(value, dict) else path
    assert str(raised.value).startswith(key)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("9" * 5_000, "is not JSON"),
        ("[1]", "does not hold a JSON object"),
        (None, "No such file"),
    ],
)
def test_a_file_that_is_no_config(content: str | None, message: str, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ModelFolderError, match=message):
        READER.read(file)
