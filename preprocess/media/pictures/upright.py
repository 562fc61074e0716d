"""An opened image -> which way is up, and upright pixels.

The EXIF orientation is applied, transparency composited on white, grey of 16 and 32 bits becomes 8 bits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import IMAGELENGTH, IMAGEWIDTH, TiffImageFile

from preprocess.arithmetic.geometry import TURNED_SIDEWAYS
from preprocess.errors import Reason, SampleError
from preprocess.media.pictures.headers import has_orientation_behind_pixels
from preprocess.media.pictures.rules import Grey16
from preprocess.sample import Note

Header = tuple[int, int, int]  # upright height and width in pixels, EXIF orientation (1 to 8)

_EXIF_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_MODES_16_BIT = {"I;16", "I;16B", "I;16L", "I;16N", "I"}
# For `grey_16: auto`: values below a bound lose so many bits.
_SHIFTS: tuple[tuple[int, int, Note], ...] = ((1 << 8, 0, "grey_as_is"), (1 << 12, 4, "grey_12_bits"))


def upright_header(image: Image.Image) -> Header:
    """From the header.

    Ask once: behind the pixels of a PNG the orientation can only be found by decoding, which closes the file.
    """
    width, height = image.size
    if isinstance(image, TiffImageFile):  # which may say the size that its pixels will have once they are turned
        width, height = image.tag_v2[IMAGEWIDTH], image.tag_v2[IMAGELENGTH]
    if min(width, height) < 1:
        raise SampleError(Reason.UNDECODABLE, f"its header says {width}x{height} pixels")
    orientation = _orientation(image)
    return (width, height, orientation) if orientation in TURNED_SIDEWAYS else (height, width, orientation)


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 (upright) where the file says none, or nothing that can be understood.

    Other fields may be broken: none is looked at.
    """
    if isinstance(image, PngImageFile) and image.fp is not None and _has_orientation_behind_pixels(image):
        image.load()
    try:
        # PngImageFile's own decodes all pixels to look behind them.
        orientation = Image.Image.getexif(image).get(_EXIF_ORIENTATION)
    except MemoryError:  # of the machine
        raise
    except OSError as error:
        if error.errno is not None:
            raise
        return 1
    except Exception:  # Pillow's parsers raise half a dozen kinds
        return 1
    return next((known for known in range(1, 9) if known == orientation), 1)


def _has_orientation_behind_pixels(image: PngImageFile) -> bool:
    file = image.fp
    assert file is not None
    before = file.tell()
    try:
        return has_orientation_behind_pixels(file)
    finally:
        file.seek(before)


@dataclass(frozen=True)
class Decoded:
    pixels: Image.Image  # RGB, or L where the file is grey, which is resized once instead of three times; upright
    note: Note | None = None  # how grey of more than 8 bits became 8, where the values decided


def decode_rgb(image: Image.Image) -> Image.Image:
    """Decode an opened image to upright RGB."""
    pixels = decode(image, upright_header(image)).pixels
    return pixels if pixels.mode == "RGB" else pixels.convert("RGB")  # converting copies


def decode(image: Image.Image, header: Header, grey_16: Grey16 = "auto") -> Decoded:
    """`header` is what `upright_header` says of it."""
    image.load()
    orientation = header[2]
    if isinstance(image, TiffImageFile):  # has turned itself by now
        orientation = _orientation(image)
    if orientation in _TURNS:
        image = image.transpose(_TURNS[orientation])
    if image.mode in _MODES_16_BIT:
        return _decode_grey_16(image, grey_16)
    if image.mode == "F":
        raise SampleError(Reason.UNDECODABLE, "pixels are floating-point numbers of unknown range; save as 8 bits")
    if image.has_transparency_data:
        with_alpha = image.convert("RGBA")
        white = Image.new("RGB", image.size, (255, 255, 255))
        white.paste(with_alpha, mask=with_alpha.getchannel("A"))
        return Decoded(white)
    return Decoded(image if image.mode in ("RGB", "L") else image.convert("RGB"))


def _decode_grey_16(image: Image.Image, grey_16: Grey16) -> Decoded:
    """Files of 16 bits often hold 8 or 12: their high bytes alone would be black without a word."""
    values = np.asarray(image).astype(np.int64)
    shift, note = 8, None
    if grey_16 == "auto":
        largest = int(values.max())
        bits = ((shift, note) for bound, shift, note in _SHIFTS if largest < bound)
        shift, note = next(bits, (8, "grey_high_byte"))
    return Decoded(Image.fromarray(np.clip(values >> shift, 0, 255).astype(np.uint8)), note)
