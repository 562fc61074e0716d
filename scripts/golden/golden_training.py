"""Golden training curves, from PyTorch, transformers and PEFT: tests/golden/training.npz, adapter_start/, adapter/.

Fifty steps of the tiny model of golden_model_case, all of it and with LoRA: loss, gradient norm and learning rate of
every step. Samples go through the model one by one, never packed. PEFT makes the adapter: its start, from which both
sides train, and its end, with the logits it gives. Needs the extra `oracle`:
`python scripts/golden/golden_training.py`.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence

import numpy as np
import torch
from golden_files import GOLDEN, origin, write_arrays
from golden_model import build_model, model_inputs
from golden_model_case import CONFIG, IGNORE_INDEX, Sample, make_samples
from golden_training_case import (
    CASES,
    MAX_GRAD_NORM,
    NUM_STEPS,
    PACKS_PER_STEP,
    WARMUP_STEPS,
    WEIGHT_DECAY,
    Case,
    make_packs,
)
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from transformers import get_scheduler

INIT_SEED = 5
TARGETS = (
    "q_proj,k_proj,v_proj,o_proj",
    "gate_proj,attn.proj,mlp.0",
    "language_model.layers.1.self_attn.q_proj,lm_head",
    r"model\.visual\.blocks\.[02]\.attn\..*",
    "all-linear",
)


def main() -> None:
    arrays: dict[str, np.ndarray] = {}
    for name, case in CASES.items():
        model = build_model(CONFIG)
        if case.adapter:
            targets = list(case.adapter.target_modules)
            model = adapt(model, targets, r=case.adapter.r, alpha=case.adapter.alpha)
            save_adapter(model, "adapter_start")
        for key, values in train(model, case).items():
            arrays[f"{name}/{key}"] = np.array(values)
        print(f"{name}: loss {arrays[f'{name}/loss'][0]:.4f} to {arrays[f'{name}/loss'][-1]:.4f}")
        if case.adapter:
            save_adapter(model, "adapter")
            arrays["adapter/modules"] = np.array(json.dumps(modules_by_targets()))
            arrays["adapter/logits"] = logits_of(model, make_samples()["image"]).detach().numpy()
    source = origin(
        "Qwen2_5_VLForConditionalGeneration, AdamW, clip_grad_norm_, get_scheduler, LoraConfig: float32, "
        "one sample at a time, loss = sum / supervised tokens of the step",
        "torch",
        "transformers",
        "peft",
    )
    write_arrays("training.npz", source, arrays)


def modules_by_targets() -> dict[str, list[str]]:
    """The paths of the modules that PEFT adapts, by `target_modules`."""
    modules = {}
    for targets in TARGETS:
        is_list = targets != "all-linear" and "*" not in targets
        model = adapt(build_model(CONFIG), targets.split(",") if is_list else targets, r=2, alpha=2)
        adapted = [name for name, module in model.base_model.model.named_modules() if hasattr(module, "lora_A")]
        modules[targets] = sorted(adapted)
    return modules


def adapt(model: torch.nn.Module, targets: Sequence[str], *, r: int, alpha: int) -> PeftModel:
    torch.manual_seed(INIT_SEED)
    config = LoraConfig(
        r=r,
        lora_alpha=alpha,
        target_modules=targets,
        bias="none",
        task_type=TaskType.CAUSAL_LM,
    )
    return get_peft_model(model, config)


def save_adapter(model: PeftModel, name: str) -> None:
    folder = GOLDEN / name
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(str(folder))
    (folder / "README.md").unlink()
    config = json.loads((folder / "adapter_config.json").read_text())
    config["target_modules"].sort()  # PEFT writes a set
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")


def train(model: torch.nn.Module, case: Case, packs: list[list[Sample]] | None = None) -> dict[str, list[float]]:
    """loss, grad_norm (before clipping), learning_rate and num_label_tokens of each step."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(
        [
            {"params": [each for each in parameters if each.ndim > 1], "weight_decay": WEIGHT_DECAY},
            {"params": [each for each in parameters if each.ndim == 1], "weight_decay": 0.0},
        ],
        lr=case.learning_rate,
    )
    schedule = get_scheduler("cosine", optimizer, num_warmup_steps=WARMUP_STEPS, num_training_steps=NUM_STEPS)
    packs = packs or make_packs()
    record: dict[str, list[float]] = {"loss": [], "grad_norm": [], "learning_rate": [], "num_label_tokens": []}
    for step in range(NUM_STEPS):
        samples = [sample for pack in packs[step * PACKS_PER_STEP :][:PACKS_PER_STEP] for sample in pack]
        num_label_tokens = sum(int((sample.labels[1:] != IGNORE_INDEX).sum()) for sample in samples)
        optimizer.zero_grad()
        losses = []
        for sample in samples:
            loss = loss_sum_of(model, sample) / num_label_tokens
            loss.backward()
            losses.append(loss.item())
        record["loss"].append(math.fsum(losses))
        record["grad_norm"].append(torch.nn.utils.clip_grad_norm_(parameters, MAX_GRAD_NORM).item())
        record["learning_rate"].append(schedule.get_last_lr()[0])
        record["num_label_tokens"].append(num_label_tokens)
        optimizer.step()
        schedule.step()
    return record


def loss_sum_of(model: torch.nn.Module, sample: Sample) -> torch.Tensor:
    targets = torch.from_numpy(sample.labels).long()[1:]
    return torch.nn.functional.cross_entropy(
        logits_of(model, sample)[:-1], targets, ignore_index=IGNORE_INDEX, reduction="sum"
    )


def logits_of(model: torch.nn.Module, sample: Sample) -> torch.Tensor:
    """(tokens, vocab_size)"""
    return model(**model_inputs(sample)).logits[0]


if __name__ == "__main__":
    main()
