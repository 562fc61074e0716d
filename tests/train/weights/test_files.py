"""Files of tensors: their names, their numbers, one tensor in memory at a time."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from train.errors import WeightsError
from train.models.qwen2_5_vl import NAMES
from train.weights.files import (
    STORED_DTYPES,
    WeightToWrite,
    find_weights,
    from_float32,
    to_float32,
    write_file,
)
from train.weights.writer import write_weights


@given(st.floats(width=32, allow_nan=False, min_value=2.0**-126, max_value=2.0**127))
def test_bfloat16_is_the_nearest_and_even_where_two_are_as_near(number: float) -> None:
    value = np.array([number], np.float32)
    bits = from_float32(value, "BF16")
    candidates = np.array([bits[0] - 1, bits[0], bits[0] + 1], np.uint16)
    distances = np.abs(to_float32(candidates, "BF16").astype(np.float64) - value.astype(np.float64))
    assert distances[1] <= min(distances[0], distances[2])
    if distances[1] in (distances[0], distances[2]):
        assert bits[0] % 2 == 0


def test_bfloat16_keeps_what_it_can_represent_and_what_is_not_a_number() -> None:
    values = np.array([0.0, -0.0, 1.5, -np.inf, 2.0**-133, 3.4e38, 1 + 2.0**-8, 1 + 3 * 2.0**-8], np.float32)
    expected = [0x0000, 0x8000, 0x3FC0, 0xFF80, 0x0001, 0x7F80, 0x3F80, 0x3F82]
    assert from_float32(values, "BF16").tolist() == expected
    signalling = np.array([0x7F800001, 0xFFFFFFFF], np.uint32).view(np.float32)
    assert from_float32(signalling, "BF16").tolist() == [0x7FC0, 0x7FC0]


def to_write(name: str, values: np.ndarray, dtype: str, asked: list[str]) -> WeightToWrite:
    def read() -> np.ndarray:
        asked.append(name)
        return values

    return WeightToWrite(name=name, dtype=dtype, shape=values.shape, read=read)


def test_each_tensor_is_asked_for_once_when_it_is_written_and_starts_at_a_multiple_of_its_size(tmp_path: Path) -> None:
    asked: list[str] = []
    weights = [
        to_write("narrow", np.ones(3, np.uint16), "BF16", asked),
        to_write("wide", np.arange(5, dtype=np.float32), "F32", asked),
        to_write("half", np.arange(5, dtype=np.float16), "F16", asked),
        to_write("scalar", np.float32(7).reshape(()), "F32", asked),
    ]
    [path] = write_weights(tmp_path, weights)
    assert sorted(asked) == ["half", "narrow", "scalar", "wide"]
    stored = find_weights(tmp_path, NAMES)
    for weight in weights:
        assert stored[weight.name].offset % STORED_DTYPES[weight.dtype].itemsize == 0
        np.testing.assert_array_equal(stored[weight.name].read_stored(), weight.read())
    assert path.read_bytes()[8:9] == b"{"


def test_a_tensor_larger_than_a_file_has_one_of_its_own(tmp_path: Path) -> None:
    sizes = {"a": 4, "b": 4, "huge": 100, "c": 4}
    weights = [to_write(name, np.full(size, size, np.float32), "F32", []) for name, size in sizes.items()]
    *files, _ = write_weights(tmp_path, weights, max_shard_bytes=40)
    assert [sorted(load_file(path)) for path in files] == [["a", "b"], ["huge"], ["c"]]


def test_a_tensor_that_is_not_what_it_said_is_never_written(tmp_path: Path) -> None:
    weight = WeightToWrite(name="a", dtype="F32", shape=(3,), read=lambda: np.zeros(4, np.float32))
    with pytest.raises(ValueError, match=r"a is float32 \(4,\), not F32 \(3,\)"):
        write_file(tmp_path / "model.safetensors", [weight])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dtype", list(STORED_DTYPES))
def test_a_range_of_values_is_read_without_the_others(dtype: str, tmp_path: Path) -> None:
    values = from_float32(np.random.default_rng(0).standard_normal((5, 7)).astype(np.float32), dtype)
    path = tmp_path / "model.safetensors"
    write_file(path, [to_write("before", np.ones(3, np.float32), "F32", []), to_write("a", values, dtype, [])])
    stored = find_weights(tmp_path, NAMES)["a"]
    whole = to_float32(values, dtype)
    np.testing.assert_array_equal(stored.read(), whole)
    for first, last in ((0, 35), (11, 24), (34, 35), (35, 35)):
        np.testing.assert_array_equal(stored.read_values(first, last), whole.reshape(-1)[first:last])
    os.truncate(path, path.stat().st_size - values.itemsize)
    assert len(stored.read_values(0, 34)) == 34
    with pytest.raises(WeightsError, match="ends within a;"):
        stored.read_values(30, 35)
