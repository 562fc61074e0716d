"""Images: measured by their header, decoded to upright RGB, resized with Pillow's bicubic filter.

Decoding rules (the binding list is in preprocess/README.md): EXIF orientation applied, transparency composited on
white, 16-bit grey shifted to 8 bits, the first frame of animations.
"""

from __future__ import annotations

import errno
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, cast

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import IMAGELENGTH, IMAGEWIDTH, TiffImageFile

from preprocess.arithmetic.geometry import TURNED_SIDEWAYS, PixelLimits, grid_size
from preprocess.arithmetic.grids import image_grid
from preprocess.errors import FatalError, Reason, SampleError
from preprocess.media.headers import has_orientation_behind_pixels, read_header
from preprocess.media.png_rows import lacks_rows, may_lack_rows
from preprocess.media.store import describe, naming, open_medium, open_stamped, read_error, reject_of
from preprocess.pixels import decode_jpeg, jpeg_content, jpeg_warning, resize_to_patches, turn_and_resize_to_patches
from preprocess.sample import MeasuredImage, MediaSource
from shards import ModelConstants

# Of Pillow's formats those that are data and have pixels: EPS runs Ghostscript, others are headers of something else.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "ICO", "JPEG2000", "QOI", "TGA")
_EXIF_ORIENTATION = 0x0112
_MODES_16_BIT = {"I;16", "I;16B", "I;16L", "I;16N", "I"}


def measure_image(
    source: MediaSource, limits: PixelLimits, constants: ModelConstants, *, hash_content: bool = False
) -> MeasuredImage:
    """Stamp, size and grid from the header; no pixel is decoded."""
    file, stamp = open_stamped(source, hash_content=hash_content)
    with file:
        try:
            size = read_header(file)
        except OSError as error:
            raise read_error(source, error) from None
        if size is not None:
            (height, width), orientation = size, 1
        else:
            file.seek(0)
            with _opened(source, io.BufferedReader(cast(io.RawIOBase, file))) as image:
                height, width, orientation = _upright(image)
    with naming(source):
        grid = image_grid(height, width, limits, constants)
    return MeasuredImage(source=source, stamp=stamp, height=height, width=width, orientation=orientation, grid_thw=grid)


def encode_image(measured: MeasuredImage, constants: ModelConstants) -> npt.NDArray[np.uint8]:
    """Decode, resize to the planned grid, cut into patches: (gh * gw, 588).

    Raises SampleError, or FatalError where the header says something else than when it was measured.
    """
    pixels, is_doubtful = None, False
    with _opened(measured.source) as image:
        header = _upright(image)
        jpeg = jpeg_content(image)
        if jpeg is None:
            image.load()
            is_doubtful = isinstance(image, PngImageFile) and may_lack_rows(image)
            pixels = _decode(image)
    if header != (measured.height, measured.width, measured.orientation):
        name = describe(measured.source)
        raise FatalError(f"{name}: it changed since it was measured; remove the output folder and run again")
    size = grid_size(measured.grid_thw, constants)
    if jpeg is not None:
        stored = decode_jpeg(jpeg, image.mode, image.size)
        if stored is not None:
            return turn_and_resize_to_patches(stored, measured.orientation, size, constants)
        with _opened(measured.source) as image:  # whose pixels are for Pillow to judge
            pixels = _decode(image)
    if is_doubtful:
        with open_medium(measured.source) as file:
            if lacks_rows(file):
                detail = "its pixels end before the size in its header; save it again from the original"
                raise reject_of(measured.source, Reason.UNDECODABLE, detail)
    if isinstance(image, JpegImageFile):
        with open_medium(measured.source) as file:
            warning = jpeg_warning(file.read())
        if warning:
            raise reject_of(measured.source, Reason.UNDECODABLE, f"{warning}; save it again from the original")
    assert pixels is not None
    return resize_to_patches(pixels, size, constants)


def open_image(file: IO[bytes]) -> Image.Image:
    """An image of one of the formats that are read. Raises what Pillow raises."""
    Image.init()
    return Image.open(file, formats=[name for name in _FORMATS if name in Image.OPEN])


def _upright(image: Image.Image) -> tuple[int, int, int]:
    """Height and width after the EXIF orientation, and the orientation, from the header.

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
    """The EXIF orientation, 1 to 8; 1 (upright) where the file says none or nonsense."""
    if isinstance(image, PngImageFile) and not _has_orientation_behind_pixels(image):
        exif = Image.Image.getexif(image)  # PngImageFile's decodes all pixels to look behind them
    else:
        exif = image.getexif()
    orientation = exif.get(_EXIF_ORIENTATION)
    return next((known for known in range(1, 9) if known == orientation), 1)


def _has_orientation_behind_pixels(image: PngImageFile) -> bool:
    file = image.fp
    assert file is not None
    before = file.tell()
    try:
        return has_orientation_behind_pixels(file)
    finally:
        file.seek(before)


def decode_rgb(image: Image.Image) -> Image.Image:
    """Decode an opened image to upright RGB."""
    pixels = _decode(image)
    return pixels if pixels.mode == "RGB" else pixels.convert("RGB")  # converting copies


def _decode(image: Image.Image) -> Image.Image:
    """To upright RGB, or grey where the file is, which is resized once instead of three times."""
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode in _MODES_16_BIT:
        high_bytes = np.asarray(image).astype(np.int64) >> 8
        return Image.fromarray(np.clip(high_bytes, 0, 255).astype(np.uint8))
    if image.mode == "F":
        raise SampleError(Reason.UNDECODABLE, "pixels are floating-point numbers of unknown range; save as 8 bits")
    if image.has_transparency_data:
        with_alpha = image.convert("RGBA")
        white = Image.new("RGB", image.size, (255, 255, 255))
        white.paste(with_alpha, mask=with_alpha.getchannel("A"))
        return white
    return image if image.mode in ("RGB", "L") else image.convert("RGB")


@contextmanager
def _opened(source: MediaSource, opened: IO[bytes] | None = None) -> Iterator[Image.Image]:
    """Open an image; everything that its bytes can do wrong inside becomes a SampleError naming the file.

    `opened`: its bytes, where they are at hand. Only Pillow may be called inside: mistakes of our own would be taken
    for the image's.
    """
    with opened or open_medium(source) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what matters is raised; Pillow also warns of odd but readable files
        try:
            with open_image(file) as image:
                yield image
        except SampleError as error:
            raise reject_of(source, error.reason, error.detail) from None
        except Image.DecompressionBombError as error:
            raise reject_of(source, Reason.DECOMPRESSION_BOMB, str(error)) from None
        except UnidentifiedImageError:  # an OSError whose message is about the file object
            raise reject_of(source, Reason.UNDECODABLE, "not an image, or its header is damaged") from None
        except MemoryError:  # of the machine, which says nothing about the image
            raise
        except OSError as error:
            if error.errno not in (None, errno.EINVAL):  # EINVAL: a damaged file made Pillow seek to before its start
                raise read_error(source, error) from None
            raise reject_of(source, Reason.UNDECODABLE, str(error)) from None
        except Exception as error:  # Pillow's plugins raise a dozen kinds, depending on which byte is wrong
            raise reject_of(source, Reason.UNDECODABLE, f"{type(error).__name__}: {error}") from None
