"""The distributions of sample sizes that packing and planning are measured on."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

Sizes = tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]  # tokens and patches of each sample

PACK_LENGTH = 4096
LONG_PACK_LENGTH = 32_768
PATCHES_PER_TOKEN = 4  # of one visual token


def sample_sizes(num_samples: int) -> Sizes:
    """Images of 0 to 576 visual tokens, log-normal text."""
    rng = np.random.default_rng(0)
    visual = rng.choice([0, 64, 144, 256, 324, 400, 576], num_samples, p=[0.15, 0.05, 0.1, 0.2, 0.2, 0.15, 0.15])
    text = np.clip(rng.lognormal(4.8, 0.8, num_samples), 20, 3000).astype(int)
    tokens = np.minimum(visual + text, PACK_LENGTH)
    return tokens.astype(np.int32), (PATCHES_PER_TOKEN * visual).astype(np.int32)


def distinct_sizes(num_samples: int) -> Sizes:
    """Any image with any text, up to PACK_LENGTH: hardly two samples are of equal size."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(1, PACK_LENGTH + 1, num_samples)
    patches = PATCHES_PER_TOKEN * rng.integers(0, PACK_LENGTH + 1, num_samples)
    return tokens.astype(np.int32), patches.astype(np.int32)


def opposite_sizes(num_samples: int) -> Sizes:
    """Hard to search, up to LONG_PACK_LENGTH: half are large images, which use up the patches and leave tokens; half
    are long text, none without a thumbnail."""
    rng = np.random.default_rng(0)
    is_image = rng.random(num_samples) < 0.5
    visual = np.where(is_image, rng.integers(1_000, 16_000, num_samples), 16)
    text = np.where(is_image, rng.integers(10, 300, num_samples), rng.integers(2_000, 32_000, num_samples))
    return (visual + text).astype(np.int32), (PATCHES_PER_TOKEN * visual).astype(np.int32)
