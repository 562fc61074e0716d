"""One image through Pillow's bicubic filter, by the C library or by Pillow itself.

The pass along the columns comes first, or that along the rows, as the installed version of Pillow has it; what stands
between them is rounded to 8 bits, so one value in a hundred depends on it:

| Pillow | columns first where |
| --- | --- |
| 10.1 to 12.1 | nowhere |
| 12.2 | the source is over 100 times as tall as wide, and gets lower |
| 13 | the height shrinks, and by more than twice of what the width shrinks by |
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import PIL
import pyarrow as pa
from PIL import Image

from preprocess.arithmetic.patches import Planes
from preprocess.pixels.kernel import Axis, Kernel

Pixels = npt.NDArray[np.uint8]  # (H, W) grey, (H, W, 3) RGB, or (H, W, 4): RGB and an unused byte, as Pillow keeps it
Size = tuple[int, int]  # height, width, pixels
_ARROW_FROM = (13, 0)  # 12.2 ends the process with a segmentation fault where the image lies in a buffer not its own


def by_pillow(pixels: Pixels | Image.Image, size: Size) -> Planes:
    """RGB or grey -> 3 times (height, width); the planes of a grey image are one."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(_without_unused(pixels))
    height, width = size
    resized = image.resize((width, height), resample=Image.Resampling.BICUBIC)
    planes = [
        np.frombuffer(resized.tobytes("raw", channel), np.uint8).reshape(height, width)
        for channel in resized.mode  # RGB or L
    ]
    return planes if len(planes) == 3 else planes * 3


def axes(kernel: Kernel, source: Size, size: Size) -> tuple[Axis, Axis] | None:
    """For x and for y; None where how Pillow rounded a weight can't be told, so that Pillow must resize."""
    x, y = kernel.axis(source[1], size[1]), kernel.axis(source[0], size[0])
    return (x, y) if x.is_certain and y.is_certain else None


def is_columns_first(source: Size, size: Size) -> bool:
    return _rule(PIL.__version__)(*source, *size)


def pixels_of(image: Image.Image) -> Pixels:
    """RGB or grey image -> (H, W, 3 or 4) or (H, W), read-only; a view of Pillow's memory where that is one block."""
    width, height = image.size
    shape = (height, width, 4) if image.mode == "RGB" else (height, width)
    image.load()
    if _release(PIL.__version__) >= _ARROW_FROM and not image.readonly:
        try:
            values = pa.array(image)
        except ValueError:  # several blocks: over 16 MB
            return np.asarray(image)
        values = values.values if image.mode == "RGB" else values
        return values.to_numpy(zero_copy_only=True).reshape(shape)
    return np.asarray(image)


def _without_unused(pixels: Pixels) -> Pixels:
    return pixels[..., :3] if pixels.ndim == 3 else pixels


def _rule(version: str) -> Callable[[int, int, int, int], bool]:
    release = _release(version)
    if release >= (13, 0):
        return _columns_first_in_13
    return _columns_first_in_12_2 if release >= (12, 2) else _never


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2])


def _columns_first_in_13(height_in: int, width_in: int, height: int, width: int) -> bool:
    return height_in - height > max(0, 2 * (width_in - width))


def _columns_first_in_12_2(height_in: int, width_in: int, height: int, width: int) -> bool:
    return height_in > 100 * width_in and height < height_in


def _never(height_in: int, width_in: int, height: int, width: int) -> bool:
    return False
