"""The adapter that PEFT trained (scripts/golden/golden_training.py), and the flags that make one like it."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import numpy as np

from tests.train.golden_case import ROOT
from train.adapters.lora import Adapters, add_adapters
from train.models.trained import TrainedModel

from golden_training_case import CASES  # isort: skip  (tests.train.golden_case makes scripts/ importable)

GOLDEN = ROOT / "tests" / "golden"
START = GOLDEN / "adapter_start"
TRAINED = GOLDEN / "adapter"
ADAPTER = CASES["lora"].adapter
assert ADAPTER
TARGETS = ",".join(ADAPTER.target_modules)


@cache
def golden_training() -> dict[str, Any]:
    with np.load(GOLDEN / "training.npz") as file:
        return {name: file[name] for name in file.files}


def modules_by_targets() -> dict[str, list[str]]:
    """What PEFT adapts, by `lora_target_modules`."""
    return json.loads(str(golden_training()["adapter/modules"]))


def adapt(
    model: TrainedModel,
    *,
    targets: str = TARGETS,
    r: int = ADAPTER.r,
    alpha: int = ADAPTER.alpha,
    dropout: float = 0.0,
    seed: int = 1,
) -> Adapters:
    return add_adapters(model, targets, base_model="base", r=r, alpha=alpha, dropout=dropout, seed=seed)
