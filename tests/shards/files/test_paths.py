"""A path is any text without NUL that UTF-8 can hold."""

from __future__ import annotations

import pytest

from shards.files.paths import path_flaw


@pytest.mark.parametrize("path", ["", "a", "/a b/ä/图", "~", "a\nb", "a" * 4095])
def test_most_texts_are_paths(path: str) -> None:
    assert path_flaw(path) is None


@pytest.mark.parametrize(
    ("path", "flaw"),
    [
        ("a\0b", "holds a NUL character"),
        ("a\udce9", "is not UTF-8"),
        ("ä" * 2048, "is longer than 4,095 bytes, which no path can be"),
    ],
)
def test_some_are_not(path: str, flaw: str) -> None:
    assert (path_flaw(path) or "").startswith(flaw)
