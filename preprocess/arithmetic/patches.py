"""From pixels to patches, in the order in which the model's merger wants them.

The 2 x 2 patches that become one visual token are neighbours; the tokens run row by row:

    patch number   0  1 | 4  5        inside a patch   channel, (frame,) row, column
    in the image   2  3 | 6  7
                   -----+-----
                   8  9 |12 13
                  10 11 |14 15

Source: transformers 4.57.1, `Qwen2VLImageProcessor._preprocess`; values stay uint8 (see the README: why uint8).
Pixels come as colour planes, in which a row of a patch is one run of bytes: copying runs instead of single bytes takes
0.5 ms for a photo of 812 x 532 pixels, not 4.
Shape letters: F frames, H W pixels, gt gh gw patches, p patch side, m merge side, tp frames per patch.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from shards import ModelConstants

Planes = Sequence[npt.NDArray[np.uint8]]  # red, green, blue, (H, W) each


def patchify_image(image: Planes, constants: ModelConstants) -> npt.NDArray[np.uint8]:
    """3 times (H, W) -> (gh * gw, 3 * p * p). The model sees an image as tp equal frames; it is stored once."""
    return _cut([image], 1, constants).reshape(-1, constants.image_patch_bytes)


def patchify_video(frames: Sequence[Planes], constants: ModelConstants) -> npt.NDArray[np.uint8]:
    """F times 3 times (H, W) -> (gt * gh * gw, 3 * tp * p * p). The last frame fills up the last temporal patch."""
    tp = constants.temporal_patch_size
    missing = -len(frames) % tp
    return _cut([*frames, *[frames[-1]] * missing], tp, constants).reshape(-1, constants.video_patch_bytes)


def _cut(frames: Sequence[Planes], tp: int, constants: ModelConstants) -> npt.NDArray[np.uint8]:
    """Frames, a multiple of `tp`, all of one size -> (gt, gh / m, gw / m, m, m, 3, tp, p, p)."""
    p, m = constants.patch_size, constants.merge_size
    height, width = frames[0][0].shape
    gt, token_rows, token_columns = len(frames) // tp, height // (m * p), width // (m * p)
    row_of_patch = np.dtype((np.void, p))
    patches = np.empty((gt, token_rows, token_columns, m, m, 3, tp, p), row_of_patch)
    for number, frame in enumerate(frames):
        for channel, plane in enumerate(frame):
            cells = plane.view(row_of_patch).reshape(token_rows, m, p, token_columns, m)
            patches[number // tp, ..., channel, number % tp, :] = cells.transpose(0, 3, 1, 4, 2)
    return patches.view(np.uint8)
