"""PNG files of any make, which Pillow would not write."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by type of colour
END_CHUNK = (b"IEND", b"")


def chunk(kind: bytes, content: bytes, damage: int = 0) -> bytes:
    checksum = zlib.crc32(kind + content) ^ damage
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def header(width: int, height: int, depth: int = 8, colour: int = 2, interlace: int = 0) -> bytes:
    return struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)


def filtered(
    width: int, height: int, colour: int, filters: Sequence[int], depth: int = 8, seed: int = 0
) -> npt.NDArray[np.uint8]:
    """Rows of noise, which is pixels whatever filter it is said to have gone through."""
    row_bytes = (width * CHANNELS[colour] * depth + 7) // 8
    rows = np.random.default_rng(seed).integers(0, 256, (height, 1 + row_bytes), dtype=np.uint8)
    rows[:, 0] = np.resize(filters, height)
    return rows


def png(head: bytes, deflated: bytes, *, parts: int = 1, before: bytes = b"", after: bytes | None = None) -> bytes:
    """`parts`: how many chunks the pixels are cut into. `after`: the chunks behind them, the end by default."""
    cuts = [len(deflated) * number // parts for number in range(parts + 1)]
    pixels = b"".join(chunk(b"IDAT", deflated[a:b]) for a, b in pairwise(cuts))
    behind = chunk(*END_CHUNK) if after is None else after
    return SIGNATURE + chunk(b"IHDR", head) + before + pixels + behind


def plain_png(width: int = 61, height: int = 47, colour: int = 2, filters: Sequence[int] = range(5)) -> bytes:
    rows = filtered(width, height, colour, filters)
    return png(header(width, height, colour=colour), zlib.compress(rows.tobytes()))
