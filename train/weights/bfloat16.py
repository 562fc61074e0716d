"""float32 -> bfloat16, which NumPy lacks: the upper half of a float32, kept as uint16. Loads no MindSpore."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

NAN = 0x7FC0


def round_to_bfloat16(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """Bits of the nearest bfloat16, the even one of two that are as near, in the same shape.

    IEEE 754's rule, as in PyTorch and on the device: the largest float32 values become infinite, subnormal numbers
    stay. Every NaN becomes 0x7FC0, since rounding could carry its payload into an infinity.
    """
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    # A half of the last place, less one bit where the kept part is even: a tie then goes down, to the even one.
    # The carry can't leave the 32 bits but from a NaN.
    rounded = ((bits + (0x7FFF + (bits >> 16 & 1))) >> 16).astype(np.uint16)
    return np.where(np.isnan(values), np.uint16(NAN), rounded).reshape(np.shape(values))
