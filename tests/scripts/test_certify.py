"""The reference of a certificate stands alone, and what it calls choices the certificate can say in words."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from shards.look.certificate import CHOICES
from tests.scripts.test_make_golden import imported

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "scripts"))

from certify_needs import main  # noqa: E402

REFERENCES = sorted((ROOT / "scripts" / "certify").glob("*.py"))
# What our own side calls choices.
OURS = {"tools", "boxes", "video_decoding", "fused_normalisation"}


@pytest.mark.parametrize("path", REFERENCES, ids=lambda path: path.stem)
def test_no_reference_uses_what_it_is_compared_with(path: Path) -> None:
    assert not imported(path) & {"preprocess", "shards", "train"}


def test_the_tables_of_the_references_name_all_choices_and_no_others() -> None:
    tables = [path.read_text(encoding="utf-8").split('"""')[1] for path in REFERENCES if path.stem != "reference"]
    named = {name for table in tables for name in re.findall(r"^\| (\w+) \|", table, re.MULTILINE)} - {"choice"}
    assert len(named) > 10
    assert named | OURS == CHOICES.keys()
    source = "".join(path.read_text(encoding="utf-8").split('"""', 2)[2] for path in REFERENCES)
    for name in named:
        assert f'"{name}"' in source


def test_the_help_of_the_command_names_the_script() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "preprocess", "certify", "--help"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert "scripts/certify.sh" in done.stdout
    assert subprocess.run(["bash", "-n", ROOT / "scripts" / "certify.sh"], check=False).returncode == 0


@pytest.fixture
def needs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
    """What scripts/certify.sh is told for flags and a kind of model: folder, model, requirements."""

    def ask(*flags: str, model_type: str = "qwen2_5_vl") -> list[str]:
        (tmp_path / "model").mkdir(exist_ok=True)
        (tmp_path / "model" / "config.json").write_text(json.dumps({"model_type": model_type}))
        words = ["--model", str(tmp_path / "model"), "--datasets", "d.yaml", "--dataset_use", "all"]
        assert main([*words, "--output_dir", "out", *flags]) == 0
        return capsys.readouterr().out.splitlines()

    return ask


def test_the_script_is_told_the_folders_and_torch_in_the_tested_version(needs: Callable[..., list[str]]) -> None:
    folder, model, *requirements = needs("--samples", "3")
    assert (folder, Path(model).name) == ("out", "model")
    pinned = set((ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines())
    assert {line for line in requirements if line.startswith(("torch", "transformers", "jinja2"))} <= pinned
    assert [line.split("==")[0] for line in requirements if "torch" in line] == ["torch"]
    assert {f"numpy=={version('numpy')}", f"av=={version('av')}"} <= set(requirements)


def test_torchvision_is_installed_only_where_it_is_compared_with(needs: Callable[..., list[str]]) -> None:
    assert "torchvision" in needs("--against", "torchvision")
    assert "torchvision" in needs(model_type="qwen3_vl")  # its processor of videos is made on it
    assert "torchvision" not in needs("--against", "pil", model_type="qwen2_vl")


def test_a_misspelled_flag_is_refused_before_anything_is_installed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--sampels", "3"]) == 2
    assert "--sampels" in capsys.readouterr().err
