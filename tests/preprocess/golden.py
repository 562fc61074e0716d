"""Golden values of tests/golden, made from outside by scripts/make_golden.py, and what our arrays are compared with."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

GOLDEN = Path(__file__).parents[1] / "golden"


def read_golden(name: str) -> dict[str, Any]:
    return json.loads((GOLDEN / name).read_text(encoding="utf-8"))


def read_golden_arrays(name: str) -> dict[str, npt.NDArray[Any]]:
    with np.load(GOLDEN / name) as file:
        return {key: file[key] for key in file.files if key != "origin"}


def sha256(array: npt.NDArray[Any]) -> str:
    """Of the values' bytes, rows first, little-endian."""
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return hashlib.sha256(little.tobytes()).hexdigest()


def normalised(
    patches: npt.NDArray[np.uint8],
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    patch_size: int = 14,
) -> npt.NDArray[np.float32]:
    """(P, 588 or 1176) uint8 -> (P, 1176) float32, what the model is fed with: an image is two equal frames."""
    area = patch_size**2
    num_frames = patches.shape[1] // (3 * area)
    per_channel = patches.reshape(len(patches), 3, num_frames, area)
    if num_frames == 1:
        per_channel = np.repeat(per_channel, 2, axis=2)
    values = per_channel.astype(np.float32) / np.float32(255)
    for channel in range(3):
        values[:, channel] = (values[:, channel] - np.float32(mean[channel])) / np.float32(std[channel])
    return values.reshape(len(patches), 6 * area)
