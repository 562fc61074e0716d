"""How the learning rate changes: a linear warm-up, then a decay, as a factor of its highest value.

Pure functions of the step. All groups of parameters share the factor, and each has a highest value of its own. The
arithmetic is that of transformers 4.57.1 (`optimization.py`, `get_*_schedule_with_warmup`), where the first step has
index 0: with a warm-up its factor is 0. `constant` is `constant_with_warmup` there.
"""

from __future__ import annotations

import math

COSINE_WITH_MIN = "cosine_with_min_lr"
SCHEDULES = ("cosine", "linear", "constant", COSINE_WITH_MIN)


def warmup_steps_of(max_steps: int, *, warmup_ratio: float, warmup_steps: int | None) -> int:
    """Steps of the warm-up: those given, else the share of all steps, rounded up."""
    return warmup_steps if warmup_steps is not None else math.ceil(max_steps * warmup_ratio)


def factor_at(step: int, *, schedule: str, warmup_steps: int, max_steps: int, lowest: float = 0.0) -> float:
    """What the highest learning rate is multiplied by in optimizer step `step`, counted from 0.

    `lowest` is where `cosine_with_min_lr` ends; the others don't use it.
    """
    if step < warmup_steps:
        return step / warmup_steps
    if schedule == "constant":
        return 1.0
    decay_steps = max(1, max_steps - warmup_steps)
    if schedule == "linear":
        return max(0.0, (max_steps - step) / decay_steps)
    cosine = 0.5 * (1.0 + math.cos(math.pi * (step - warmup_steps) / decay_steps))
    if schedule == "cosine":
        return max(0.0, cosine)
    if schedule == COSINE_WITH_MIN:
        return max(0.0, cosine * (1.0 - lowest) + lowest)
    raise ValueError(f"schedule {schedule!r} is not one of {', '.join(SCHEDULES)}")
