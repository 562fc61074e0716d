"""YAML is read into mappings; equal keys, broken text and impossible values are one-line errors naming the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shards.files.strict_yaml import read_yaml_mapping

PATH = Path("some.yaml")


def test_scalars_are_typed_or_verbatim() -> None:
    text = "a: 007\nb: no\nc: 2026-01-31\nd:\ne: {f: 1.50}"
    assert read_yaml_mapping(PATH, text, verbatim=True) == {
        "a": "007",
        "b": "no",
        "c": "2026-01-31",
        "d": "",
        "e": {"f": "1.50"},
    }
    typed = read_yaml_mapping(PATH, text)
    assert (typed["a"], typed["b"], typed["d"], typed["e"]) == (7, False, None, {"f": 1.5})


def test_anchors_and_merges_are_understood() -> None:
    text = "base: &base {x: '1', y: '1'}\na: {<<: *base, y: '2'}\nb: *base"
    values = read_yaml_mapping(PATH, text)
    assert values["a"] == {"x": "1", "y": "2"}
    assert values["b"] == values["base"]


BOMBS = {
    "merges": "a0: &a0 {k: v}\n"
    + "\n".join(f"a{n + 1}: &a{n + 1} {{<<: [{', '.join([f'*a{n}'] * 9)}]}}" for n in range(9)),
    "lists": "a0: &a0 [x]\n" + "\n".join(f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]" for n in range(9)),
    "a long text": f"a: &a {'x' * 9_000}\nb: [{', '.join(['*a'] * 2_000)}]",
    "itself": "a: &a [*a]",
}


@pytest.mark.parametrize("verbatim", [False, True])
@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS)
def test_aliases_that_repeat_too_much_are_refused(text: str, verbatim: bool) -> None:
    with pytest.raises(ValueError, match=r"^some\.yaml can't be read as YAML: its aliases repeat too much"):
        read_yaml_mapping(PATH, text, verbatim=verbatim)


def test_a_large_file_may_repeat_its_aliases_more_often() -> None:
    text = "base: &base {data_path: /media, boxes: none}\n" + "\n".join(
        f"d{n}: {{<<: *base, annotation_path: {n}.json}}" for n in range(3_000)
    )
    assert len(read_yaml_mapping(PATH, text)) == 3_001


@pytest.mark.parametrize("verbatim", [False, True])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", "'a' stands twice; keep one"),
        ("a: {b: 1, b: 1}", "'b' stands twice"),
        ("a: [", "can't be read as YAML"),
        ("a: \t- b", "can't be read as YAML"),
        ("a: \x07", "can't be read as YAML"),
        ("? [a]\n: 1", "can't be read as YAML"),
        ("[" * 500, "can't be read as YAML"),
        ("a: 1\n---\nb: 2", "can't be read as YAML"),
        ("", "must be a YAML mapping"),
        ("text", "must be a YAML mapping"),
        ("[a]", "must be a YAML mapping"),
    ],
)
def test_what_is_no_mapping_is_refused(text: str, message: str, verbatim: bool) -> None:
    assert message in refusal(text, verbatim=verbatim)


@pytest.mark.parametrize("text", ["a: 2026-13-45", "a: 0x_", "a: !!int x", "a: !!python/object:os.system x"])
def test_impossible_values_are_refused(text: str) -> None:
    assert "can't be read as YAML" in refusal(text)


def refusal(text: str, **options: Any) -> str:
    with pytest.raises(ValueError) as raised:
        read_yaml_mapping(PATH, text, **options)
    message = str(raised.value)
    assert message.startswith("some.yaml ")
    assert "\n" not in message
    return message
