"""What stands between a model folder and MindNLP's network is said in one line."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.train.golden_case import CONFIG
from tests.train.models.mindnlp.needed import needs_mindnlp, python
from tests.train.tiny_run import write_tiny_inputs
from train.errors import ModelConfigError, UsageError
from train.models.mindnlp.networks import load_mindnlp, require_same
from train.models.qwen2_5_vl import FAMILY


def test_versions_that_do_not_fit_together_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mindnlp").mkdir()
    (tmp_path / "mindnlp" / "__init__.py").write_text("import json\njson.PyExtensionType\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match=r"importing MindNLP fails \(.*PyExtensionType.*\).*extra mindnlp") as error:
        load_mindnlp()
    assert "\n" not in str(error.value)
    assert "mindnlp" not in sys.modules


def read_by_mindnlp(**changes: Any) -> SimpleNamespace:
    """As transformers reads the golden config.json, with attributes replaced."""
    text = {name: CONFIG[name] for name in ("num_attention_heads", "rms_norm_eps", "rope_theta", "rope_scaling")}
    vision = {name: changes.pop(name, value) for name, value in CONFIG["vision_config"].items()}
    tied = changes.pop("tie_word_embeddings", CONFIG["tie_word_embeddings"])
    return SimpleNamespace(
        text_config=SimpleNamespace(**text | changes),
        vision_config=SimpleNamespace(**vision),
        tie_word_embeddings=tied,
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_attention_heads", 8),
        ("rms_norm_eps", 1e-5),
        ("rope_theta", 10000.0),
        ("rope_scaling", None),
        ("tie_word_embeddings", True),
        ("num_heads", 4),
        ("window_size", 112),
        ("fullatt_block_indexes", [0]),
    ],
)
def test_a_file_that_mindnlp_reads_otherwise_is_refused(name: str, value: object, tmp_path: Path) -> None:
    config = FAMILY.reader.parse(CONFIG)
    require_same(tmp_path, config, read_by_mindnlp())
    with pytest.raises(ModelConfigError, match=r"config\.json: .* which MindNLP, .* reads as .*; leave --backend out"):
        require_same(tmp_path, config, read_by_mindnlp(**{name: value}))


@needs_mindnlp
def test_a_file_of_a_later_transformers_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    """Its frequencies stand under a name that this version passes over, and then takes its default."""
    write_tiny_inputs(tmp_path, num_packs=1)
    path = tmp_path / "model" / "config.json"
    config = json.loads(path.read_text())
    config["rope_parameters"] = {"rope_type": "default", "rope_theta": 5e5, **config.pop("rope_scaling")}
    del config["rope_theta"]
    path.write_text(json.dumps(config))
    out = tmp_path / "out"
    flags = ("--shards", tmp_path / "shards", "--model", tmp_path / "model", "--output_dir", out)
    message = python("train", *flags, "--backend", "mindnlp", code=2)
    assert "config.json: rope_theta is 500000.0, which MindNLP" in message
    assert not out.exists()
