"""WebP files through libwebp's plain decoder, into the buffer that is used again.

Pillow decodes every WebP file as an animation, whose frames go through four copies. Its libwebp is the one that is
called here, found by way of Pillow's own module, so that its version is the same. Pillow keeps the last word: only
files of one opaque picture are decoded here that Pillow opened as RGB, and whatever is odd or wrong is left to it.

Sources: libwebp's src/webp/decode.h, whose interface has been the same since 2013 (version 2 of its ABI); RFC 9649.
"""

from __future__ import annotations

import ctypes
import io
import struct
from functools import cache
from itertools import product

import numpy as np
from PIL import Image
from PIL.WebPImagePlugin import WebPImageFile

from preprocess.pixels.buffer import file_content, pixel_buffer
from preprocess.pixels.kernel import VARIABLE, wanted_loops
from preprocess.pixels.passes import Pixels

_ABI = 0x0200  # WEBP_DECODER_ABI_VERSION, of which the upper byte counts
_STILL = (1, 2)  # lossy, lossless; 0 is a mixture of both
_HEAD = 8  # bytes of a chunk before its content: kind, length
_PICTURES = (b"VP8 ", b"VP8L")
_NO_PIXELS = (b"VP8X", b"ICCP", b"EXIF", b"XMP ")


class _Features(ctypes.Structure):
    """WebPBitstreamFeatures."""

    _fields_ = [
        ("width", ctypes.c_int),
        ("height", ctypes.c_int),
        ("has_alpha", ctypes.c_int),
        ("has_animation", ctypes.c_int),
        ("format", ctypes.c_int),
        ("padding", ctypes.c_uint32 * 5),
    ]


def webp_content(image: Image.Image) -> memoryview | None:
    """The file's bytes, until the next call, if `decode_webp` may try it. May raise OSError."""
    if not isinstance(image, WebPImageFile) or image.mode != "RGB" or image.is_animated or why_pillow_decodes():
        return None
    assert image.fp is not None
    return file_content(image.fp)


def decode_webp(content: bytes | memoryview, mode: str, size: tuple[int, int]) -> Pixels | None:
    """(H, W, 4), not turned; None where the file is Pillow's to decode. `mode` is RGB, `size` width and height.

    The pixels stay only until the next call.
    """
    library, features, chunk = _library(), _Features(), _picture_chunk(content)
    if isinstance(library, str) or chunk is None:
        return None
    start, num_bytes = chunk
    data = np.frombuffer(content, np.uint8).ctypes.data + start
    if library.WebPGetFeaturesInternal(data, num_bytes, features, _ABI):
        return None
    is_still = features.format in _STILL and not features.has_animation and not features.has_alpha
    if not is_still or (features.width, features.height) != size:
        return None
    width, height = size
    buffer = pixel_buffer(width * height * 4)
    if buffer is None:
        return None
    done = library.WebPDecodeRGBAInto(data, num_bytes, buffer.ctypes.data, len(buffer), width * 4)
    return buffer.reshape(height, width, 4) if done else None


def _picture_chunk(content: bytes | memoryview) -> tuple[int, int] | None:
    """Where the only picture of a file begins, and its bytes: all that libwebp may see, as when it is an animation's.

    Of a whole file it would take what is behind a picture that ends early for the rest of it. None where the file has
    anything but pictures, profiles and metadata.
    """
    position, found = 12, None
    if len(content) < position or content[:4] != b"RIFF" or struct.unpack_from("<I", content, 4)[0] + 8 != len(content):
        return None
    while position + _HEAD <= len(content):
        kind, length = struct.unpack_from("<4sI", content, position)
        num_bytes = _HEAD + length + length % 2
        if position + num_bytes > len(content) or kind not in _PICTURES + _NO_PIXELS:
            return None
        if kind in _PICTURES:
            if found is not None:
                return None
            found = position, num_bytes
        position += num_bytes
    return found if position == len(content) else None


@cache
def why_pillow_decodes() -> str:
    """Empty where WebP files are decoded here; else why not, for the summary of a run."""
    if wanted_loops() == "pillow":
        return f"{VARIABLE}=pillow"
    library = _library()
    if isinstance(library, str):
        return library
    for number, (is_lossless, quality) in enumerate(product((False, True), (30, 80, 95))):
        noise = np.random.default_rng(number).integers(0, 256, (6, 5, 3), dtype=np.uint8)
        file = io.BytesIO()
        Image.fromarray(noise).resize((67, 45)).save(file, "WEBP", lossless=is_lossless, quality=quality, method=2)
        pixels = decode_webp(file.getvalue(), "RGB", (67, 45))
        if pixels is None or not np.array_equal(pixels[..., :3], np.asarray(Image.open(file))):
            return "libwebp decodes to other pixels than Pillow"
    return ""


@cache
def _library() -> ctypes.CDLL | str:
    """Pillow's libwebp; a string says why it can't be called."""
    try:
        from PIL import _webp
    except ImportError:
        return "Pillow was built without WebP"
    library = ctypes.CDLL(_webp.__file__)  # names are looked up in what it is linked with, too
    integer, pointer, size = ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t
    try:
        features, decode = library.WebPGetFeaturesInternal, library.WebPDecodeRGBAInto
    except AttributeError:
        return "Pillow's libwebp is a hidden part of Pillow"
    features.argtypes, features.restype = [pointer, size, ctypes.POINTER(_Features), integer], integer
    decode.argtypes, decode.restype = [pointer, size, pointer, size, integer], pointer
    return library
