"""Tokens become text again, in pieces that say what they are."""

from __future__ import annotations

import shutil
from itertools import pairwise
from pathlib import Path

import pytest

from shards import DamagedShard, open_shards
from shards.look.transcript import Piece, Transcriber
from shards.segments import cut_segments


def samples(folder: Path) -> dict[str, list[Piece]]:
    shards, transcriber = open_shards(folder), Transcriber.beside(folder)
    return {
        segment.key: transcriber.pieces(pack, segment)
        for pack in shards
        for segment in cut_segments(pack, shards.manifest.model)
    }


def test_a_conversation_reads_as_it_was_written(small_run: Path) -> None:
    pieces = next(pieces for key, pieces in samples(small_run).items() if key.startswith("scenes:"))
    text = "".join(piece.text for piece in pieces)
    start = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
    assert text.startswith(start)
    supervised = "".join(piece.text for piece in pieces if piece.supervised)
    assert supervised
    assert supervised.count("<|im_end|>\n") == text.count("<|im_start|>assistant\n")
    assert {piece.text for piece in pieces if piece.kind == "special"} == {
        "<|im_start|>",
        "<|im_end|>",
        "<|vision_start|>",
        "<|vision_end|>",
    }


def test_each_medium_is_one_piece_and_neighbours_differ(small_run: Path) -> None:
    found = samples(small_run)
    names = {piece.text.split()[0] for pieces in found.values() for piece in pieces if piece.kind == "visual"}
    assert names == {"image", "video"}
    for pieces in found.values():
        for one, other in pairwise(pieces):
            assert (one.kind, one.supervised) != (other.kind, other.supervised) or one.kind == "visual"


def test_without_its_tokenizer_a_dataset_can_not_be_read(small_run: Path, tmp_path: Path) -> None:
    with pytest.raises(DamagedShard, match=r"tokenizer\.json can't be read"):
        Transcriber.beside(tmp_path)
    (tmp_path / "model").mkdir()
    shutil.copyfile(small_run / "manifest.json", tmp_path / "model" / "tokenizer.json")
    with pytest.raises(DamagedShard, match=r"tokenizer\.json can't be read"):
        Transcriber.beside(tmp_path)
