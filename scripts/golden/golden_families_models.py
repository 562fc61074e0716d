"""Golden values of the other families, from PyTorch and transformers: tests/golden/families_models.npz.

For the tiny Qwen2-VL and Qwen3-VL of golden_families_models_case: loss and a sketch of every gradient for samples of
text, one image, several, a video, and both, and with tied embeddings; and fifty steps. Needs the extra `oracle`:
`python scripts/golden/golden_families_models.py`.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from golden_families_models_case import CONFIGS, join_sketches, make_family_packs, make_family_samples, tied
from golden_files import origin, write_arrays
from golden_model import build_model, run
from golden_model_case import Sample
from golden_training import train
from golden_training_case import CASES

TIED_SAMPLE = "mixed"


def main() -> None:
    arrays: dict[str, np.ndarray] = {}
    for family, config in CONFIGS.items():
        samples = make_family_samples(family)
        for name, sample in samples.items():
            arrays.update(measure(config, sample, f"{family}/{name}/"))
        arrays.update(measure(tied(config), samples[TIED_SAMPLE], f"{family}/tied/"))
        for key, values in train(build_model(config), CASES["full"], make_family_packs(family)).items():
            arrays[f"{family}/training/{key}"] = np.array(values)
        losses = arrays[f"{family}/training/loss"]
        print(f"{family}: loss {losses[0]:.4f} to {losses[-1]:.4f}")
    source = origin(
        "Qwen2VLForConditionalGeneration, Qwen3VLForConditionalGeneration: eager attention, float32, position_ids "
        "passed; AdamW, clip_grad_norm_, get_scheduler, one sample at a time",
        "torch",
        "transformers",
    )
    write_arrays("families_models.npz", source, arrays)


def measure(config: dict[str, Any], sample: Sample, prefix: str) -> dict[str, np.ndarray]:
    """loss, digest of the weights, `names` of all gradients, and `sketches` in their order."""
    arrays = run(build_model(config), sample, prefix)
    start = f"{prefix}gradient/"
    gradients = {key.removeprefix(start): values for key, values in arrays.items() if key.startswith(start)}
    rest = {key: values for key, values in arrays.items() if not key.startswith(start)}
    return {
        **rest,
        f"{prefix}names": np.array(json.dumps(sorted(gradients))),
        f"{prefix}sketches": join_sketches(gradients),
    }


if __name__ == "__main__":
    main()
