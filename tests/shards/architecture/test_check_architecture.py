"""Preprocessing refuses what training would, whatever of the architecture it is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from demo_build import Demo

from preprocess.cli.commands import main
from shards.architecture import READERS, check_architecture
from shards.model_folder import ModelFolderError
from train.errors import ModelConfigError
from train.models import FAMILIES, family_in

CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "hidden_act": lambda config: config.update(hidden_act="gelu"),
    "use_sliding_window": lambda config: config.update(use_sliding_window=True),
    "num_key_value_heads": lambda config: config.update(num_key_value_heads=3),
    "rms_norm_eps": lambda config: config.pop("rms_norm_eps"),
    "rope_scaling.type": lambda config: config["rope_scaling"].update(type="yarn"),
    "vision_config.depth": lambda config: config["vision_config"].pop("depth"),
    "vision_config.fullatt_block_indexes": lambda config: config["vision_config"].update(fullatt_block_indexes=[99]),
}


def test_every_family_that_can_be_trained_is_checked() -> None:
    assert READERS.keys() == FAMILIES.keys()


@pytest.mark.parametrize("key", CHANGES)
def test_both_commands_refuse_the_same_before_anything_is_written(
    key: str, demo: Demo, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = Path(shutil.copytree(demo.model, tmp_path / "model"))
    check_architecture(model)
    config = json.loads((model / "config.json").read_text())
    CHANGES[key](config)
    (model / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelConfigError) as of_training:
        family_in(model).read_config(model)
    with pytest.raises(ModelFolderError) as of_check:
        check_architecture(model)
    assert str(of_check.value) == str(of_training.value)
    assert f"config.json: {key}" in str(of_check.value)
    out = tmp_path / "out"
    assert main(["run", f"--config={demo.config}", f"--model={model}", f"--output_dir={out}", "--workers=0"]) == 2
    assert key.rpartition(".")[2] in capsys.readouterr().err
    assert not out.exists()


def test_a_family_that_nobody_trains_passes(demo: Demo, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "other"}')
    check_architecture(tmp_path)
