"""Frames that golden values are of, drawn here and again in the tests: no codec stands between."""

from __future__ import annotations

import numpy as np


def draw(seed: int, num_frames: int, height: int, width: int) -> np.ndarray:
    """uint8 (frames, height, width, 3): a disc and stripes that move over a gradient, with noise of +-8."""
    random = np.random.RandomState(seed)
    y, x = np.mgrid[:height, :width]
    frames = np.empty((num_frames, height, width, 3), np.float64)
    for number in range(num_frames):
        disc = (y - height * 0.4) ** 2 + (x - width * (0.2 + 0.15 * number)) ** 2 < (min(height, width) * 0.25) ** 2
        stripes = (x + 3 * number) // 5 % 2 == 0
        frames[number, ..., 0] = np.where(disc, 250, 255 * x / width)
        frames[number, ..., 1] = np.where(stripes & (y > height // 2), 230, 20 + 0.5 * (255 * y / height))
        frames[number, ..., 2] = np.where(disc & stripes, 5, 128)
    noise = random.randint(-8, 9, frames.shape)
    return np.clip(np.rint(frames) + noise, 0, 255).astype(np.uint8)
