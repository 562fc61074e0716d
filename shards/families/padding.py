"""Arrays of fixed size: each value is written once, be it a pack's or padding."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Int32 = npt.NDArray[np.int32]


def fill(out: npt.NDArray[Any], array: npt.NDArray[Any], what: str, padding: int = 0) -> None:
    """`array` along the first axis of `out`, then padding. Raises ValueError where there is no room."""
    check_room(len(array), len(out), what)
    out[: len(array)] = array
    out[len(array) :] = padding


def fill_keys(out: Int32, first: int, last: int) -> None:
    """The same range for every query. By column: NumPy is slow where the innermost axis has two elements."""
    out[..., 0] = first
    out[..., 1] = last


def check_room(number: int, room: int, what: str) -> None:
    """Raises ValueError."""
    if number > room:
        raise ValueError(f"a pack has {number} {what}, the batch has room for {room}: it is of another dataset")
