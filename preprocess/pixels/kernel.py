"""The C library: where it is, what it says about this processor, and how it is called.

It is an optional extension without Python in it: setuptools builds it where there is a compiler (`setup.py`), and
ctypes loads it, which releases the interpreter's lock for the length of a call.
"""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from preprocess.errors import ConfigError

VARIABLE = "QWEN_VL_PIXELS"  # unset: the fastest that there is; "pillow"; or the name of a set of loops
LOOPS = ("avx512-vbmi", "avx512-vnni", "avx2", "neon")  # as loops.h calls them
_LIBRARY = "resize.native.so"  # setup.py
_NOT_BUILT = "the C library was not built (install a C compiler, then run pip install again)"
_AXES_KEPT = 256  # photos come in few sizes; an axis of 4,000 pixels takes 50 KB


class Axis(ctypes.Structure):
    """One side of an image, before and after. Mirrors `Axis` of resize.c."""

    _fields_ = [
        ("size_in", ctypes.c_int32),
        ("size_out", ctypes.c_int32),
        ("taps", ctypes.c_int32),
        ("first", ctypes.c_void_p),
        ("weights", ctypes.c_void_p),
    ]
    arrays: tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]  # what the pointers point to
    is_certain: bool  # False: how Pillow rounded the weights depends on its compiler, or there is no pass to turn it


class Target(ctypes.Structure):
    """Where finished rows go. Mirrors `Target` of resize.c; `patch` 0 means planes."""

    _fields_ = [
        ("out", ctypes.c_void_p),
        ("patch", ctypes.c_int32),
        ("merge", ctypes.c_int32),
        ("frames", ctypes.c_int32),
        ("frame", ctypes.c_int32),
    ]


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """The library with its loops chosen."""

    library: ctypes.CDLL
    address: int  # of the loops, in the library
    loops: str  # their name

    def axis(self, size_in: int, size_out: int, *, is_reversed: bool = False) -> Axis:
        """`is_reversed`: the output begins at the last pixel of the input."""
        return _axis(self.library, size_in, size_out, is_reversed)

    def run(self, pixels: npt.NDArray[np.uint8], x: Axis, y: Axis, target: Target, *, is_columns_first: bool) -> None:
        """`pixels`: (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGB and an unused byte; rows are contiguous."""
        channels = 1 if pixels.ndim == 2 else pixels.shape[2]
        status = self.library.pixels_resize(
            self.address, pixels.ctypes.data, pixels.strides[0], channels, x, y, is_columns_first, target
        )
        if status:
            raise MemoryError(f"no memory to resize {x.size_in}x{y.size_in} pixels")


def load(wanted: str | None = None) -> Kernel | str:
    """The library with the fastest loops, or those called `wanted`; a string says why there is none."""
    loaded = library()
    if isinstance(loaded, str):
        return loaded
    address = loaded.pixels_loops(wanted.encode() if wanted else None)
    if address is None:
        return f"this processor has no {wanted}" if wanted else "this processor has neither AVX2 nor NEON"
    return Kernel(library=loaded, address=address, loops=loaded.pixels_name(address).decode())


def library() -> ctypes.CDLL | str:
    """The library, whatever the processor; a string says why there is none."""
    path = library_path()
    if not path.exists():
        return _NOT_BUILT
    try:
        return _open(path)
    except OSError as error:  # built for another machine
        return f"the C library can't be loaded ({error})"


def library_path() -> Path:
    return Path(__file__).with_name(_LIBRARY)


def wanted_loops() -> str | None:
    """What the environment asks for: None, "pillow", or one of LOOPS."""
    value = os.environ.get(VARIABLE) or None
    if value is not None and value not in ("pillow", *LOOPS):
        raise ConfigError(f"{VARIABLE}={value}: it may be pillow, {', '.join(LOOPS)}, or not set")
    return value


@cache
def _open(path: Path) -> ctypes.CDLL:
    library = ctypes.CDLL(str(path))
    integer, pointer = ctypes.c_int32, ctypes.c_void_p
    library.pixels_loops.argtypes, library.pixels_loops.restype = [ctypes.c_char_p], pointer
    library.pixels_name.argtypes, library.pixels_name.restype = [pointer], ctypes.c_char_p
    library.pixels_taps.argtypes = [integer, integer]
    library.pixels_weights.argtypes = [integer, integer, integer, pointer, pointer]
    axis = ctypes.POINTER(Axis)
    target = ctypes.POINTER(Target)
    library.pixels_resize.argtypes = [pointer, pointer, ctypes.c_int64, integer, axis, axis, integer, target]
    return library


@lru_cache(_AXES_KEPT)
def _axis(library: ctypes.CDLL, size_in: int, size_out: int, is_reversed: bool) -> Axis:
    if size_in == size_out:  # no pass along this side
        axis = Axis(size_in, size_out)
        axis.is_certain = not is_reversed
        return axis
    taps = library.pixels_taps(size_in, size_out)
    first, weights = np.empty(size_out, np.int32), np.empty((size_out, taps), np.int32)
    doubtful = library.pixels_weights(size_in, size_out, taps, first.ctypes.data, weights.ctypes.data)
    if doubtful < 0:
        raise MemoryError(f"no memory for the weights of {size_in} to {size_out} pixels")
    if is_reversed:
        first, weights = size_in - taps - first, np.ascontiguousarray(weights[:, ::-1])
    axis = Axis(size_in, size_out, taps, first.ctypes.data, weights.ctypes.data)
    axis.arrays, axis.is_certain = (first, weights), doubtful == 0
    return axis
