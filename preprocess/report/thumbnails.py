"""Small pictures of rejected images. What broke a decoder once may do so again, so each is drawn where a crash or a
hang does no harm: as a stage of the executor.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile

from preprocess.errors import FatalError, Reason, SampleError
from preprocess.jobs.executor import Executor
from preprocess.jobs.stage import Signal
from preprocess.ledger import Reject
from preprocess.media.images import decode_rgb
from preprocess.media.sources import open_medium
from preprocess.sample import MediaSource
from shards.look.page import Picture, picture

SECONDS = 20.0  # that one picture may take
_SIDE = 160  # pixels
_MOST_PIXELS = 50_000_000  # 150 MB decoded
_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "ICO")  # none that runs programs
_ABOUT_A_MEDIUM = {
    Reason.UNDECODABLE,
    Reason.ASPECT_RATIO,
    Reason.DECOMPRESSION_BOMB,
    Reason.AMBIGUOUS_BOXES,
    Reason.NO_FRAMES_OR_RATE,
    Reason.TOO_FEW_FRAMES,
    Reason.CRASH,
    Reason.TIMEOUT,
}
_TURN = re.compile(r"\Aturn \d+: ")  # stands before the file where a box is wrong
_PARQUET_CELL = re.compile(r"(.*) \(row (\d+), (.*)\[(\d+)\]\)", re.DOTALL)


def source_of(reject: Reject) -> MediaSource | None:
    """The file that a reject is about: its detail begins with it. None where it is about no file, or that is gone."""
    if reject.reason not in _ABOUT_A_MEDIUM:
        return None
    detail = _TURN.sub("", reject.detail)
    for end in (match.start() for match in re.finditer(": |, ", detail)):
        name = detail[:end]
        cell = _PARQUET_CELL.fullmatch(name)
        try:
            if cell and Path(cell[1]).is_file():
                return MediaSource(path=cell[1], row=int(cell[2]), column=cell[3], item=int(cell[4]))
            if Path(name).is_file():
                return MediaSource(path=name)
        except (OSError, ValueError):  # no path could be written like this
            continue
    return None


def draw(source: MediaSource) -> Picture:
    """As much of an image as can be decoded. Raises SampleError, with what is wrong, or FatalError."""
    with open_medium(source) as file, _tolerance():
        try:
            Image.init()
            with Image.open(file, formats=[name for name in _FORMATS if name in Image.OPEN]) as image:
                if image.width * image.height > _MOST_PIXELS:
                    size = f"{image.width:,} x {image.height:,} pixels"
                    raise SampleError(Reason.DECOMPRESSION_BOMB, f"{size} are too many to draw")
                image.draft("RGB", (2 * _SIDE, 2 * _SIDE))
                return picture(np.asarray(decode_rgb(image)), _SIDE)
        except (SampleError, FatalError):
            raise
        except Exception as error:  # of any kind: the file is known to be bad
            raise SampleError(Reason.UNDECODABLE, f"no image that can be drawn ({type(error).__name__})") from None


@contextmanager
def _tolerance() -> Iterator[None]:
    """Cut images are drawn as far as they go; Pillow's warnings are not news."""
    before = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


@dataclass(frozen=True, kw_only=True)
class ThumbnailStage:
    """A job is one source; its result a picture, or what to say in place of it."""

    draw: Callable[[MediaSource], Picture] = draw

    def load(self) -> ThumbnailStage:
        return self

    def do_item(self, source: MediaSource) -> Picture:
        return self.draw(source)

    def do_job(
        self, source: MediaSource, do_item: Callable[[MediaSource], Picture], before_item: Signal
    ) -> Picture | str:
        before_item()
        try:
            return do_item(source)
        except SampleError as error:
            return error.detail
        except (FatalError, OSError) as error:
            return str(error)


def draw_rejects(
    rejects: Sequence[Reject], executor: Executor, stage: ThumbnailStage | None = None
) -> dict[Reject, Picture | str]:
    """For each reject a picture, or why there is none."""
    sources = {reject: source_of(reject) for reject in rejects}
    jobs = list(dict.fromkeys(source for source in sources.values() if source is not None))
    drawn = dict(executor.run(stage or ThumbnailStage(), jobs, lambda: None)) if jobs else {}
    return {reject: _no_source(reject) if source is None else drawn[source] for reject, source in sources.items()}


def _no_source(reject: Reject) -> str:
    if reject.reason in _ABOUT_A_MEDIUM:
        return "the file is not there any more, or the ledger does not name it"
    return "no file to draw" if reject.reason == Reason.MISSING_FILE else "about the record, not a picture"
