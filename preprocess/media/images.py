"""Images: measured by their header, decoded to upright RGB, resized with Pillow's bicubic filter.

What is special about formats stands in `pictures/`; the binding list of rules is in preprocess/README.md.
"""

from __future__ import annotations

import errno
import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, cast

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from preprocess.arithmetic.geometry import PixelLimits, grid_size
from preprocess.arithmetic.grids import image_grid
from preprocess.errors import FatalError, Reason, SampleError
from preprocess.media.pictures.headers import read_header
from preprocess.media.pictures.jpeg_end import with_end
from preprocess.media.pictures.opening import open_image
from preprocess.media.pictures.png_rows import lacks_rows, may_lack_rows
from preprocess.media.pictures.rules import PictureRules
from preprocess.media.pictures.upright import Decoded, Header, decode, upright_header
from preprocess.media.store import describe, naming, open_medium, open_stamped, read_error, reject_of
from preprocess.pixels import (
    choose_decoders,
    decode_directly,
    direct_file,
    jpeg_warning,
    resize_to_patches,
    turn_and_resize_to_patches,
)
from preprocess.pixels.passes import Pixels
from preprocess.sample import MeasuredImage, MediaSource, MediaStamp, Note
from shards import ModelConstants

_BY_DEFAULT = PictureRules()


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A decoded file: with the pixels that the file stores, still to be turned, or as Pillow does, upright."""

    header: Header
    stored: Pixels | None = None
    upright: Image.Image | None = None  # RGB or L
    note: Note | None = None


def measure_image(
    source: MediaSource,
    limits: PixelLimits,
    constants: ModelConstants,
    *,
    hash_content: bool = False,
    rules: PictureRules = _BY_DEFAULT,
) -> MeasuredImage:
    """Stamp, size and grid from the header; no pixel is decoded."""
    (height, width, orientation), stamp = measure_picture(source, hash_content=hash_content, rules=rules)
    with naming(source):
        grid = image_grid(height, width, limits, constants)
    return MeasuredImage(source=source, stamp=stamp, height=height, width=width, orientation=orientation, grid_thw=grid)


def measure_picture(
    source: MediaSource, *, hash_content: bool = False, rules: PictureRules = _BY_DEFAULT
) -> tuple[Header, MediaStamp]:
    """Upright height and width, orientation; and the stamp, of the same look. Raises SampleError or FatalError."""
    file, stamp = open_stamped(source, hash_content=hash_content)
    with file:
        try:
            size = read_header(file, rules.max_source_pixels)
        except OSError as error:
            raise read_error(source, error) from None
        if size is not None:
            return (*size, 1), stamp
        file.seek(0)
        with _opened(source, rules, io.BufferedReader(cast(io.RawIOBase, file))) as image:
            return upright_header(image), stamp


def encode_image(
    measured: MeasuredImage,
    constants: ModelConstants,
    rules: PictureRules = _BY_DEFAULT,
    on_note: Callable[[Note], object] = lambda _: None,
) -> npt.NDArray[np.uint8]:
    """Decode, resize to the planned grid, cut into patches: (gh * gw, 588). `on_note` hears how grey was decoded.

    Raises SampleError, or FatalError where the header says something else than when it was measured.
    """
    expected = measured.height, measured.width, measured.orientation
    picture = read_picture(measured.source, rules, expected)
    if picture.note is not None:
        on_note(picture.note)
    size = grid_size(measured.grid_thw, constants)
    if picture.stored is not None:
        return turn_and_resize_to_patches(picture.stored, measured.orientation, size, constants)
    assert picture.upright is not None
    return resize_to_patches(picture.upright, size, constants)


def read_picture(source: MediaSource, rules: PictureRules, expected: Header) -> Picture:
    """Decode a file whose header was `expected` when it was measured; what is `stored` stays until the next call.

    Raises SampleError, or FatalError where it is another one by now.
    """
    decoded = None
    choose_decoders()
    with _opened(source, rules) as image:
        header = upright_header(image)
        direct = direct_file(image)
        if direct is None:
            decoded, is_doubtful = _decode_by_pillow(image, header, rules)
    if header != expected:
        raise FatalError(
            f"{describe(source)}: it changed since it was measured; remove the output folder and run again"
        )
    if direct is not None:
        stored = decode_directly(direct)
        if stored is not None:
            return Picture(header=header, stored=stored)
        with _opened(source, rules) as image:  # whose pixels are for Pillow to judge
            decoded, is_doubtful = _decode_by_pillow(image, header, rules)
    assert decoded is not None
    _check_whole(source, rules, image, is_doubtful)
    return Picture(header=header, upright=decoded.pixels, note=decoded.note)


def _decode_by_pillow(image: Image.Image, header: Header, rules: PictureRules) -> tuple[Decoded, bool]:
    """And whether rows may be missing."""
    image.load()
    is_doubtful = isinstance(image, PngImageFile) and may_lack_rows(image)
    return decode(image, header, rules.grey_16), is_doubtful


def _check_whole(source: MediaSource, rules: PictureRules, image: Image.Image, is_doubtful: bool) -> None:
    """Raises SampleError for what Pillow fills up without a word."""
    if is_doubtful:
        with open_medium(source) as file:
            if lacks_rows(file):
                detail = "its pixels end before the size in its header; save it again from the original"
                raise reject_of(source, Reason.UNDECODABLE, detail)
    if isinstance(image, JpegImageFile):
        with _as_read(open_medium(source), rules) as file:
            warning = jpeg_warning(file.read())
        if warning:
            raise reject_of(source, Reason.UNDECODABLE, f"{warning}; save it again from the original")


def _as_read(file: IO[bytes], rules: PictureRules) -> IO[bytes]:
    return with_end(file) if rules.decoder == "lenient" else file


@contextmanager
def _opened(source: MediaSource, rules: PictureRules, opened: IO[bytes] | None = None) -> Iterator[Image.Image]:
    """Open an image; everything that its bytes can do wrong inside becomes a SampleError naming the file.

    `opened`: its bytes, where they are at hand. Only Pillow may be called inside: mistakes of our own would be taken
    for the image's.
    """
    with opened or open_medium(source) as file, warnings.catch_warnings(), _limit_of_pillow(rules.max_source_pixels):
        warnings.simplefilter("ignore")  # what matters is raised; Pillow also warns of odd but readable files
        try:
            with open_image(_as_read(file, rules)) as image:
                _check_size(image, rules.max_source_pixels)
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


@contextmanager
def _limit_of_pillow(most_pixels: int) -> Iterator[None]:
    """Pillow's own, which it also holds against pictures inside of pictures: it refuses twice as many."""
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = (most_pixels + 1) // 2
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _check_size(image: Image.Image, most_pixels: int) -> None:
    width, height = image.size
    if width * height > most_pixels:
        raise SampleError(
            Reason.DECOMPRESSION_BOMB,
            f"{width}x{height} pixels; at most {most_pixels:,} are decoded (max_source_pixels)",
        )
