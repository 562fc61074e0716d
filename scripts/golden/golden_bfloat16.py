"""float32 numbers and their bfloat16 in PyTorch, as bits: bfloat16.json."""

from __future__ import annotations

import numpy as np
import torch
from golden_files import origin, write_json

HIGHEST = 0x7F7F  # the largest finite bfloat16


def main() -> None:
    bits = np.unique(np.concatenate([edges(), ties(), random_numbers()]))
    values = torch.from_numpy(bits.view(np.float32))
    rounded = values.to(torch.bfloat16).view(torch.int16).numpy().view(np.uint16)
    write_json(
        "bfloat16.json",
        {
            "origin": origin("torch.Tensor.to(torch.bfloat16)", "torch"),
            "float32": bits.tolist(),
            "bfloat16": rounded.tolist(),
        },
    )


def edges() -> np.ndarray:
    """Zeros, infinities, the smallest and largest of every kind, and what lies beside the largest bfloat16."""
    positive = [0, 1, 0x7FFF, 0x8000, 0x8001, 0x007FFFFF, 0x00800000, 0x7F7FFFFF, 0x7F800000]
    overflow = HIGHEST << 16 | 0x8000  # half way to the next, which is infinite
    positive += [HIGHEST << 16, overflow - 1, overflow, overflow + 1]
    return with_signs(np.array(positive, np.uint32))


def ties() -> np.ndarray:
    """Half way between two neighbours, below an even and an odd one, and one bit to either side; subnormal ones too."""
    kept = np.array([0x0000, 0x0001, 0x0040, 0x007F, 0x0080, 0x3F80, 0x3F81, 0x3FFF, 0x4049, 0x7F7E], np.uint32)
    half = kept << 16 | 0x8000
    return with_signs(np.concatenate([half - 1, half, half + 1]))


def random_numbers() -> np.ndarray:
    """Any bits but those of NaN, whose payload PyTorch does not define."""
    bits = np.random.default_rng(16).integers(0, 1 << 32, 300, dtype=np.uint32)
    return bits[~np.isnan(bits.view(np.float32))]


def with_signs(bits: np.ndarray) -> np.ndarray:
    return np.concatenate([bits, bits | np.uint32(0x80000000)])


if __name__ == "__main__":
    main()
