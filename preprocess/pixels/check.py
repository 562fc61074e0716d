"""The proof, on the machine at hand: what the C library resizes equals what Pillow resizes, and both speeds.

The look at the start of a run is a matter of milliseconds (`engine.py`); this one takes seconds.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from preprocess.pixels.direct import decoders_line, is_all_direct
from preprocess.pixels.engine import engine, resize_by
from preprocess.pixels.passes import Pixels, Size, by_pillow

_LARGEST = 900  # pixels a side: 500 trials take seconds
_PHOTO, _RESIZED = (1550, 2400), (532, 812)
_ROUNDS = 5


@dataclass(frozen=True, kw_only=True)
class PixelCheck:
    """What `check_pixels` found. `different` values of `values`; milliseconds for a photo of 2400 x 1550, or None."""

    line: str  # as `pixels_line` gives it
    trials: int
    values: int
    different: int
    pillow_ms: float
    kernel_ms: float | None

    @property
    def is_equal(self) -> bool:
        return not self.different


def pixels_line() -> str:
    """Who resizes and decodes in this process, and why, in one line for the summary of a run."""
    return f"{engine()}; {decoders_line()}"


def slower_line() -> str | None:
    """The same, where this process could be faster: Pillow resizes, or decodes what others do faster."""
    return None if engine().kernel is not None and is_all_direct() else pixels_line()


def check_pixels(num_trials: int = 500, seed: int = 0) -> PixelCheck:
    """Resize random images with both, and compare every value. Without the library nothing is compared."""
    kernel = engine().kernel
    values = different = 0
    for pixels, size in trials(num_trials if kernel else 0, seed):
        ours = resize_by(kernel, pixels, size) if kernel else None
        if ours is not None:
            theirs = by_pillow(pixels, size)
            values += sum(plane.size for plane in theirs)
            different += sum(int(np.count_nonzero(a != b)) for a, b in zip(ours, theirs, strict=True))
    photo = np.random.default_rng(seed).integers(0, 256, (*_PHOTO, 4), dtype=np.uint8)
    image = Image.fromarray(photo[..., :3])
    pillow_ms = _milliseconds(lambda: by_pillow(image, _RESIZED))
    kernel_ms = _milliseconds(lambda: resize_by(kernel, photo, _RESIZED)) if kernel else None
    return PixelCheck(
        line=pixels_line(),
        trials=num_trials if kernel else 0,
        values=values,
        different=different,
        pillow_ms=pillow_ms,
        kernel_ms=kernel_ms,
    )


def trials(number: int, seed: int, largest: int = _LARGEST) -> Iterator[tuple[Pixels, Size]]:
    """Random images and sizes: thin and wide, up and down, with one pass or two; RGB, RGBX and grey; noise, and black
    and white, which clipping meets most."""
    rng = np.random.default_rng(seed)
    for _ in range(number):
        height, width, new_height, new_width = np.exp2(rng.uniform(0, np.log2(largest), 4)).astype(int).tolist()
        kept = rng.integers(10)
        new_height, new_width = height if kept == 0 else new_height, width if kept == 1 else new_width
        channels = rng.choice([0, 3, 4])
        shape = (height, width, channels) if channels else (height, width)
        pixels = rng.integers(0, 256, shape, dtype=np.uint8)
        if rng.integers(2):
            pixels = np.where(pixels < 128, np.uint8(0), np.uint8(255))
        yield pixels, (new_height, new_width)


def _milliseconds(work: Callable[[], object]) -> float:
    times = []
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1000
