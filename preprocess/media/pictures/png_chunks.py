"""A PNG file without its texts and its colour profile, which Pillow would inflate, and refuse where they are large.

Nothing of them is needed, but the orientation that some programs keep in texts. A PNG file is a signature and chunks
(length, kind, content, checksum); those that matter stay as they are, in their order (PNG specification, clause 5).
"""

from __future__ import annotations

import io
import struct
import zlib
from bisect import bisect_right
from itertools import accumulate
from typing import IO

SIGNATURE = b"\x89PNG\r\n\x1a\n"
ORIENTATION_KEYWORDS = (b"Raw profile type exif\0", b"XML:com.adobe.xmp\0")  # of texts that may hold one
LONGEST_KEYWORD = max(map(len, ORIENTATION_KEYWORDS))
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_PROFILE = b"iCCP"
_MOST_TEXT_BYTES = 1 << 20  # inflated: what Pillow takes
_MOST_RANGES = 1 << 16  # of a file; what is behind them stays, and is for Pillow to judge
_Range = tuple[int, int]  # first byte, and the one after the last


def without_metadata(file: IO[bytes]) -> IO[bytes]:
    """`file` itself where it is no PNG or has nothing to hide; both at their start. May raise OSError."""
    file.seek(0)
    is_png = file.read(len(SIGNATURE)) == SIGNATURE
    shown = _shown(file) if is_png else []
    file.seek(0)
    return io.BufferedReader(_Ranges(file, shown)) if len(shown) > 1 else file


def _shown(file: IO[bytes]) -> list[_Range]:
    """The ranges of the file that stay; what is behind a damaged chunk does, too."""
    num_bytes = file.seek(0, io.SEEK_END)
    shown, first, position = [], 0, len(SIGNATURE)
    while position + 12 <= num_bytes:
        file.seek(position)
        length, kind = struct.unpack(">I4s", file.read(8))
        end = position + 12 + length
        if end > num_bytes or kind == b"IEND":
            break
        if kind == _PROFILE or (kind in _TEXTS and not _may_have_orientation(file, kind, length)):
            if first < position:
                shown.append((first, position))
            first = end
            if len(shown) == _MOST_RANGES:
                break
        position = end
    return [*shown, (first, num_bytes)]


def _may_have_orientation(file: IO[bytes], kind: bytes, length: int) -> bool:
    """Of a text whose content begins where `file` stands, and which Pillow would take."""
    start = file.read(min(length, LONGEST_KEYWORD))
    keyword = next((each for each in ORIENTATION_KEYWORDS if start.startswith(each)), None)
    if keyword is None or length > _MOST_TEXT_BYTES:
        return False
    content = (start + file.read(length - len(start)))[len(keyword) :]
    if kind == b"tEXt":
        return True
    if kind == b"iTXt":  # flag and method of compression, language, translated keyword, text
        is_compressed, text = content[:1] == b"\1", b"\0".join(content[2:].split(b"\0", 2)[2:])
    else:
        is_compressed, text = True, content[1:]
    if not is_compressed:
        return True
    inflate = zlib.decompressobj()
    try:
        inflate.decompress(text, _MOST_TEXT_BYTES)
    except zlib.error:  # which Pillow takes for an empty text
        return True
    return not inflate.unconsumed_tail


class _Ranges(io.RawIOBase):
    """Some ranges of a file, one after another, as a file to read."""

    def __init__(self, file: IO[bytes], ranges: list[_Range]) -> None:
        self._file = file
        self._ranges = ranges
        self._starts = list(accumulate((end - start for start, end in ranges), initial=0))
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._starts[-1]}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        number = bisect_right(self._starts, self._position) - 1
        if number >= len(self._ranges):
            return 0
        start, end = self._ranges[number]
        offset = start + self._position - self._starts[number]
        self._file.seek(offset)
        content = self._file.read(min(len(buffer), end - offset)) or b""
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)
