"""The learning rate of each step: a linear warm-up, then a decay. Pure functions of the step.

The arithmetic is that of transformers 4.57.1 (`optimization.py`, `get_*_schedule_with_warmup`), where the first step
has index 0: with a warm-up its rate is 0. `constant` is `constant_with_warmup` there.
"""

from __future__ import annotations

import math

SCHEDULES = ("cosine", "linear", "constant")


def warmup_steps_of(max_steps: int, *, warmup_ratio: float, warmup_steps: int | None) -> int:
    """Steps of the warm-up: those given, else the share of all steps, rounded up."""
    return warmup_steps if warmup_steps is not None else math.ceil(max_steps * warmup_ratio)


def learning_rate_at(step: int, *, peak: float, schedule: str, warmup_steps: int, max_steps: int) -> float:
    """Learning rate of optimizer step `step`, counted from 0."""
    return peak * _factor(step, schedule, warmup_steps, max_steps)


def _factor(step: int, schedule: str, warmup_steps: int, max_steps: int) -> float:
    if step < warmup_steps:
        return step / warmup_steps
    if schedule == "constant":
        return 1.0
    decay_steps = max(1, max_steps - warmup_steps)
    if schedule == "linear":
        return max(0.0, (max_steps - step) / decay_steps)
    if schedule == "cosine":
        return max(0.0, 0.5 * (1.0 + math.cos(math.pi * (step - warmup_steps) / decay_steps)))
    raise ValueError(f"schedule {schedule!r} is not one of {', '.join(SCHEDULES)}")
