"""The reference of a certificate stands alone, and what it calls choices the certificate can say in words."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from shards.look.certificate import CHOICES
from tests.scripts.test_make_golden import imported

ROOT = Path(__file__).parents[2]
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
