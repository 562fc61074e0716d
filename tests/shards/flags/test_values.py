"""Text becomes the type of an annotation, or is refused with what to say instead."""

from __future__ import annotations

import math
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, Optional, get_type_hints

import pytest

from preprocess.config import RunConfig
from shards.flags.values import choices_of, item_of, members_of, parse_value
from train.arguments import TrainArguments
from train.cli.merge_command import MergeArguments

Word = Literal["auto", "none"]


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("12*28*28", int, 9408),
        (" 12 * 28 * 28 ", int, 9408),
        ("9_408", int, 9408),
        ("-3", int, -3),
        ("007", int, 7),
        (str(2**63 - 1), int, 2**63 - 1),
        ("7", int | None, 7),
        ("7", Optional[int], 7),  # noqa: UP045
        ("null", int | None, None),
        ("~", float | None, None),
        ("null", Path | None, None),
        ("null", Path, Path("null")),
        ("null", str, "null"),
        ("1e-6", float, 1e-6),
        (".5", float, 0.5),
        ("2", float, 2.0),
        ("-inf", float, -math.inf),
        ("True", bool, True),
        ("yes", bool, True),
        ("ON", bool, True),
        ("False", bool, False),
        ("no", bool, False),
        ("off", bool, False),
        ("off", bool | Path, False),
        ("1", bool | Path, Path("1")),
        ("./off", bool | Path, Path("off")),
        ("2*3", Path, Path("2*3")),
        ("2*3", str, "2*3"),
        ("", str, ""),
        ("auto", Word, "auto"),
        ("auto", int | Word, "auto"),
        ("8*2", int | Word, 16),
        ("x", str | None, "x"),
    ],
)
def test_text_becomes_what_the_annotation_says(text: str, kind: Any, value: object) -> None:
    parsed = parse_value(text, kind)
    assert parsed == value
    assert type(parsed) is type(value)


def test_a_number_may_be_nan() -> None:
    assert math.isnan(parse_value("nan", float))


PRODUCT = "a whole number, or a product such as 576*28*28"


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        ("", int, PRODUCT),
        ("1.0", int, PRODUCT),
        ("2*", int, PRODUCT),
        ("null", int, PRODUCT),
        ("None", int | None, PRODUCT),
        (str(2**63), int, PRODUCT),
        ("9" * 5000, int, PRODUCT),
        ("9" * 4000 + "*" + "9" * 4000, int, PRODUCT),
        ("often", float, "a number"),
        ("2*3", float, "a number"),
        ("", float | None, "a number"),
        ("1", bool, "True or False"),
        ("", bool | Path, "True, False or a path"),
        ("", Path, "a path"),
        ("Auto", Word, "auto or none"),
        ("most", int | Literal["auto"], "a whole number, or auto"),
        ("most", int | Word, "a whole number, or auto or none"),
        ("a\0b", Path, "a path; this one holds a NUL character, which no path can"),
        ("\udce9", Path | None, "a path; this one is not UTF-8; rename the file or folder"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_to_say(text: str, kind: Any, expected: str) -> None:
    with pytest.raises(ValueError, match=r"^say ") as raised:
        parse_value(text, kind)
    assert str(raised.value) == f"say {expected}"


def test_a_union_is_its_members_and_words() -> None:
    assert members_of(int) == (int,)
    assert members_of(int | None) == (int, type(None))
    assert members_of(Optional[int]) == (int, type(None))  # noqa: UP045
    assert choices_of(int | Word) == ("auto", "none")
    assert choices_of(str) == ()


@pytest.mark.parametrize("owner", [RunConfig, TrainArguments, MergeArguments])
def test_the_fields_of_all_commands_have_types_that_are_read(owner: type) -> None:
    readable = {int, float, bool, Path, str, type(None)}
    for name, kind in get_type_hints(owner).items():
        kinds = {item_of(member) or member for member in members_of(kind)}
        assert choices_of(kind) or kinds <= readable, name
    assert len(get_type_hints(owner)) == len(fields(owner)) > 2


def test_homes_and_variables_in_paths_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("DATA", "/data")
    monkeypatch.delenv("UNSET", raising=False)
    for text, path in (
        ("~/a", "/home/me/a"),
        ("$DATA/a", "/data/a"),
        ("${DATA}s/$DATA", "/datas//data"),
        ("a~", "a~"),
        ("~nobody-at-all/a", "~nobody-at-all/a"),
        ("$", "$"),
        ("$5/${}/$-", "$5/${}/$-"),
    ):
        assert parse_value(text, Path) == Path(path)
    with pytest.raises(ValueError, match=r"the variable \$UNSET is not set; export UNSET, or write the path out"):
        parse_value("a/$UNSET", Path | None)
    assert parse_value("$DATA", str) == "$DATA"
