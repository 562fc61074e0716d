"""JPEG files through libjpeg-turbo directly, without Pillow's copies, into one buffer that is used again.

Pillow keeps the last word: only whole files are decoded here that Pillow opened as RGB or grey, and whatever else than
pixels comes of it (a warning, an error, another size) leaves the file to Pillow, which then says what a reject is.
simplejpeg brings a libjpeg-turbo of its own, maybe of another version than Pillow's; so a look at a few small files at
the start must find the same pixels.
"""

from __future__ import annotations

import io
from functools import cache
from itertools import product

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from preprocess.errors import FatalError
from preprocess.pixels.buffer import file_content, pixel_buffer
from preprocess.pixels.kernel import VARIABLE, wanted_loops
from preprocess.pixels.passes import Pixels

_COLORSPACES = {"RGB": ("RGBX", 4), "L": ("GRAY", 1)}  # by Pillow's mode; bytes a pixel


def jpeg_content(image: Image.Image) -> memoryview | None:
    """The file's bytes, until the next call, if `decode_jpeg` may try it. May raise OSError."""
    if not isinstance(image, JpegImageFile) or image.mode not in _COLORSPACES or why_pillow_decodes():
        return None
    assert image.fp is not None
    return file_content(image.fp)


def decode_jpeg(content: bytes | memoryview, mode: str, size: tuple[int, int]) -> Pixels | None:
    """(H, W, 4) for mode RGB, (H, W) for L, not turned; None where the file is Pillow's to decode.

    `size` is width, height, as Pillow read them. The pixels stay only until the next call.
    """
    import simplejpeg

    colorspace, channels = _COLORSPACES[mode]
    width, height = size
    buffer = pixel_buffer(width * height * channels)
    if buffer is None:
        return None
    try:
        if simplejpeg.decode_jpeg_header(content)[:2] != (height, width):
            return None
        simplejpeg.decode_jpeg(content, colorspace, buffer=buffer)
    except ValueError:  # warnings of the library, too
        return None
    return buffer.reshape((height, width, 4) if channels == 4 else (height, width))


def jpeg_warning(content: bytes) -> str:
    """What libjpeg says of a file that it decodes all the same: that parts are missing or wrong. Empty if nothing.

    Pillow throws warnings away, so this is the only way to learn that a cut file with an end marker, or one whose
    header is larger than its data, is grey from there on. Takes as long as decoding. Raises FatalError without
    simplejpeg.
    """
    try:
        import simplejpeg
    except ImportError:
        raise FatalError("simplejpeg is not installed, and damaged JPEG files are found with it; install it") from None
    colorspace = "GRAY"
    try:
        if simplejpeg.decode_jpeg_header(content)[2] in ("CMYK", "YCCK"):
            colorspace = "CMYK"
        simplejpeg.decode_jpeg(content, colorspace)
        return ""
    except ValueError as error:
        warning = str(error)
    try:
        simplejpeg.decode_jpeg(content, colorspace, strict=False)
    except ValueError:  # no warning, but what simplejpeg can't do
        return ""
    return warning


@cache
def why_pillow_decodes() -> str:
    """Empty where JPEG files are decoded here; else why not, for the summary of a run."""
    if wanted_loops() == "pillow":
        return f"{VARIABLE}=pillow"
    try:
        import simplejpeg  # noqa: F401
    except ImportError:
        return "simplejpeg is not installed"
    for number, (mode, is_progressive, subsampling) in enumerate(product(_COLORSPACES, (False, True), (0, 1, 2))):
        noise = np.random.default_rng(number).integers(0, 256, (6, 5, 3), dtype=np.uint8)
        picture = Image.fromarray(noise).resize((67, 45)).convert(mode)
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=60 + number, progressive=is_progressive, subsampling=subsampling)
        pixels, expected = decode_jpeg(file.getvalue(), mode, picture.size), np.asarray(Image.open(file))
        if pixels is None or not np.array_equal(pixels[..., :3] if mode == "RGB" else pixels, expected):
            return "simplejpeg decodes to other pixels than Pillow"
    return ""
