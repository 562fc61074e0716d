"""What the device does to stored bytes before the first layer."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest

from tests.train.golden_case import CONSTANTS
from train.models.qwen_vl.tower import mean_and_std, normalise


@pytest.mark.parametrize("compiled", [False, True])
def test_every_byte_of_every_channel_is_normalised_to_the_reference_bits(compiled: bool) -> None:
    """As transformers 4.57.1 does in NumPy: float32(u8) / 255, then mean, then standard deviation."""
    side = 256
    mean, std = mean_and_std(CONSTANTS, side)
    patches = np.tile(np.arange(256, dtype=np.uint8), (2, 3))
    run = ms.jit(normalise) if compiled else normalise
    ours = run(ms.Tensor(patches), mean, std).asnumpy()

    channels = patches.reshape(-1, 3, side).astype(np.float32) / np.float32(255)
    for channel in range(3):
        channels[:, channel] -= np.float32(CONSTANTS.image_mean[channel])
        channels[:, channel] /= np.float32(CONSTANTS.image_std[channel])
    reference = channels.reshape(patches.shape)
    assert ours.dtype == np.float32 and np.array_equal(ours, reference)

    product = patches.astype(np.float32) * np.float32(1 / 255)
    assert not np.array_equal((product - mean.asnumpy()) / std.asnumpy(), reference), "the test can't tell them apart"
