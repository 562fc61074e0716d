"""What the media wing calls: an image or a video, resized, as planes or straight into patches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

import numpy as np
import numpy.typing as npt
from PIL import Image

from preprocess.arithmetic.families import family_of
from preprocess.arithmetic.geometry import TURNED_SIDEWAYS
from preprocess.arithmetic.patches import Planes, patchify_image, patchify_video
from preprocess.pixels.engine import engine, resize_by
from preprocess.pixels.kernel import Axis, Kernel, Target
from preprocess.pixels.passes import Pixels, Size, axes, by_pillow, is_columns_first, pixels_of
from shards import ModelConstants

Patches = npt.NDArray[np.uint8]


def resize(pixels: Pixels | Image.Image, size: Size) -> Planes:
    """RGB or grey -> 3 times (height, width); the planes of a grey image are one."""
    kernel = engine().kernel
    planes = resize_by(kernel, _rows(pixels), size) if kernel else None
    return planes or by_pillow(pixels, size)


def resize_to_patches(pixels: Pixels | Image.Image, size: Size, constants: ModelConstants) -> Patches:
    """RGB or grey -> (gh * gw, 3 * p * p), the patches that `patchify_image` makes of what `resize` gives."""
    chosen = _chosen(pixels, size)
    if chosen is None:
        return patchify_image(by_pillow(pixels, size), constants)
    patches = np.empty((_num_patches(size, constants), constants.image_patch_bytes), np.uint8)
    order = is_columns_first(_source(pixels), size)
    _cut_into(patches, *chosen, _rows(pixels), constants, frames=1, frame=0, columns_first=order)
    return patches


def turn_and_resize_to_patches(pixels: Pixels, orientation: int, size: Size, constants: ModelConstants) -> Patches:
    """As `resize_to_patches` of the upright image, without turning its many pixels.

    `pixels` as the file stores them, `orientation` the EXIF number (1 to 8) of how to turn them, `size` upright. To
    resize a mirrored side is to take its weights the other way round; where rows are to be columns, the passes change
    places, and what is turned is the result.
    """
    if orientation == 1:
        return resize_to_patches(pixels, size, constants)
    is_transposed = orientation in TURNED_SIDEWAYS
    upright = pixels.shape[1::-1] if is_transposed else pixels.shape[:2]
    stored_size = size[::-1] if is_transposed else size
    kernel = engine().kernel
    x = kernel.axis(pixels.shape[1], stored_size[1], is_reversed=orientation in (2, 3, 7, 8)) if kernel else None
    y = kernel.axis(pixels.shape[0], stored_size[0], is_reversed=orientation in (3, 4, 6, 7)) if kernel else None
    if not (kernel and x and y and x.is_certain and y.is_certain):
        return resize_to_patches(_turned(pixels, orientation), size, constants)
    planes = np.empty((1 if pixels.ndim == 2 else 3, *stored_size), np.uint8)
    is_first = is_columns_first((upright[0], upright[1]), size) != is_transposed
    kernel.run(pixels, x, y, Target(planes.ctypes.data), is_columns_first=is_first)
    turned = [np.ascontiguousarray(plane.T) if is_transposed else plane for plane in planes]
    return patchify_image(turned if len(turned) == 3 else turned * 3, constants)


def _turned(pixels: Pixels, orientation: int) -> Pixels:
    if orientation in TURNED_SIDEWAYS:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels[:, ::-1] if orientation in (2, 3, 6, 7) else pixels)


def resize_video(frames: Iterable[Pixels], num_frames: int, size: Size, constants: ModelConstants) -> Patches:
    """`num_frames` frames of one size -> (gt * gh * gw, 3 * tp * p * p), as `patchify_video` cuts them.

    The family says which of the two passes is the first. Asks for one frame after the other, and keeps none. Raises
    ValueError where their sizes or number differ.
    """
    rows_first = family_of(constants.model_type).frames_rows_first()
    checked = _checked(frames, num_frames)
    first = next(checked)
    rest = chain([first], checked)
    chosen = _chosen(first, size)
    if chosen is None:
        resized = _rows_first_by_pillow if rows_first else by_pillow
        return patchify_video([resized(frame, size) for frame in rest], constants)
    order = not rows_first and is_columns_first(_source(first), size)
    tp, p, num_patches = constants.temporal_patch_size, constants.patch_size, _num_patches(size, constants)
    patches = np.empty((-(-num_frames // tp), num_patches, constants.video_patch_bytes), np.uint8)
    for number, frame in enumerate(rest):
        _cut_into(
            patches[number // tp], *chosen, _rows(frame), constants, frames=tp, frame=number % tp, columns_first=order
        )
    after_last = (num_frames - 1) % tp + 1  # in the last temporal patch, which the last frame fills up
    by_frame = patches[-1].reshape(num_patches, 3, tp, p, p)
    by_frame[:, :, after_last:] = by_frame[:, :, after_last - 1 : after_last]
    return patches.reshape(-1, constants.video_patch_bytes)


def _rows_first_by_pillow(pixels: Pixels, size: Size) -> Planes:
    """In two steps, so that no version of Pillow has the columns first."""
    one_step = by_pillow(pixels, (pixels.shape[0], size[1]))
    return by_pillow(np.stack(one_step, axis=-1), size)


def _checked(frames: Iterable[Pixels], num_frames: int) -> Iterator[Pixels]:
    number, shape = 0, None
    for number, frame in enumerate(frames, 1):
        shape = shape or frame.shape
        if frame.shape != shape or number > num_frames:
            raise ValueError(f"frame {number} of {num_frames} is {frame.shape}, the first one {shape}")
        yield frame
    if number != num_frames:
        raise ValueError(f"{number} frames instead of {num_frames}")


def _chosen(pixels: Pixels | Image.Image, size: Size) -> tuple[Kernel, tuple[Axis, Axis]] | None:
    """The library and the weights; None where Pillow must resize."""
    kernel = engine().kernel
    sides = axes(kernel, _source(pixels), size) if kernel else None
    return (kernel, sides) if kernel and sides else None


def _cut_into(
    patches: Patches,
    kernel: Kernel,
    sides: tuple[Axis, Axis],
    rows: Pixels,
    constants: ModelConstants,
    *,
    frames: int,
    frame: int,
    columns_first: bool,
) -> None:
    """Write one frame of (gh * gw, 3 * frames * p * p)."""
    x, y = sides
    target = Target(patches.ctypes.data, constants.patch_size, constants.merge_size, frames, frame)
    kernel.run(rows, x, y, target, is_columns_first=columns_first)


def _num_patches(size: Size, constants: ModelConstants) -> int:
    return size[0] * size[1] // constants.patch_size**2


def _source(pixels: Pixels | Image.Image) -> Size:
    return pixels.size[::-1] if isinstance(pixels, Image.Image) else (pixels.shape[0], pixels.shape[1])


def _rows(pixels: Pixels | Image.Image) -> Pixels:
    return pixels_of(pixels) if isinstance(pixels, Image.Image) else np.ascontiguousarray(pixels)
