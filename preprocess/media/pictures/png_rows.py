"""Whether a PNG file holds all its pixels: Pillow leaves rows black, and says nothing, where the compressed stream ends
in good order but early.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import IO

from PIL import Image

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
# First column and row, and the steps between them, of Adam7's passes: PNG specification, 8.2.
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_PIECE = 1 << 20  # bytes


def may_lack_rows(image: Image.Image) -> bool:
    """Of a PNG as it was decoded, not turned: whether `lacks_rows` should look, which takes as long as inflating."""
    width, height = image.size
    last = image.crop((0, height - 1, width, height))
    return bool(image.info.get("interlace")) or last.getbbox(alpha_only=False) is None


def lacks_rows(file: IO[bytes]) -> bool:
    """Whether the pixels in a PNG file, inflated, are fewer bytes than its header promises."""
    file.seek(16)
    width, height, depth, colour, *_, interlace = struct.unpack(">IIBBBBB", file.read(13))
    bits = depth * _CHANNELS[colour]
    passes = _PASSES if interlace else ((0, 0, 1, 1),)
    expected = 0
    for left, top, step_x, step_y in passes:
        columns, rows = -(-(width - left) // step_x), -(-(height - top) // step_y)
        expected += rows * (1 + (columns * bits + 7) // 8) if columns > 0 else 0
    inflate = zlib.decompressobj()
    try:
        for piece in _pixel_chunks(file):
            while piece and expected > 0:
                expected -= len(inflate.decompress(piece, min(expected, _PIECE)))
                piece = inflate.unconsumed_tail
    except zlib.error:  # behind what Pillow needed, or Pillow had refused the file
        return False
    return expected > 0


def _pixel_chunks(file: IO[bytes]) -> Iterator[bytes]:
    file.seek(8)
    while len(header := file.read(8)) == 8:
        size, kind = struct.unpack(">I4s", header)
        if kind == b"IDAT":
            yield file.read(size)
            file.seek(4, 1)
        else:
            file.seek(size + 4, 1)
