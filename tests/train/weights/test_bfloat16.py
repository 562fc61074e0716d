"""Against PyTorch: the bits of rounded numbers, made by scripts/golden/golden_bfloat16.py."""

from __future__ import annotations

import json
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import ops

from train.weights.bfloat16 import NAN, round_to_bfloat16

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "bfloat16.json").read_text())
FLOAT32 = np.array(GOLDEN["float32"], np.uint32).view(np.float32)
BFLOAT16 = np.array(GOLDEN["bfloat16"], np.uint16)


def test_rounding_is_that_of_pytorch() -> None:
    np.testing.assert_array_equal(round_to_bfloat16(FLOAT32), BFLOAT16)


def test_the_device_rounds_alike() -> None:
    rounded = ops.cast(ops.cast(ms.Tensor(FLOAT32), ms.bfloat16), ms.float32).asnumpy()
    np.testing.assert_array_equal(rounded.view(np.uint32) >> 16, BFLOAT16)


def test_golden_values_hold_every_kind_of_number() -> None:
    bits = FLOAT32.view(np.uint32)
    ties = (bits & 0xFFFF) == 0x8000
    assert {int(kept) & 1 for kept in bits[ties] >> 16} == {0, 1}, "ties below an even and an odd number"
    subnormal = (np.abs(FLOAT32) < np.finfo(np.float32).tiny) & (FLOAT32 != 0)
    assert np.any(subnormal & ties)
    becomes_infinite = np.isfinite(FLOAT32) & ((BFLOAT16 & 0x7FFF) == 0x7F80)
    assert np.any(becomes_infinite) and np.any(np.isinf(FLOAT32))
    assert {0x00000000, 0x80000000} <= set(bits.tolist())


def test_nan_stays_nan_whatever_its_payload() -> None:
    payloads = np.array([0x7F800001, 0x7FC00000, 0x7FFFFFFF, 0xFF800001, 0xFFFFFFFF], np.uint32).view(np.float32)
    assert np.isnan(payloads).all()
    assert round_to_bfloat16(payloads).tolist() == [NAN] * 5


def test_the_shape_is_kept() -> None:
    transposed = np.arange(6, dtype=np.float32).reshape(2, 3).T
    rounded = round_to_bfloat16(transposed)
    assert rounded.dtype == np.uint16
    np.testing.assert_array_equal((rounded.astype(np.uint32) << 16).view(np.float32), transposed)
    assert round_to_bfloat16(np.float32(1)).shape == ()
