"""DeepSpeed's file: the stage is taken, what else it says is named, offloading is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from train.cli.deepspeed import read_stage
from train.errors import UsageError


def write(folder: Path, record: Any) -> Path:
    (folder / "zero.json").write_text(json.dumps(record))
    return folder / "zero.json"


def test_the_stage_is_read_and_other_keys_are_named(tmp_path: Path) -> None:
    path = write(tmp_path, {"bf16": {"enabled": "auto"}, "zero_optimization": {"stage": 3, "overlap_comm": True}})
    stage, note = read_stage(path)
    assert stage == 3
    assert note.endswith("is read as zero_stage 3; ignored: bf16, zero_optimization.overlap_comm")


@pytest.mark.parametrize("name", ["offload_optimizer", "offload_param"])
def test_offloading_is_refused(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, {"zero_optimization": {"stage": 2, name: {"device": "cpu"}}})
    with pytest.raises(UsageError, match=name):
        read_stage(path)
    assert read_stage(write(tmp_path, {"zero_optimization": {"stage": 2, name: {"device": "none"}}}))[0] == 2


@pytest.mark.parametrize("record", [{}, [], {"zero_optimization": {"stage": 4}}, {"zero_optimization": 2}])
def test_a_file_without_a_stage_is_refused(tmp_path: Path, record: Any) -> None:
    with pytest.raises(UsageError, match="stage must be one of 0, 1, 2, 3"):
        read_stage(write(tmp_path, record))
