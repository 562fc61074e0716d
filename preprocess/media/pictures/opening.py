"""Bytes -> an opened image, by Pillow, of formats that are data."""

from __future__ import annotations

from typing import IO

from PIL import Image

from preprocess.media.pictures import heif
from preprocess.media.pictures.png_chunks import without_metadata

# Of Pillow's formats those that are data and have pixels: EPS runs Ghostscript, others are headers of something else.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "ICO", "JPEG2000", "QOI", "TGA", heif.FORMAT)


def open_image(file: IO[bytes]) -> Image.Image:
    """Raises what Pillow raises, or SampleError where a format needs what is not installed."""
    Image.init()
    file.seek(0)
    heif.prepare(file.read(heif.BOX_BYTES))
    return Image.open(without_metadata(file), formats=[name for name in _FORMATS if name in Image.OPEN])
