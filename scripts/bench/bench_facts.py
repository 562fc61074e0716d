"""The distribution of sample sizes that packing and planning are measured on."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

PACK_LENGTH = 4096
PATCHES_PER_TOKEN = 4  # of one visual token


def sample_sizes(num_samples: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Tokens and patches of each sample: images of 0 to 576 visual tokens, log-normal text."""
    rng = np.random.default_rng(0)
    visual = rng.choice([0, 64, 144, 256, 324, 400, 576], num_samples, p=[0.15, 0.05, 0.1, 0.2, 0.2, 0.15, 0.15])
    text = np.clip(rng.lognormal(4.8, 0.8, num_samples), 20, 3000).astype(int)
    tokens = np.minimum(visual + text, PACK_LENGTH)
    return tokens.astype(np.int32), (PATCHES_PER_TOKEN * visual).astype(np.int32)
