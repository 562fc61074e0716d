"""Decoded frames -> upright RGB.

A display matrix maps the stored pixel (x, y) to the shown one: x' = a * x + c * y, y' = b * x + d * y, up to shifts.
Its nine integers are a, b, u, c, d, v, x, y, w (ISO/IEC 14496-12, 6.2.2; a to d are 16.16 fixed point). Eight matrices
move pixels to pixels; others (30 degrees, sheared) have no upright pixels without interpolation.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from preprocess.errors import Reason, SampleError

Frame = npt.NDArray[np.uint8]  # (H, W, 3) RGB, upright
_TOLERANCE = 1e-3  # 0.06 degrees


@dataclass(frozen=True, kw_only=True)
class Orientation:
    """Swap x and y first, then mirror what is left: one of eight."""

    is_sideways: bool = False
    flips_x: bool = False
    flips_y: bool = False

    @property
    def is_mirrored(self) -> bool:
        """Whether no rotation does it."""
        return self.is_sideways ^ self.flips_x ^ self.flips_y

    def apply(self, pixels: Frame) -> Frame:
        """(H, W, 3) as stored -> as shown; a view."""
        turned = pixels.transpose(1, 0, 2) if self.is_sideways else pixels
        return turned[:: -1 if self.flips_y else 1, :: -1 if self.flips_x else 1]


def orientation_of(frame: Any) -> Orientation:
    """By the display matrix of a PyAV frame. Raises SampleError (undecodable) for one that is none of the eight."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return Orientation()
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(matrix)[:36])
    straight, sideways = max(abs(a), abs(d)), max(abs(b), abs(c))
    small = _TOLERANCE * max(straight, sideways)
    if sideways <= small < min(abs(a), abs(d)):
        return Orientation(flips_x=a < 0, flips_y=d < 0)
    if straight <= small < min(abs(b), abs(c)):
        return Orientation(is_sideways=True, flips_x=c < 0, flips_y=b < 0)
    numbers = " ".join(f"{number / 65536:.4g}" for number in (a, b, c, d))
    raise SampleError(
        Reason.UNDECODABLE,
        f"its display matrix ({numbers}) is none of the eight turns by 90 degrees and mirrorings; encode it again",
    )


class ToRgb:
    """PyAV frames to upright RGB, through FFmpeg's own filter graph: `to_ndarray` interpolates chroma differently from
    decord and the ffmpeg program where the height is odd or samples have more than 8 bits.
    """

    def __init__(self) -> None:
        self._graph: Any = None
        self._orientation = Orientation()
        self._made_for: tuple[Any, ...] = ()

    def __call__(self, frame: Any) -> Frame:
        """(H, W, 3), turned and mirrored as the display matrix says."""
        properties = (frame.width, frame.height, frame.format.name, frame.rotation)
        if self._made_for != properties:
            # Only here, because a frame of PyAV whose side data was looked at refers to itself: it stays in memory
            # until Python collects its garbage, which can be hundreds of frames later.
            self._orientation = orientation_of(frame)
            self._graph, self._made_for = _rgb_graph(frame), properties
        self._graph.push(frame)
        return self._orientation.apply(self._graph.pull().to_ndarray())


def _rgb_graph(frame: Any) -> Any:
    import av

    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1, 1)
    )
    to_rgb, sink = graph.add("format", "pix_fmts=rgb24"), graph.add("buffersink")
    source.link_to(to_rgb)
    to_rgb.link_to(sink)
    graph.configure()
    return graph
