"""What an installation promises: one version of Python everywhere, and our packages wherever it is used."""

from __future__ import annotations

import configparser
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("preprocess", "shards", "train")


def test_one_version_of_python_is_asked_for_everywhere() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    ruff = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]
    assert setup["options"]["python_requires"] == ">=3.11,<3.12"
    assert setup["mypy"]["python_version"] == "3.11"
    assert ruff["target-version"] == "py311"
    assert "3.10" not in (ROOT / "README.md").read_text() + (ROOT / "scripts" / "environment.sh").read_text()


@pytest.mark.parametrize("package", PACKAGES)
def test_the_packages_win_over_folders_of_their_names_in_the_current_one(package: str, tmp_path: Path) -> None:
    for name in PACKAGES:
        (tmp_path / name).mkdir()
    command = [sys.executable, "-m", package, "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{done.stderr}\ninstall again: pip install --editable . (scripts/test.sh does)"
    assert f"python -m {package}" in done.stdout
