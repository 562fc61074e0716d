"""A flag that is no field is another name, without effect, refused, or translated by its value."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shards.errors import FlagError
from shards.flags.elsewhere import Alias, Ignored, Refused, Translated, resolve
from shards.flags.settings import Setting

ELSEWHERE = {
    "old": Alias("new"),
    "vain": Ignored("nothing is downloaded"),
    "wrong": Refused("belongs to training"),
    "upper": Translated(lambda setting: (replace(setting, flag="new", value=setting.value.upper()), "louder")),
}
TYPED, FILED = Setting(flag="", value="x"), Setting(flag="", value="x", file="f")


def test_a_field_stays_as_it_is() -> None:
    setting = replace(TYPED, flag="new")
    assert resolve(setting, ELSEWHERE) == (setting, "")


def test_another_name_is_noted_as_it_is_written_there() -> None:
    assert resolve(replace(TYPED, flag="old"), ELSEWHERE) == (
        replace(TYPED, flag="new"),
        "--old is called --new here",
    )
    assert resolve(replace(FILED, flag="old"), ELSEWHERE)[1] == "--config f: old is called new here"


def test_what_is_ignored_is_noted() -> None:
    assert resolve(replace(TYPED, flag="vain"), ELSEWHERE) == (None, "--vain is ignored: nothing is downloaded")


def test_a_value_may_be_translated() -> None:
    assert resolve(replace(FILED, flag="upper"), ELSEWHERE) == (replace(FILED, flag="new", value="X"), "louder")


@pytest.mark.parametrize("value", ["x", None, "null", {"min_lr": "0"}])
def test_what_is_refused_says_so_whatever_its_value(value: object) -> None:
    with pytest.raises(FlagError, match=r"^--config f: wrong belongs to training$"):
        resolve(Setting(flag="wrong", value=value, file="f"), ELSEWHERE)


@pytest.mark.parametrize("flag", ["old", "vain", "upper", "new"])
def test_all_others_hold_one_value(flag: str) -> None:
    with pytest.raises(FlagError, match=rf"^--config f: {flag} must be one value"):
        resolve(Setting(flag=flag, value=["x"], file="f"), ELSEWHERE)
