"""Text from data is made fit to read: nothing in it can steer a terminal or turn the text around it."""

from __future__ import annotations

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards import PackCounts
from shards.files.text import visible
from shards.look.readable import aligned, dataset_table, percentage, readable_bytes, reasons_of
from tests.shards.packs import CONSTANTS


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("数据 é 🙂", "数据 é 🙂"),
        ("two\nlines\tand a tab", r"two\nlines\tand a tab"),
        ("\x1b[31mred\x1b[0m\x07", r"\x1b[31mred\x1b[0m\x07"),
        ("\u202egnp.exe\u202c", r"\u202egnp.exe\u202c"),
        ("\u2066isolated\u2069 \u200f", r"\u2066isolated\u2069 \u200f"),
        ("lone \ud800", r"lone \ud800"),
        ("\U000e0041 tag", r"\U000e0041 tag"),
        ("no\u00a0break　wide", "no\u00a0break　wide"),
        ("line\u2028paragraph\u2029", r"line\u2028paragraph\u2029"),
        ("back\\slash", "back\\slash"),
    ],
)
def test_what_steers_is_written_out(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_characters_can_be_kept() -> None:
    assert visible("a\nb\rc", keep="\n") == "a\nb\\rc"


def test_no_character_of_unicode_slips_through() -> None:
    sparse = range(0x10000, sys.maxunicode + 1, 97)  # private use and unassigned, by the thousand
    candidates = map(chr, [*range(0x10000), *sparse])
    steering = [char for char in candidates if unicodedata.category(char)[0] == "C"]
    assert len(steering) > 10_000
    assert {"\x1b", "\x9b", "\u202e", "\u2067", "\ud800"} <= set(steering)
    shown = visible("".join(steering))
    assert shown.isascii()
    assert shown.isprintable()


@given(st.text())
def test_making_visible_twice_changes_nothing(text: str) -> None:
    assert visible(visible(text)) == visible(text)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (1023, "1,023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (5 << 20, "5.0 MiB"),
        (3 << 50, "3.0 PiB"),
        (5 << 60, "5,120.0 PiB"),
    ],
)
def test_bytes_are_readable(number: int, text: str) -> None:
    assert readable_bytes(number) == text


def test_shares() -> None:
    assert (percentage(1, 3), percentage(3, 3), percentage(0, 0)) == ("33.3%", "100.0%", "0.0%")


def test_columns_stand_under_each_other() -> None:
    assert aligned([("a", "b"), ("long", "1"), ("", "22")]) == "a      b\nlong   1\n      22"


def test_the_table_of_datasets_sums_all_and_counts_rejects() -> None:
    counts = PackCounts(num_samples=2, num_tokens=1000, num_label_tokens=9, num_images=1, num_image_patches=40)
    table = dataset_table({"a\x1b": counts, "b": PackCounts(num_samples=1)}, {"b": {"x": 2, "y": 1}}, CONSTANTS)
    assert table.splitlines() == [
        "dataset  samples  tokens  visual tokens  label tokens  images  videos  rejects",
        "a\\x1b          2   1,000             10             9       1       0        0",
        "b              1       0              0             0       0       0        3",
        "all            3   1,000             10             9       1       0        3",
    ]


def test_reasons_are_summed_over_datasets() -> None:
    assert reasons_of({"a": {"z": 1, "y": 2}, "b": {"z": 4}, "c": {}}) == {"y": 2, "z": 5}
    assert list(reasons_of({"a": {"z": 1, "y": 2}})) == ["y", "z"]
