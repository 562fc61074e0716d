"""Streams are frozen: what a seed chose once, it chooses for ever."""

from __future__ import annotations

import ast
from pathlib import Path

import preprocess
from preprocess.streams import stream

FOLDER = Path(preprocess.__file__).parent


def test_a_seed_gives_what_it_gave_before() -> None:
    assert stream("packs", 0).permutation(12).tolist() == [5, 3, 11, 9, 8, 0, 1, 10, 7, 4, 6, 2]
    assert stream("records", 2**63, "ä/b").permutation(12).tolist() == [10, 5, 3, 11, 2, 9, 6, 8, 0, 4, 7, 1]


def test_each_purpose_seed_and_name_has_a_stream_of_its_own() -> None:
    words = [("packs", 0, ""), ("units", 0, ""), ("packs", 1, ""), ("packs", 0, "coco")]
    assert len({tuple(stream(*each).permutation(20)) for each in words}) == len(words)


def test_no_other_source_of_chance_is_used() -> None:
    """Those of NumPy's generators may change with its version; all that is drawn must come from `stream`.

    But for the noise on which ways to the same pixels are compared: it reaches no dataset.
    """
    users = [
        path.relative_to(FOLDER).as_posix()
        for path in sorted(FOLDER.rglob("*.py"))
        if path.parent.name != "pixels"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr == "random"
    ]
    assert set(users) == {"streams.py"}
