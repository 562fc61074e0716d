"""Sizes of plain images, read from the first bytes of a file in a tenth of the time that Pillow takes.

Pillow alone decides what is a reject and which way is up: `read_header` only knows files of which it is certain that
Pillow opens them, finds the same size, and finds no orientation. It leaves everything else to Pillow: what is damaged
or odd, what has EXIF or XMP or a profile that must be unpacked, headers that are longer than HEAD_BYTES.

Sources: ITU-T T.81 annex B (JPEG), ISO/IEC 15948 clauses 5 and 11 (PNG), RFC 9649 and RFC 6386 section 9.1 (WebP), and
what Pillow 12.1 to 13.0 does with each segment and chunk.
"""

from __future__ import annotations

import struct
import zlib
from typing import IO

from PIL import features

from preprocess.media.pictures.png_chunks import LONGEST_KEYWORD, ORIENTATION_KEYWORDS, SIGNATURE
from preprocess.media.pictures.rules import MOST_SOURCE_PIXELS

HEAD_BYTES = 4096
_JPEG_START = b"\xff\xd8\xff"
_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended and progressive Huffman coding
_TABLES = (0xC4, 0xDD, 0xFE)  # Huffman tables, restart interval, comment: Pillow skips them
_START_OF_SCAN, _QUANTIZATION, _ADOBE = 0xDA, 0xDB, 0xEE
_PNG_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}  # by type of colour
_PNG_CHUNKS = {b"sRGB": 1, b"gAMA": 4, b"pHYs": 9, b"cHRM": 32, b"tIME": 7}  # and their lengths
_MOST_PALETTE_BYTES = 3 * 256


def read_header(file: IO[bytes], most_pixels: int = MOST_SOURCE_PIXELS) -> tuple[int, int] | None:
    """Height and width of an upright image, or None where Pillow must look. `file` stands at its start; it is moved.

    Above `most_pixels` Pillow refuses. May raise OSError.
    """
    head = file.read(HEAD_BYTES) or b""
    try:
        if head.startswith(_JPEG_START):
            size = _jpeg_size(head)
        elif head.startswith(SIGNATURE):
            size = _png_size(head, file)
        elif head.startswith(b"RIFF"):
            size = _webp_size(head, file)
        else:
            return None
    except (struct.error, IndexError):  # behind the end of the head
        return None
    return size if size is not None and 0 < size[0] * size[1] <= most_pixels else None


def _jpeg_size(head: bytes) -> tuple[int, int] | None:
    position, size = 2, None
    while True:
        if head[position] != 0xFF:
            return None
        marker, length = struct.unpack_from(">BH", head, position + 1)
        start, end = position + 4, position + 2 + length  # of the content
        if length < 2 or end > len(head):
            return None
        if marker == _START_OF_SCAN:
            return size
        if marker in _FRAMES:
            precision, height, width, layers = struct.unpack_from(">BHHB", head, start)
            if size is not None or precision != 8 or layers not in (1, 3) or length != 8 + 3 * layers:
                return None
            size = height, width
        elif not (marker in _TABLES or _is_plain_segment(marker, head[start:end])):
            return None
        position = end


def _is_plain_segment(marker: int, content: bytes) -> bool:
    """Whether Pillow reads such tables without a word, or takes nothing from the segment that matters here."""
    if marker == _QUANTIZATION:  # 8-bit tables
        return len(content) % 65 == 0 and all(content[start] < 16 for start in range(0, len(content), 65))
    if marker == 0xE0:
        return content.startswith(b"JFIF\0") and len(content) >= 14
    if marker == 0xE2:  # one whole profile, which Pillow only keeps
        return content.startswith(b"ICC_PROFILE\0\1\1")
    return marker == _ADOBE and content.startswith(b"Adobe") and len(content) == 12


def _png_size(head: bytes, file: IO[bytes]) -> tuple[int, int] | None:
    position = len(SIGNATURE)
    size, color = None, -1
    while True:
        length, kind = struct.unpack_from(">I4s", head, position)
        if kind == b"IDAT":
            break
        start, end = position + 8, position + 8 + length
        content = head[start:end]
        if struct.unpack_from(">I", head, end)[0] != zlib.crc32(content, zlib.crc32(kind)):
            return None
        if kind == b"IHDR":
            width, height, depth, color, compression, kind_of_filter, interlace = struct.unpack(">IIBBBBB", content)
            if size is not None or compression or kind_of_filter or interlace > 1:
                return None
            if depth not in _PNG_DEPTHS.get(color, ()):
                return None
            size = height, width
        elif kind == b"PLTE":
            if length % 3 or not 0 < length <= _MOST_PALETTE_BYTES:
                return None
        elif kind == b"tRNS":
            if length > 256 or color not in (0, 2, 3) or (color != 3 and length != 2 * (color + 1)):
                return None
        elif _PNG_CHUNKS.get(kind) != length and not (kind == b"tEXt" and content.startswith(b"Software\0")):
            return None
        position = end + 4
    return None if size is None or has_orientation_behind_pixels(file, position) else size


def has_orientation_behind_pixels(file: IO[bytes], position: int = len(SIGNATURE)) -> bool:
    """Whether a PNG chunk that may hold an orientation follows the pixels; steps from chunk to chunk.

    From that at `position` on; the file is moved.
    """
    seen_pixels = False
    while True:
        file.seek(position)
        start = file.read(8 + LONGEST_KEYWORD) or b""
        if len(start) < 8:  # the end, or cut off, which the pixels show
            return False
        length, kind = struct.unpack_from(">I4s", start)
        seen_pixels |= kind == b"IDAT"
        if seen_pixels and (kind == b"eXIf" or start[8 : 8 + length].startswith(ORIENTATION_KEYWORDS)):
            return True
        position += 12 + length


def _webp_size(head: bytes, file: IO[bytes]) -> tuple[int, int] | None:
    """Of a file of one frame and nothing else, which is whole: the library that Pillow uses wants all of it."""
    riff, form, kind, length = struct.unpack_from("<I4s4sI", head, 4)
    num_bytes = file.seek(0, 2)
    if form != b"WEBP" or riff + 8 != num_bytes or riff != 12 + length + length % 2 or not features.check("webp"):
        return None
    if kind == b"VP8 ":
        tag = int.from_bytes(head[20:23], "little")
        is_shown_key_frame, profile, first_partition = tag & 1 == 0 and bool(tag >> 4 & 1), tag >> 1 & 7, tag >> 5
        if not is_shown_key_frame or profile > 3 or first_partition >= length or head[23:26] != b"\x9d\x01\x2a":
            return None
        width, height = struct.unpack_from("<HH", head, 26)
        return height & 0x3FFF, width & 0x3FFF
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", head, 21)[0]
        if head[20] != 0x2F or bits >> 29:  # signature; version 0
            return None
        return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    return None
