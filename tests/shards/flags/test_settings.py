"""Words and files become settings that know where they stand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shards.errors import FlagError
from shards.flags.settings import Setting, convert, read_settings, require_plain, split_flags


def pairs(*words: str, lists: tuple[str, ...] = ()) -> list[tuple[str, Any]]:
    return [(setting.flag, setting.value) for setting in split_flags(words, lists)]


def write(folder: Path, text: str, name: str = "run.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def refusal(*words: str) -> str:
    with pytest.raises(FlagError) as raised:
        read_settings(words)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_flags_are_written_in_several_ways() -> None:
    assert pairs("--a", "1", "--b=2", "--c", "--d-e_f=x=y", "--g=", "--h", "-1", "--i") == [
        ("a", "1"),
        ("b", "2"),
        ("c", None),
        ("d_e_f", "x=y"),
        ("g", ""),
        ("h", "-1"),
        ("i", None),
    ]


def test_a_list_takes_the_words_up_to_the_next_flag() -> None:
    words = ("--some", "a", "b", "--c", "1", "--some=d", "e", "--some", "--c=2")
    expected = [("some", "a"), ("some", "b"), ("c", "1"), ("some", "d"), ("some", "e"), ("some", None), ("c", "2")]
    assert pairs(*words, lists=("some",)) == expected


@pytest.mark.parametrize("words", [["x"], ["-x"], ["--"], ["--a", "1", "x"], ["--a=1", "x"]])
def test_a_word_that_no_flag_takes_stands_alone(words: list[str]) -> None:
    with pytest.raises(FlagError, match=f"{words[-1]!r} stands alone; flags look like --name value"):
        list(split_flags(words))


def test_files_come_first_wherever_they_are_named(tmp_path: Path) -> None:
    one, two = write(tmp_path, "a-b: no\nc: 007", "1.yaml"), write(tmp_path, "c: 1e-6", "2.yaml")
    settings = read_settings(["--c=9", f"--config={one}", "--config", str(two)])
    assert [(setting.flag, setting.value, setting.file) for setting in settings] == [
        ("a_b", "no", str(one)),
        ("c", "007", str(one)),
        ("c", "1e-6", str(two)),
        ("c", "9", ""),
    ]


@pytest.mark.parametrize("text", ["a: 4\r\n", "\ufeffa: 4", "# a comment\na: 4 # four"])
def test_files_of_other_systems_are_read(text: str, tmp_path: Path) -> None:
    [setting] = read_settings([f"--config={write(tmp_path, text)}"])
    assert (setting.flag, setting.value) == ("a", "4")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2", "FILE: can't be read as YAML: 'a' stands twice; keep one"),
        ("a-b: 1\na_b: 2", "FILE: a_b stands twice; keep one"),
        ("config: x", "FILE: config can't stand in a file; give --config twice on the command line"),
        ("- a", "FILE: must be a YAML mapping of names to values"),
        ("a: [", "FILE: can't be read as YAML"),
    ],
)
def test_a_file_that_can_not_be_understood_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = write(tmp_path, text)
    assert refusal(f"--config={path}").startswith(message.replace("FILE", f"--config {path}"))


def test_a_file_that_can_not_be_read_is_refused(tmp_path: Path) -> None:
    assert refusal("--config", "gone.yaml") == "--config gone.yaml: No such file or directory"
    (tmp_path / "latin.yaml").write_bytes(b"a: caf\xe9")
    assert "latin.yaml: 'utf-8' codec can't decode" in refusal(f"--config={tmp_path / 'latin.yaml'}")
    assert refusal("--config") == refusal("--config=") == "--config needs a YAML file"


# --- one setting ---------------------------------------------------------------------------------------------------

TYPED, FILED = Setting(flag="a", value="1"), Setting(flag="a", value="1", file="x/run.yaml")


def test_a_setting_is_called_by_where_it_stands() -> None:
    assert (TYPED.name, TYPED.written("b")) == ("--a", "--b")
    assert (FILED.name, FILED.written("b")) == ("--config x/run.yaml: a", "b")
    assert (TYPED.text, Setting(flag="a", value=None).text) == ("1", "true")


def test_paths_of_a_file_are_relative_to_it() -> None:
    assert convert(TYPED, Path) == Path("1")
    assert convert(FILED, Path) == convert(FILED, bool | Path) == Path.cwd() / "x" / "1"
    assert convert(FILED, str) == "1"
    assert convert(Setting(flag="a", value="off", file="x/run.yaml"), bool | Path) is False
    assert convert(Setting(flag="a", value="/1", file="x/run.yaml"), Path) == Path("/1")


def test_only_a_boolean_may_stand_alone() -> None:
    alone = Setting(flag="a", value=None)
    assert convert(alone, bool) is convert(alone, bool | Path) is True
    for kind in (int, str, Path, float | None):
        with pytest.raises(FlagError, match=r"^--a needs a value$"):
            convert(alone, kind)


@pytest.mark.parametrize(("value", "shown"), [("x-1.5*2/3", "x-1.5*2/3"), ("", "''"), ("1\n2", r"'1\n2'")])
def test_a_wrong_value_is_shown(value: str, shown: str) -> None:
    with pytest.raises(FlagError) as raised:
        convert(Setting(flag="a", value=value, file="f"), int)
    assert str(raised.value) == f"--config f: a {shown}: say a whole number, or a product such as 576*28*28"


@pytest.mark.parametrize("value", ["", "~", "null", ["1"], {"b": "1"}, []])
def test_a_line_of_a_file_holds_one_value(value: Any) -> None:
    with pytest.raises(FlagError, match="f: a must be one value, not "):
        require_plain(Setting(flag="a", value=value, file="f"))


@pytest.mark.parametrize("value", ["", "~", "null", None])
def test_a_command_line_may_say_nothing(value: str | None) -> None:
    require_plain(Setting(flag="a", value=value))
    require_plain(FILED)
