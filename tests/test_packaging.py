"""What an installation promises: one version of Python everywhere, and our packages wherever it is used."""

from __future__ import annotations

import configparser
import os
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


@pytest.mark.parametrize("package", PACKAGES)
def test_commands_win_over_packages_of_their_names_in_the_current_folder(package: str, tmp_path: Path) -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    lines = setup["options.entry_points"]["console_scripts"].split("\n")
    places = dict(line.split(" = ") for line in lines if line)
    module, function = places[f"vl-{package}"].split(":")
    command = tmp_path / "bin" / f"vl-{package}"  # as pip writes it
    command.parent.mkdir()
    command.write_text(f"import sys\nfrom {module} import {function}\nsys.exit({function}())\n")
    for name in PACKAGES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('wrong package')\n")
    done = subprocess.run(
        [sys.executable, command, "--help"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert f"python -m {package}" in done.stdout


def test_without_what_it_needs_the_command_says_how_to_get_it(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['pyarrow'] = None\n")
    done = subprocess.run(
        [sys.executable, "-m", "preprocess", "plan"],
        env={"PYTHONPATH": f"{tmp_path}:{ROOT}", "PATH": ""},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert "pyarrow is not installed" in done.stderr
    assert "scripts/setup.sh" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("package", ["shards", "train"])
def test_the_other_packages_end_with_it_too(package: str, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['pyarrow'] = None\n")
    done = subprocess.run(
        [sys.executable, "-m", package, "--help"],
        env={"PYTHONPATH": f"{tmp_path}:{ROOT}", "PATH": ""},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert "pyarrow is not installed" in done.stderr.splitlines()[-1]
    assert "scripts/setup.sh" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(("switch", "safe"), [(["-P"], True), ([], False)])
def test_ranks_see_the_current_folder_only_where_their_launcher_does(
    switch: list[str], safe: bool, tmp_path: Path
) -> None:
    code = "from train.cluster.launch.processes import PYTHON; print('-P' in PYTHON)"
    done = subprocess.run(
        [sys.executable, *switch, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.strip() == str(safe), done.stderr


def test_files_that_are_read_at_run_time_are_installed_too() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    patterns = [
        f"{package.replace('.', '/')}/{pattern.strip()}"
        for package, given in setup["options.package_data"].items()
        for pattern in given.split(",")
    ]
    sources = {".py", ".md", ".c", ".h", ".so", ".pyc"}
    files = [path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file()]
    read = [path for path in files if path.suffix not in sources]
    assert read
    assert [str(path) for path in read if not any(path.match(pattern) for pattern in patterns)] == []
