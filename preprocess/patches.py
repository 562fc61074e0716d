"""From pixels to patches, in the order in which the model's merger wants them.

The 2 x 2 patches that become one visual token are neighbours; the tokens run row by row:

    patch number   0  1 | 4  5        inside a patch   channel, (frame,) row, column
    in the image   2  3 | 6  7
                   -----+-----
                   8  9 |12 13
                  10 11 |14 15

Source: transformers 4.57.1, `Qwen2VLImageProcessor._preprocess`; values stay uint8 (see the README: why uint8).
Shape letters: F frames, H W pixels, gt gh gw patches, p patch side, m merge side, tp frames per patch.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from shards import ModelConstants


def patchify_image(image: npt.NDArray[np.uint8], constants: ModelConstants) -> npt.NDArray[np.uint8]:
    """(H, W, 3) -> (gh * gw, 3 * p * p). The model sees an image as tp equal frames; it is stored once."""
    height, width, _ = image.shape
    p, m = constants.patch_size, constants.merge_size
    patches = np.empty((height // (m * p), width // (m * p), m, m, 3, p, p), np.uint8)
    for channel in range(3):  # one at a time takes less than half the time of one copy of all
        cells = image[:, :, channel].reshape(height // (m * p), m, p, width // (m * p), m, p)
        patches[:, :, :, :, channel] = cells.transpose(0, 3, 1, 4, 2, 5)
    return patches.reshape(-1, constants.image_patch_bytes)


def patchify_video(frames: npt.NDArray[np.uint8], constants: ModelConstants) -> npt.NDArray[np.uint8]:
    """(F, H, W, 3) -> (gt * gh * gw, 3 * tp * p * p). The last frame is repeated to fill the last temporal patch."""
    tp, p, m = constants.temporal_patch_size, constants.patch_size, constants.merge_size
    missing = -len(frames) % tp
    if missing:
        frames = np.concatenate([frames, np.repeat(frames[-1:], missing, axis=0)])
    num_frames, height, width, _ = frames.shape
    cells = frames.reshape(num_frames // tp, tp, height // (m * p), m, p, width // (m * p), m, p, 3)
    return cells.transpose(0, 2, 5, 3, 6, 8, 1, 4, 7).reshape(-1, constants.video_patch_bytes)
