"""Settings fill the fields of a dataclass; the last wins, and every one must be right."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from shards.errors import FlagError
from shards.flags.elsewhere import Alias
from shards.flags.fields import Read, read_fields
from shards.flags.settings import read_settings


@dataclass(frozen=True, kw_only=True)
class Owner:
    folder: Path
    learning_rate: float = 1.0
    max_steps: int | None = None


def read(*words: str) -> Read:
    return read_fields(read_settings(words), Owner, program="python -m it", elsewhere={"dir": Alias("folder")})


def refusal(*words: str) -> str:
    with pytest.raises(FlagError) as raised:
        read(*words)
    return str(raised.value)


def test_only_what_is_said_has_a_value() -> None:
    assert read().values == {}
    assert read("--max-steps=2*3", "--dir", "x").values == {"max_steps": 6, "folder": Path("x")}


def test_the_last_wins_and_the_command_line_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("max_steps: 1\nlearning_rate: 2\ndir: x\n")
    said = read("--max_steps=3", f"--config={tmp_path / 'run.yaml'}", "--max_steps=4")
    assert said.values == {"max_steps": 4, "learning_rate": 2.0, "folder": tmp_path / "x"}
    assert read(f"--config={tmp_path / 'run.yaml'}", "--max_steps=null").values["max_steps"] is None


def test_a_note_is_said_once() -> None:
    assert read("--dir=x", "--dir=y").notes == ("--dir is called --folder here",)


def test_a_setting_that_another_outdoes_must_be_right_too() -> None:
    assert refusal("--max_steps=x", "--max_steps=1").startswith("--max_steps x: say a whole number")


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("learnin_rate", "did you mean --learning_rate?"),
        ("learning-rates", "did you mean --learning_rate?"),
        ("dirr", "did you mean --dir?"),
        ("confg", "did you mean --config?"),
        ("zzzz", "python -m it --help lists them"),
    ],
)
def test_an_unknown_name_gets_the_nearest_one(written: str, hint: str, tmp_path: Path) -> None:
    flag = written.replace("-", "_")
    assert refusal(f"--{written}=1") == f"unknown flag --{flag}; {hint}"
    path = tmp_path / "run.yaml"
    path.write_text(f"{written}: 1\n")
    in_file = hint.replace("did you mean --", "did you mean ")
    assert refusal(f"--config={path}") == f"--config {path}: unknown key {flag}; {in_file}"
