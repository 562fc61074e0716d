"""The golden files come from outside, say where from, and stay small."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "scripts" / "golden").glob("golden_*.py"))
GOLDEN = ROOT / "tests" / "golden"
VALUES = sorted(path for path in GOLDEN.iterdir() if path.is_file() and not path.name.endswith("tokenizer.json"))


def imported(path: Path) -> set[str]:
    """Top-level names of the modules that a script imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").split(".")[0])
    return names


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_no_golden_script_uses_what_its_values_test(path: Path) -> None:
    assert not imported(path) & {"preprocess", "shards", "train"}


def test_every_part_has_its_script() -> None:
    tree = ast.parse((ROOT / "scripts" / "make_golden.py").read_text(encoding="utf-8"))
    [parts] = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "PARTS"
    ]
    assert {f"golden_{part}" for part in parts} <= {path.stem for path in SCRIPTS}
    with_main = {path.stem for path in SCRIPTS if "\nif __name__ ==" in path.read_text(encoding="utf-8")}
    assert with_main == {f"golden_{part}" for part in parts}


@pytest.mark.parametrize("path", VALUES, ids=lambda path: path.name)
def test_every_file_says_whose_values_it_holds_and_by_which_versions(path: Path) -> None:
    if path.suffix == ".json":
        origin = json.loads(path.read_text(encoding="utf-8"))["origin"]
    else:
        with np.load(path) as file:
            origin = json.loads(str(file["origin"]))
    assert origin["what"]
    assert {"transformers", "torch", "jinja2"} & set(origin)
    assert origin.get("transformers") in ("4.57.1", None)


def test_all_together_are_small() -> None:
    assert len(VALUES) > 5
    assert sum(path.stat().st_size for path in GOLDEN.rglob("*") if path.is_file()) < 2_000_000


def test_without_the_reference_scripts_it_says_what_is_missing_and_makes_nothing() -> None:
    script = ROOT / "scripts" / "make_golden.py"
    done = subprocess.run([sys.executable, script, "--only", "rope"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--reference" in done.stderr
