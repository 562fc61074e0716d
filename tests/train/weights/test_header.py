"""Damaged headers: each is one error that names the file, whatever is wrong with it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from train.errors import WeightsError
from train.weights.files import stored_weights

A = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
B = {"dtype": "F32", "shape": [1], "data_offsets": [8, 12]}


def write(path: Path, header: Any, num_bytes: int = 12) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(num_bytes))
    return path


def test_a_whole_file_gives_its_tensors(tmp_path: Path) -> None:
    found = list(stored_weights(write(tmp_path / "a", {"__metadata__": {"format": "pt"}, "b": B, "a": A})))
    assert [(each.key, each.num_bytes, each.read().tolist()) for each in found] == [("b", 4, [0]), ("a", 8, [0, 0])]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"{", "not a safetensors file"),
        (b"\xff\xfe", "not a safetensors file"),
        (b"[" * 100_000, "not a safetensors file"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not a safetensors file"),
        ([A], "not a safetensors file"),
        ({"a": None}, "a is None, not a tensor"),
        ({"a": {**A, "dtype": None}, "b": B}, "a is None; supported"),
        ({"a": {"shape": [2], "data_offsets": [0, 8]}, "b": B}, "a is None; supported"),
        ({"a": {**A, "dtype": ["F32"]}, "b": B}, "supported"),
        ({"a": {**A, "shape": 2}, "b": B}, "a has shape 2"),
        ({"a": {**A, "shape": [-1, -2]}, "b": B}, "a has shape"),
        ({"a": {**A, "shape": [2.0]}, "b": B}, "a has shape"),
        ({"a": {**A, "shape": [True, 2]}, "b": B}, "a has shape"),
        ({"a": {**A, "data_offsets": [-8, 0]}, "b": B}, "a has data_offsets"),
        ({"a": {**A, "data_offsets": [8, 0]}, "b": B}, "a has data_offsets"),
        ({"a": {**A, "data_offsets": [0]}, "b": B}, "a has data_offsets"),
        ({"a": {**A, "data_offsets": "08"}, "b": B}, "a has data_offsets"),
        ({"a": {**A, "shape": [3]}, "b": B}, "contradicts"),
        ({"a": A, "b": {**B, "data_offsets": [4, 8]}}, "b overlaps"),
        ({"a": A, "b": {**A, "data_offsets": [0, 8]}}, "overlaps"),
        ({"b": B}, "b leaves a gap"),
        ({"a": A}, "4 bytes behind its last tensor"),
        ({"a": A, "b": {**B, "shape": [2], "data_offsets": [8, 16]}}, "ends within b"),
    ],
)
def test_a_damaged_header_is_one_error_that_names_the_file(header: Any, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "model.safetensors", header)
    with pytest.raises(WeightsError, match=message) as raised:
        list(stored_weights(path))
    assert str(path) in str(raised.value)


@pytest.mark.parametrize("content", [b"", b"\1", (1 << 62).to_bytes(8, "little"), bytes(8)])
def test_a_length_that_means_nothing_is_an_error(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="not a safetensors file"):
        list(stored_weights(path))


def test_what_is_no_plain_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path, tmp_path / "missing", Path("/dev/zero"), tmp_path / ("n" * 300)):
        with pytest.raises(WeightsError, match="can't be read"):
            list(stored_weights(path))
