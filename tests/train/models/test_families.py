"""Which family a model folder belongs to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from train.errors import ModelConfigError
from train.models import FAMILIES, Family, family_in, family_of


def test_a_model_type_has_its_family() -> None:
    assert family_of("qwen2_5_vl").NAMES.head == "lm_head"


@pytest.mark.parametrize("model_type", FAMILIES)
def test_a_family_offers_all_that_is_asked_of_it(model_type: str) -> None:
    wanted = [name for name in (*vars(Family), *Family.__annotations__) if not name.startswith("_")]
    assert {"sizes", "build", "NAMES"} <= set(wanted)
    assert [name for name in wanted if not hasattr(family_of(model_type), name)] == []


@pytest.mark.parametrize(
    ("record", "why"),
    [
        ({"model_type": "llama"}, ""),
        ({}, ""),
        ({"model_type": "qwen3_vl_moe"}, ", being mixtures of experts: shards can be made for them"),
    ],
)
def test_a_model_type_without_family_is_refused_naming_those_that_exist(
    record: dict[str, str], why: str, tmp_path: Path
) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(record))
    with pytest.raises(ModelConfigError) as error:
        family_in(tmp_path)
    these = "these can: qwen2_vl, qwen2_5_vl, qwen3_vl"
    what = f"models of model_type {record.get('model_type', '')!r} can't be trained{why}; {these}"
    assert str(error.value) == f"{path}: {what}"
