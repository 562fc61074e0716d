"""Memory that is used again, for a file and for its pixels: fresh memory costs a page fault for each 4 KB."""

from __future__ import annotations

import io
from typing import IO, cast

import numpy as np
import numpy.typing as npt

_MOST_KEPT = 1 << 28  # bytes: 67 megapixels
_Block = npt.NDArray[np.uint8]
_blocks: dict[str, _Block] = {}


def pixel_buffer(num_bytes: int) -> _Block | None:
    """`num_bytes` of any value, which are the caller's until the next call; None where that is more than is kept."""
    return _block("pixels", num_bytes)


def file_content(file: IO[bytes], position: int = 0, most: int = _MOST_KEPT) -> memoryview | None:
    """The bytes from `position` on, until the next call; None where they are more than `most`. The file is moved."""
    num_bytes = max(0, file.seek(0, io.SEEK_END) - position)
    block = _block("content", num_bytes) if num_bytes <= most else None
    if block is None:
        return None
    file.seek(position)
    content, done = memoryview(block.data), 0
    while done < num_bytes and (count := cast(io.BufferedIOBase, file).readinto(content[done:])):
        done += count
    return content[:done]


def _block(name: str, num_bytes: int) -> _Block | None:
    if num_bytes > _MOST_KEPT:
        return None
    if len(_blocks.get(name, ())) < num_bytes:
        _blocks[name] = np.empty(num_bytes, np.uint8)
    return _blocks.setdefault(name, np.empty(0, np.uint8))[:num_bytes]
