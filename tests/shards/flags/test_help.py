"""The help names every field with what it takes, what it means and what it is if left out."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from shards.flags.help import described, help_text


@dataclass(frozen=True, kw_only=True)
class Owner:
    folder: Path = field(metadata={"help": "where it lies"})
    whole: int | None = field(default=None, metadata={"help": "steps"})
    share: float = field(default=1e-06, metadata={"help": "a share of 100%"})
    switch: bool = field(default=False, metadata={"help": "on or off"})
    go_on: bool | Path = field(default=True, metadata={"help": "go on"})
    capacity: int | Literal["auto"] = field(default="auto", metadata={"help": "capacity"})
    form: Literal["arrow", "mindrecord"] = field(default="arrow", metadata={"help": "format, longly described " * 4})
    text: str = field(default="x", metadata={"help": "some text"})


def test_a_flag_says_what_it_takes_and_what_it_is_if_left_out() -> None:
    assert dict(described(Owner)) | {"--form {arrow,mindrecord}": ""} == {
        "--folder PATH": "where it lies (required)",
        "--whole N": "steps",
        "--share NUMBER": "a share of 100% (default: 1e-06)",
        "--switch {true,false}": "on or off (default: False)",
        "--go_on {true,false,PATH}": "go on (default: True)",
        "--capacity {auto,N}": "capacity (default: auto)",
        "--form {arrow,mindrecord}": "",
        "--text TEXT": "some text (default: x)",
    }


@pytest.mark.parametrize("columns", [1, 60, 80, 200])
def test_the_help_fits_the_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    shown = help_text(Owner, usage="it --flag value", about="Do it.", more=[("--more WORD ...", "and more")])
    usage, empty, about, empty_too, *entries = shown.splitlines()
    assert (usage, empty, about, empty_too) == ("usage: it --flag value", "", "Do it.", "")
    assert max(map(len, entries)) <= max(columns - 2, 48)
    heads = [line.split()[0] for line in entries if line.startswith("  --")]
    assert heads == ["--config", *(flag.split()[0] for flag, _ in described(Owner)), "--more"]
    assert all(
        text in " ".join(shown.split()) for text in map(" ".join, map(str.split, dict(described(Owner)).values()))
    )


def test_a_long_flag_has_its_text_below(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = help_text(Owner, usage="", about="").splitlines()
    assert "  --folder PATH         where it lies (required)" in lines
    assert lines[lines.index("  --go_on {true,false,PATH}") + 1] == " " * 24 + "go on (default: True)"
    assert "  --switch {true,false} on or off (default: False)" not in lines
