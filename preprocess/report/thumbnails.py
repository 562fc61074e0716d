"""Small pictures of rejected images. What broke a decoder once may do so again, so each is drawn where a crash or a
hang does no harm: as a stage of the executor.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from PIL import ImageFile

from preprocess.errors import FatalError, Reason, SampleError
from preprocess.jobs.executor import Executor
from preprocess.jobs.stage import Signal
from preprocess.ledger import Reject
from preprocess.media.cache import MediaCache
from preprocess.media.cache import use as use_cache
from preprocess.media.pictures.opening import open_image
from preprocess.media.pictures.upright import decode_rgb
from preprocess.media.store import open_medium, stamp_of
from preprocess.sample import MediaSource
from shards.look.page import Picture, picture

SECONDS = 20.0  # that one picture may take
_SIDE = 160  # pixels
_MOST_PIXELS = 50_000_000  # 150 MB decoded
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


def source_of(reject: Reject) -> MediaSource | None:
    """The medium that a reject is about. None where it is about none, or the plan is of before it kept them."""
    return reject.source if reject.reason in _ABOUT_A_MEDIUM else None


def draw(source: MediaSource) -> Picture:
    """As much of an image as can be decoded. Raises SampleError, with what is wrong, or FatalError."""
    stamp_of(source)  # refuses what is no regular file any more, which could keep a reader waiting
    with open_medium(source) as file, _tolerance():
        try:
            with open_image(file) as image:
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
    media_cache: MediaCache | None = None  # of the run, where its archives have their indexes

    def load(self) -> ThumbnailStage:
        if self.media_cache is not None:
            use_cache(self.media_cache)
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
) -> list[Picture | str]:
    """For each reject, whose source must be known for that, a picture, or why there is none."""
    sources = [source_of(reject) for reject in rejects]
    jobs = list(dict.fromkeys(source for source in sources if source is not None))
    drawn = dict(executor.run(stage or ThumbnailStage(), jobs, lambda: None)) if jobs else {}
    return [
        _no_source(reject) if source is None else drawn[source] for reject, source in zip(rejects, sources, strict=True)
    ]


def _no_source(reject: Reject) -> str:
    if reject.reason in _ABOUT_A_MEDIUM:
        return "the plan does not say which file it was"
    return "no file to draw" if reject.reason == Reason.MISSING_FILE else "about the record, not a picture"
