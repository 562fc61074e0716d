"""Who resizes in this process: the C library, or Pillow and why. Decided once, by trying."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import PIL

from preprocess.errors import ConfigError
from preprocess.pixels.kernel import VARIABLE, Kernel, Target, load, wanted_loops
from preprocess.pixels.passes import Pixels, Size, axes, by_pillow, is_columns_first

# (source, size), height before width: both orders of the passes of each version of Pillow; up and down; one pass.
_TRIALS: tuple[tuple[Size, Size], ...] = (
    ((61, 83), (28, 42)),
    ((90, 31), (20, 28)),
    ((330, 3), (56, 28)),
    ((19, 23), (56, 28)),
    ((40, 28), (28, 28)),
    ((28, 70), (28, 56)),
)


@dataclass(frozen=True, kw_only=True)
class Engine:
    """`kernel` is None where Pillow resizes; `reason` says why."""

    kernel: Kernel | None
    reason: str

    def __str__(self) -> str:
        pillow = f"Pillow {PIL.__version__}"
        if self.kernel is None:
            return f"pixels are resized by {pillow}, which takes several times as long as the C library: {self.reason}"
        return f"pixels are resized by the C library ({self.kernel.loops}), to the bit as {pillow} does"


@cache
def engine() -> Engine:
    """What resizes in this process. Raises ConfigError where the environment asks for what there is not."""
    wanted = wanted_loops()
    if wanted == "pillow":
        return Engine(kernel=None, reason=f"{VARIABLE}=pillow")
    found = load(wanted)
    if isinstance(found, str):
        if wanted:
            raise ConfigError(f"{VARIABLE}={wanted}: {found}")
        return Engine(kernel=None, reason=found)
    if different := first_difference(found):
        return Engine(kernel=None, reason=f"its bytes differ from Pillow's ({different})")
    return Engine(kernel=found, reason="")


def resize_by(kernel: Kernel, pixels: Pixels, size: Size) -> list[Pixels] | None:
    """RGB or grey -> 3 planes (height, width), those of a grey image being one; None where only Pillow can tell."""
    sides = axes(kernel, (pixels.shape[0], pixels.shape[1]), size)
    if sides is None:
        return None
    is_grey = pixels.ndim == 2
    planes = np.empty((1 if is_grey else 3, *size), np.uint8)
    order = is_columns_first((pixels.shape[0], pixels.shape[1]), size)
    kernel.run(pixels, *sides, Target(planes.ctypes.data), is_columns_first=order)
    return list(planes) * 3 if is_grey else list(planes)


def first_difference(kernel: Kernel) -> str:
    """Empty, or the first of a few small images that the library resizes otherwise than Pillow; takes milliseconds."""
    rng = np.random.default_rng(0)
    for source, size in _TRIALS:
        noise = rng.integers(0, 256, (*source, 4), dtype=np.uint8)
        black_and_white = np.where(noise < 128, np.uint8(0), np.uint8(255))  # which is clipped most
        for pixels in (noise, noise[..., :3].copy(), noise[..., 0].copy(), black_and_white):
            ours, theirs = resize_by(kernel, pixels, size), by_pillow(pixels, size)
            if ours is not None and not np.array_equal(ours, theirs):
                return f"{source[1]}x{source[0]} to {size[1]}x{size[0]}"
    return ""
