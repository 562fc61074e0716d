"""Adapter folders that can be applied, and those that can't."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.train.golden_adapter import ADAPTER, TRAINED
from train.adapters.files import CONFIG_FILE, WEIGHTS_FILE, find_adapter
from train.errors import WeightsError
from train.models.qwen2_5_vl import NAMES

KEY = "base_model.model.model.language_model.layers.0.self_attn.q_proj.lora_A.weight"


def test_pefts_adapter_is_found() -> None:
    adapter = find_adapter(TRAINED, NAMES)
    assert (adapter.config.r, adapter.config.alpha, adapter.config.dropout) == (ADAPTER.r, ADAPTER.alpha, 0.0)
    assert adapter.config.scaling == 2.0
    assert set(adapter.config.target_modules) == set(ADAPTER.target_modules)
    assert {"model.layers.1.self_attn.o_proj", "visual.blocks.2.mlp.gate_proj"} <= set(adapter.factors)
    a, b = adapter.factors["model.layers.0.self_attn.k_proj"]
    assert (a.shape, b.shape) == ((4, 32), (16, 4))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return shutil.copytree(TRAINED, tmp_path / "adapter")


@pytest.mark.parametrize(
    "change",
    [
        {"peft_type": "LOHA"},
        {"bias": "all"},
        {"use_rslora": True},
        {"use_dora": True},
        {"rank_pattern": {"q_proj": 8}},
        {"alpha_pattern": {"q_proj": 8}},
        {"modules_to_save": ["lm_head"]},
        {"init_lora_weights": "pissa"},
        {"fan_in_fan_out": True},
    ],
    ids=lambda change: next(iter(change)),
)
def test_settings_that_change_the_arithmetic_are_refused(change: dict[str, Any], folder: Path) -> None:
    write_config(folder, **change)
    [(name, value)] = change.items()
    with pytest.raises(WeightsError, match=f"{CONFIG_FILE}: {name} ") as error:
        find_adapter(folder, NAMES)
    assert repr(value) in str(error.value)


def test_a_regular_expression_is_one_target(folder: Path) -> None:
    write_config(folder, target_modules=r".*\.q_proj")
    assert find_adapter(folder, NAMES).config.target_modules == (r".*\.q_proj",)


def test_files_that_are_missing_or_broken_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=f"has no {CONFIG_FILE}"):
        find_adapter(tmp_path, NAMES)
    (folder / WEIGHTS_FILE).unlink()
    with pytest.raises(WeightsError, match=f"has no {WEIGHTS_FILE}"):
        find_adapter(folder, NAMES)
    (folder / WEIGHTS_FILE).write_bytes(b"")
    with pytest.raises(WeightsError, match=f"{WEIGHTS_FILE} is not a safetensors file"):
        find_adapter(folder, NAMES)
    for text in ("{", "{}", "[]", '{"target_modules": [], "r": 4, "lora_alpha": "x"}'):
        (folder / CONFIG_FILE).write_text(text)
        with pytest.raises(WeightsError, match="is not the configuration of a LoRA adapter"):
            find_adapter(folder, NAMES)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({KEY: None}, "lacks a factor of: model.layers.0.self_attn.q_proj"),
        ({KEY: np.ones((5, 32), np.float32)}, r"q_proj.lora_A.weight has shape \(5, 32\), .* says r 4"),
        ({KEY: np.ones(4, np.float32)}, "is not a factor of a linear layer"),
        ({"base_model.model.model.embed.lora_embedding_A": np.ones((4, 3), np.float32)}, "lora_embedding_A is not a"),
        ({"lm_head.lora_A.weight": np.ones((4, 3), np.float32)}, "lm_head.lora_A.weight is not a factor"),
    ],
    ids=["missing", "rank", "axes", "embedding", "prefix"],
)
def test_tensors_that_do_not_fit_are_named(change: dict[str, np.ndarray | None], words: str, folder: Path) -> None:
    tensors = {**load_file(folder / WEIGHTS_FILE), **change}
    kept = {name: value for name, value in tensors.items() if value is not None}
    save_file(kept, folder / WEIGHTS_FILE, metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=words):
        find_adapter(folder, NAMES)


def write_config(folder: Path, **change: Any) -> None:
    record = json.loads((folder / CONFIG_FILE).read_text())
    (folder / CONFIG_FILE).write_text(json.dumps({**record, **change}))
