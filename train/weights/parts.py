"""A weight that ranks share: every rank holds one part of its values, flat. Loads no MindSpore.

The values, in the order of memory, are cut into as many parts of one length as there are ranks; zeros fill up the last
ones. So every number of ranks works, and a part is a contiguous range of the bytes of a file.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, kw_only=True)
class Part:
    """Part `rank` of `num_parts` of a tensor of `shape`."""

    shape: tuple[int, ...]
    rank: int
    num_parts: int
    gather: Callable[[Any], Any]  # outside of graphs: (length,) of every rank -> (num_parts * length,)

    @property
    def num_values(self) -> int:
        """Of the whole."""
        return math.prod(self.shape)

    @property
    def length(self) -> int:
        """Values of a part, filled up."""
        return -(-self.num_values // self.num_parts)

    @property
    def padding(self) -> int:
        """Zeros behind the values of the whole."""
        return self.length * self.num_parts - self.num_values

    @property
    def bounds(self) -> tuple[int, int]:
        """First value of this part, and the one after its last that is no filling."""
        first = min(self.rank * self.length, self.num_values)
        return first, min(first + self.length, self.num_values)

    def fill(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The values within `bounds` -> (length,) in an array of its own."""
        part = np.zeros(self.length, np.float32)
        part[: len(values)] = values
        return part

    def join(self, parameter: Any) -> npt.NDArray[np.float32]:
        """The whole, of what every rank holds: all must ask at once."""
        values: npt.NDArray[np.float32] = self.gather(parameter).asnumpy()
        return values[: self.num_values].reshape(self.shape)


@dataclass(frozen=True, kw_only=True)
class HeldPart:
    """What a process holds of a weight, to be had without the other ranks."""

    first: int  # value of the whole, in the order of memory
    last: int  # exclusive
    read: Callable[[], npt.NDArray[Any]]  # (last - first,)


def part_of(parameter: Any) -> Part | None:
    """Which part `parameter` is; None where it is whole in this process."""
    return getattr(parameter, "part", None)


def whole_shape(parameter: Any) -> tuple[int, ...]:
    part = part_of(parameter)
    return part.shape if part else tuple(parameter.shape)
