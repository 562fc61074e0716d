"""Steps of PyTorch's AdamW with gradient clipping, and learning rates of transformers' schedules: optimizer.json."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from golden_files import origin, write_json
from transformers import get_scheduler

NUM_STEPS = 6
SHAPES = ({"matrix": (3, 4), "bias": (4,)}, {"slow.matrix": (2, 5), "slow.bias": (5,)})  # of two groups
SLOWNESS = (1, 8)  # what the learning rate of each group is divided by
MIN_LR_RATE = 0.1


def main() -> None:
    source = origin(
        "torch.optim.AdamW, torch.nn.utils.clip_grad_norm_, transformers.get_scheduler", "torch", "transformers"
    )
    adamw = [
        run_adamw(weight_decay=weight_decay, max_grad_norm=max_grad_norm)
        for weight_decay in (0.0, 0.1)
        for max_grad_norm in (0.0, 3.0)
    ]
    schedules = [
        run_schedule(name, warmup_steps=warmup_steps, max_steps=12)
        for name in ("cosine", "linear", "constant", "cosine_with_min_lr")
        for warmup_steps in (0, 4)
    ]
    write_json("optimizer.json", {"origin": source, "adamw": adamw, "schedules": schedules})


def run_adamw(*, weight_decay: float, max_grad_norm: float) -> dict[str, Any]:
    """Parameters after each step. Gradients differ in size, so that some steps are clipped and others not."""
    rng = np.random.default_rng(7)
    shapes = {name: shape for group in SHAPES for name, shape in group.items()}
    start = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    parameters = {name: torch.nn.Parameter(torch.from_numpy(value.copy())) for name, value in start.items()}
    optimizer = torch.optim.AdamW(
        [
            {"params": [parameters[name]], "weight_decay": 0.0 if name.endswith("bias") else weight_decay, "slow": slow}
            for group, slow in zip(SHAPES, SLOWNESS, strict=True)
            for name in group
        ]
    )
    steps = []
    for step in range(NUM_STEPS):
        learning_rate = 0.02 / (step + 1)
        size = (0.05, 4.0, 1e-6, 1.0, 30.0, 0.3)[step]
        gradients = {name: (rng.normal(size=shape) * size).astype(np.float32) for name, shape in shapes.items()}
        for name, parameter in parameters.items():
            parameter.grad = torch.from_numpy(gradients[name].copy())
        norm = torch.nn.utils.clip_grad_norm_(parameters.values(), max_grad_norm or float("inf"))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate / group["slow"]
        optimizer.step()
        steps.append(
            {
                "learning_rates": [learning_rate / slow for slow in SLOWNESS],
                "gradients": {name: value.tolist() for name, value in gradients.items()},
                "norm": norm.item(),
                "after": {name: parameter.detach().numpy().tolist() for name, parameter in parameters.items()},
            }
        )
    return {
        "weight_decay": weight_decay,
        "max_grad_norm": max_grad_norm,
        "groups": [list(group) for group in SHAPES],
        "start": {name: value.tolist() for name, value in start.items()},
        "steps": steps,
    }


def run_schedule(name: str, *, warmup_steps: int, max_steps: int) -> dict[str, Any]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = "constant_with_warmup" if name == "constant" else name
    extra = {"min_lr_rate": MIN_LR_RATE} if name == "cosine_with_min_lr" else {}
    scheduler = get_scheduler(
        theirs,
        optimizer,
        num_warmup_steps=warmup_steps,
        num_training_steps=max_steps,
        scheduler_specific_kwargs=extra,
    )
    factors = []
    for _ in range(max_steps):
        factors.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return {
        "name": name,
        "warmup_steps": warmup_steps,
        "max_steps": max_steps,
        "lowest": extra.get("min_lr_rate", 0.0),
        "factors": factors,
    }


if __name__ == "__main__":
    main()
