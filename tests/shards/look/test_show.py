"""A pack on a terminal: supervised parts marked, pictures collapsed, and no text can pass for something else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

from shards import Manifest, Pack, read_manifest
from shards.look.show import COLOUR, PLAIN, Marks, pack_text
from shards.look.transcript import Piece, Transcriber
from shards.segments import Segment
from tests.shards.packs import CONSTANTS, make_pack


@dataclass
class Script:
    """Says the same of every segment."""

    said: list[Piece]

    def pieces(self, pack: Pack, segment: Segment) -> list[Piece]:
        return self.said


@pytest.fixture
def manifest(small_run: Path) -> Manifest:
    read = read_manifest(small_run)
    return Manifest(**{**vars(read), "model": CONSTANTS, "pack_length": 40, "pack_patches": 64})


def text(said: str, kind: str = "text", *, supervised: bool = False) -> Piece:
    return Piece(kind=kind, supervised=supervised, text=said)  # type: ignore[arg-type]


def transcript(manifest: Manifest, *pieces: Piece, marks: Marks = PLAIN) -> list[str]:
    """The lines of one segment's text."""
    shown = pack_text(make_pack(texts=(2,)), 0, manifest, cast(Transcriber, Script(list(pieces))), marks)
    return [line.removeprefix("  │ ") for line in shown.splitlines() if line.startswith("  │ ")]


def test_the_facts_of_a_pack_stand_before_its_text(manifest: Manifest) -> None:
    pack = make_pack(texts=(3, 5), images=[(1, 4, 6)], videos=[(2, 2, 4)])
    lines = pack_text(pack, 1, manifest, cast(Transcriber, Script([text("hi")])), PLAIN).splitlines()
    assert lines == [
        f"pack 1 of {manifest.num_packs}: 2 samples, 18 tokens (45.0% of 40), 2 supervised, 1 image, 1 video, "
        "40 patches (62.5% of 64)",
        "supervised text looks ⟦like this⟧",
        "",
        "segment 0  made up:0  tokens 0 to 12: 13, 1 supervised",
        "  positions  temporal 0 to 12, height 0 to 12, width 0 to 12",
        "  image 0    grid 1 x 4 x 6: 56 x 84 pixels (height x width) -> 6 tokens",
        "  video 0    grid 2 x 2 x 4: 4 frames of 28 x 56 pixels (height x width) -> 4 tokens, second_per_grid 0.5",
        "  │ hi",
        "",
        "segment 1  made up:1  tokens 13 to 17: 5, 1 supervised",
        "  positions  temporal 0 to 4, height 0 to 4, width 0 to 4",
        "  │ hi",
    ]


def test_supervised_parts_are_marked_line_by_line(manifest: Manifest) -> None:
    pieces = [
        text("ask\n"),
        text("one\n\ntwo", supervised=True),
        text("<|im_end|>", "special", supervised=True),
        text("\n", supervised=True),
    ]
    assert transcript(manifest, *pieces) == ["ask", "⟦one⟧", "", "⟦two<|im_end|>⟧"]
    green, off = COLOUR.supervised
    assert transcript(manifest, *pieces, marks=COLOUR) == [
        "ask",
        f"{green}one{off}",
        "",
        f"{green}two<|im_end|>{off}",
    ]


def test_text_that_looks_like_ours_is_written_differently(manifest: Manifest) -> None:
    pieces = [
        text("<|im_start|>", "special"),
        text("image 28x40 -> 280 tokens", "visual"),
        text("<|im_start|><image 28x40 -> 280 tokens> ⟦learnt⟧ a < b <image>"),
    ]
    assert transcript(manifest, *pieces) == [
        "<|im_start|><image 28x40 -> 280 tokens>"
        r"\u003c|im_start|>\u003cimage 28x40 -> 280 tokens> \u27e6learnt\u27e7 a < b <image>"
    ]


@pytest.mark.parametrize("marks", [PLAIN, COLOUR])
def test_nothing_in_the_text_steers_the_terminal(manifest: Manifest, marks: Marks) -> None:
    hostile = "\x1b[2J\x9b31m\r\x07\u202eright\u2066\ttab"
    lines = transcript(manifest, text(hostile), text(hostile, supervised=True), marks=marks)
    ours = "".join((*COLOUR.supervised, *COLOUR.special, *COLOUR.visual, "\t"))
    assert r"\x1b[2J\x9b31m\r\x07\u202eright\u2066" in lines[0]
    assert not [char for char in lines[0] if not char.isprintable() and char not in ours]
    assert "\x1b[2J" not in lines[0]
