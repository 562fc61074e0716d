import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "train.sh"


def run(*argv: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", str(SCRIPT), *argv], cwd=cwd, capture_output=True, text=True, timeout=120)


def refused(*argv: str, cwd: Path) -> str:
    finished = run(*argv, cwd=cwd)
    assert finished.returncode == 2
    assert finished.stdout == ""
    assert finished.stderr.count("\n") == 1
    return finished.stderr


@pytest.mark.parametrize("argv", [[], ["--learning_rate", "1e-6"]])
def test_without_a_folder_the_usage_is_shown(argv: list[str], tmp_path: Path) -> None:
    assert refused(*argv, cwd=tmp_path).startswith("usage: bash scripts/train.sh DIR")


@pytest.mark.parametrize("argv", [[], ["--model", "m", "--output_dir", "o"]], ids=["alone", "with flags"])
def test_the_code_package_is_no_dataset(argv: list[str]) -> None:
    message = refused("shards/", *argv, cwd=ROOT)
    assert "code package" in message
    assert "OUTPUT_DIR of `python -m preprocess run`" in message


def test_it_works_from_any_folder_and_paths_are_relative_to_it(tmp_path: Path) -> None:
    # Packages of that name here must not be taken for ours.
    for name in ("train", "shards"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('wrong package')\n")
    (tmp_path / "made" / "plan").mkdir(parents=True)
    message = refused("made", "--model", "m", "--output_dir", "o", cwd=tmp_path)
    assert "made has no manifest.json" in message
    assert "did not finish" in message
    assert not (tmp_path / "o").exists()


def test_flags_reach_the_trainer(tmp_path: Path) -> None:
    message = refused("made", "--model", "m", "--output_dir", "o", "--learnin_rate", "1", cwd=tmp_path)
    assert "did you mean --learning_rate?" in message


def test_help_is_that_of_the_trainer(tmp_path: Path) -> None:
    finished = run("--help", cwd=tmp_path)
    assert finished.returncode == 0
    assert "--gradient_accumulation_steps" in finished.stdout


@pytest.mark.parametrize(
    ("flags", "command"),
    [([], "setup.sh"), (["--backend", "mindnlp"], "setup.sh --mindnlp"), (["--backend=mindnlp"], "setup.sh --mindnlp")],
    ids=["native", "mindnlp", "mindnlp with a sign"],
)
def test_without_an_environment_the_command_that_makes_it_is_named(
    flags: list[str], command: str, tmp_path: Path
) -> None:
    clone = tmp_path / "clone"
    (clone / "scripts").mkdir(parents=True)
    (clone / "scripts" / "train.sh").write_text(SCRIPT.read_text())
    python = tmp_path / "bin" / "python3"
    python.parent.mkdir()
    python.write_text("#!/bin/sh\nexit 1\n")  # has no mindspore
    python.chmod(0o755)
    finished = subprocess.run(
        ["bash", str(clone / "scripts" / "train.sh"), "made", *flags],
        env={"PATH": f"{python.parent}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert finished.returncode == 2
    assert f"bash {clone}/scripts/{command} makes it" in finished.stderr
