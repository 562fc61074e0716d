"""PNG files without Pillow: inflated in pieces that stay in the processor's cache, and unfiltered by the C library.

Pillow keeps the last word: only plain files are decoded here that Pillow opened as 8-bit RGB or grey, not interlaced,
not animated, without transparency, whose checksums are right and whose stream ends where the pixels do. Everything else
is left to Pillow, which then says what a reject is. What is behind the header's size is never inflated.

zlib-ng inflates, which is zlib's own code made faster and refuses what zlib refuses; without it zlib does. (isal takes
two thirds of its time, but takes incomplete Huffman codes, too, which Pillow rejects.) Sources: PNG specification,
clauses 5, 9 and 10; `unfilter.c`.
"""

from __future__ import annotations

import ctypes
import io
import struct
import zlib
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from preprocess.pixels.buffer import file_content, pixel_buffer
from preprocess.pixels.kernel import VARIABLE, library, wanted_loops
from preprocess.pixels.passes import Pixels

_CHANNELS = {"RGB": 3, "L": 1}
_PIECE = 1 << 16  # bytes, deflated or inflated, that are at work
_HEAD = 8  # bytes of a chunk before its content: length, kind
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


class _Unfilter(ctypes.Structure):
    """Mirrors `Unfilter` of unfilter.c."""

    _fields_ = [
        ("out", ctypes.c_void_p),
        ("above", ctypes.c_void_p),
        ("row", ctypes.c_void_p),
        ("row_bytes", ctypes.c_int64),
        ("rows_left", ctypes.c_int64),
        ("gathered", ctypes.c_int64),
        ("pixel_bytes", ctypes.c_int32),
    ]


def png_content(image: Image.Image) -> memoryview | None:
    """From the first chunk of pixels on, until the next call, if `decode_png` may try it. May raise OSError."""
    if not isinstance(image, PngImageFile) or not _is_plain(image) or why_pillow_decodes():
        return None
    width, height = image.size
    most = 2 * (width * _CHANNELS[image.mode] + 1) * height + _PIECE
    assert image.fp is not None
    return file_content(image.fp, image.tile[0][2] - _HEAD, most)


def _is_plain(image: PngImageFile) -> bool:
    """As Pillow opened it, and nothing of it was decoded yet."""
    return (
        image.mode in _CHANNELS
        and [(tile[0], tile[1], tile[3]) for tile in image.tile] == [("zip", (0, 0, *image.size), image.mode)]
        and image.custom_mimetype is None  # image/apng
        and not image.info.get("interlace")
        and "transparency" not in image.info
    )


def decode_png(content: bytes | memoryview, mode: str, size: tuple[int, int]) -> Pixels | None:
    """(H, W, 3) for mode RGB, (H, W) for L, not turned; None where the file is Pillow's to decode.

    `content` begins with the first chunk of pixels, `size` is width, height. The pixels stay only until the next call.
    """
    width, height = size
    channels = _CHANNELS[mode]
    unfilter, chunks = _unfilter_function(), _pixel_chunks(content)
    buffer = pixel_buffer(width * height * channels)
    if isinstance(unfilter, str) or chunks is None or buffer is None:
        return None
    row_bytes = width * channels
    above, row = np.zeros(row_bytes, np.uint8), np.empty(row_bytes + 1, np.uint8)
    state = _Unfilter(buffer.ctypes.data, above.ctypes.data, row.ctypes.data, row_bytes, height, 0, channels)
    try:
        for piece in _inflated(chunks):
            if unfilter(state, piece, len(piece)):
                return None
    except (zlib.error, ValueError, _inflating().error):
        return None
    if state.rows_left or state.gathered:
        return None
    return buffer.reshape((height, width, channels) if channels > 1 else (height, width))


def _pixel_chunks(content: bytes | memoryview) -> list[memoryview] | None:
    """The contents of chunks of pixels; None where a checksum is wrong, or others than the end follow them."""
    chunks: list[memoryview] = []
    position, whole = 0, memoryview(content)
    checksum = _inflating().crc32
    while position + _HEAD + 4 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, position)
        start, end = position + _HEAD, position + _HEAD + length
        if end + 4 > len(content) or checksum(whole[start - 4 : end]) != int.from_bytes(content[end : end + 4], "big"):
            return None
        if kind == b"IEND":
            return None if length else chunks
        if kind == b"IDAT":
            chunks.append(whole[start:end])
        else:
            return None
        position = end + 4
    return None


def _inflated(chunks: list[memoryview]) -> Iterator[bytes]:
    """Pieces of at most _PIECE bytes. Raises ValueError, or the error of zlib, where the stream is not whole."""
    inflate = _inflating().decompressobj()
    for deflated in _gathered(chunks):
        while deflated:  # to the end: the stream's checksum is read after its last byte was given
            yield inflate.decompress(deflated, _PIECE)
            deflated = inflate.unconsumed_tail
        if inflate.unused_data:
            raise ValueError("more than one stream")
    if not inflate.eof:
        raise ValueError("the stream ends early")


def _gathered(chunks: list[memoryview]) -> Iterator[bytes]:
    """The same bytes by at least _PIECE and less than twice as many: chunks may be of few bytes or of all."""
    waiting: list[memoryview] = []
    num_bytes = 0
    for chunk in chunks:
        for start in range(0, len(chunk), _PIECE):
            part = chunk[start : start + _PIECE]
            waiting.append(part)
            num_bytes += len(part)
            if num_bytes >= _PIECE:
                yield b"".join(waiting)
                waiting, num_bytes = [], 0
    yield b"".join(waiting)


@cache
def why_pillow_decodes() -> str:
    """Empty where PNG files are decoded here; else why not, for the summary of a run."""
    if wanted_loops() == "pillow":
        return f"{VARIABLE}=pillow"
    unfilter = _unfilter_function()
    if isinstance(unfilter, str):
        return unfilter
    for number, (mode, channels) in enumerate(_CHANNELS.items()):
        width, height = 67, 45
        rows = np.random.default_rng(number).integers(0, 256, (height, 1 + width * channels), dtype=np.uint8)
        rows[:, 0] = np.arange(height) % 5  # the filters; whatever bytes follow are pixels
        header = struct.pack(">IIBBBBB", width, height, 8, 2 if channels == 3 else 0, 0, 0, 0)
        pixels = _chunk(b"IDAT", zlib.compress(rows.tobytes())) + _chunk(b"IEND", b"")
        file = io.BytesIO(_SIGNATURE + _chunk(b"IHDR", header) + pixels)
        decoded = decode_png(pixels, mode, (width, height))
        if decoded is None or not np.array_equal(decoded, np.asarray(Image.open(file))):
            return "the C library decodes to other pixels than Pillow"
    return ""


def why_zlib_inflates() -> str:
    """Empty where zlib-ng inflates, or Pillow; else why it does not."""
    return "zlib-ng is not installed" if not why_pillow_decodes() and _inflating() is zlib else ""


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


@cache
def _inflating() -> Any:
    """The module of zlib-ng or of zlib, which are used alike."""
    try:
        from zlib_ng import zlib_ng
    except ImportError:
        return zlib
    return zlib_ng


@cache
def _unfilter_function() -> Any:
    """Of the C library; a string says why there is none."""
    loaded = library()
    if isinstance(loaded, str):
        return loaded
    try:
        function = loaded.pixels_unfilter
    except AttributeError:
        return "the C library is older than this version (run pip install again)"
    function.argtypes = [ctypes.POINTER(_Unfilter), ctypes.c_char_p, ctypes.c_int64]
    return function
