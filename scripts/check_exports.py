"""`python scripts/check_exports.py DIR`: do transformers and PEFT read what we write, and give the same logits?

DIR is made by tests/train/checkpoints/test_export.py from a model of the golden values, of any family:

    base/ exported/ merged/    model folders
    adapter/                   of base/
    logits.npz                 ours, of the sample "image": of `exported`, and of `adapter` (and so of `merged`)

Needs the extra `oracle`. Prints the largest difference of each; the exit code is 1 where it is above 1e-4.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from peft import PeftModel
from transformers import AutoModelForImageTextToText

sys.path.insert(0, str(Path(__file__).resolve().parent / "golden"))

from golden_model import model_inputs
from golden_model_case import make_samples

TOLERANCE = 1e-4


def main(folder: Path) -> int:
    with np.load(folder / "logits.npz") as ours:
        expected = {name: ours[name] for name in ours.files}
    with_adapter = PeftModel.from_pretrained(load(folder / "base"), str(folder / "adapter"))
    differences = {
        "exported": compare(load(folder / "exported"), expected["exported"]),
        "base + adapter": compare(with_adapter, expected["adapter"]),
        "merged": compare(load(folder / "merged"), expected["adapter"]),
    }
    for name, difference in differences.items():
        print(f"{name}: largest difference of a logit {difference:.1e}")
    return int(max(differences.values()) > TOLERANCE)


def load(folder: Path) -> torch.nn.Module:
    """Raises SystemExit where a weight was left out, or not recognised."""
    model, report = AutoModelForImageTextToText.from_pretrained(
        str(folder), dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    problems = {kind: names for kind, names in report.items() if names}
    if problems:
        raise SystemExit(f"error: {folder}: {problems}")
    return model.eval()


def compare(model: torch.nn.Module, expected: np.ndarray) -> float:
    with torch.no_grad():
        logits = model(**model_inputs(make_samples()["image"])).logits[0].numpy()
    return float(np.abs(logits - expected).max())


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
