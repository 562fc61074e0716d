"""One step of the tiny model at every `zero_stage`, against the numbers of stored.json.

The numbers are those of CPU and one process, which the tests hold equal to PyTorch's; scripts/make_doctor_numbers.py
wrote them. The packs of the step are the same for any number of ranks: they take turns, and empty packs fill up.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from shards.batch import make_batch
from train.arguments import STAGES
from train.cluster.collectives import all_gather, reduce_scatter
from train.cluster.world import World
from train.doctor.findings import Finding, failed, ok
from train.doctor.tiny import CONSTANTS, build_tiny, make_packs, shape_of, values_of
from train.models.precision import BFLOAT16, FLOAT32, Precision
from train.models.sharing import Sharing, sharing
from train.models.trained import GROUPS
from train.steps.optimizer import AccumulateGradients, AdamW
from train.steps.step import to_device
from train.steps.zero import AccumulateOnRanks, UpdateOnRanks

STORED = Path(__file__).with_name("stored.json")
_LEARNING_RATE = 1e-3
# Relative. The last is that of products rounded to bfloat16 (8 bits) against float32; on Ascend float32 ones may be
# rounded to HF32 (10 bits).
_LIMITS = {("CPU", FLOAT32): 1e-5, ("Ascend", FLOAT32): 5e-3, ("Ascend", BFLOAT16): 3e-2}


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """What a step gives, whatever the stage and the number of ranks."""

    loss_sum: float  # over the supervised tokens of all packs
    grad_norm: float
    loss_sum_after: float  # of the same packs, with the weights that the step made
    change_llm: float  # norm of what the step did to the weights of a group
    change_mlp: float
    change_vision: float


@dataclass(frozen=True, kw_only=True)
class Step:
    numbers: Numbers
    compile_seconds: float
    seconds: float


def check(world: World) -> Iterator[Finding]:
    stored = Numbers(**json.loads(STORED.read_text(encoding="utf-8")))
    precisions = (FLOAT32, BFLOAT16) if world.device == "Ascend" else (FLOAT32,)
    for precision in precisions:
        for stage in STAGES:
            yield compare(make_one_step(stage, world, precision), stored, stage, world.device, precision)


def compare(step: Step, stored: Numbers, stage: int, device: str, precision: Precision) -> Finding:
    what = f"one step at zero_stage {stage}, {precision}"
    limit = _LIMITS[device, precision]
    expected = asdict(stored)
    errors = {name: abs(value / expected[name] - 1) for name, value in asdict(step.numbers).items()}
    wrong = [name for name, error in errors.items() if not error <= limit]
    if wrong:
        values = ", ".join(f"{name} {asdict(step.numbers)[name]:.8g} not {expected[name]:.8g}" for name in wrong)
        return failed(what, f"{values}; off by more than {limit:g}")
    return ok(
        what,
        f"loss {step.numbers.loss_sum:.6f}, differs by {max(errors.values()):.1e} at most; compiled in "
        f"{step.compile_seconds:.1f} s, {step.seconds * 1000:.0f} ms a step",
    )


def make_one_step(stage: int, world: World, precision: Precision = FLOAT32) -> Step:
    """With the graphs that a run of this stage has; all ranks must call it."""
    how = Sharing(
        rank=world.rank,
        size=world.size,
        all_gather=partial(all_gather, world),
        reduce_scatter=partial(reduce_scatter, world),
        compute=precision.compute,
        recomputes=False,
    )
    with sharing(how) if stage == 3 else nullcontext():
        model = build_tiny(precision)
    weights = list(model.weights())
    before = {weight.name: values_of(weight.name, weight.shape) for weight in weights}
    for weight in weights:
        values, held = before[weight.name], weight.held
        weight.write(values.reshape(-1)[held.first : held.last] if held else values)
    is_plain = stage == 0 and world.size == 1
    accumulate = AccumulateGradients(model) if is_plain else AccumulateOnRanks(model, world, stage)
    parameters = model.trainable_params()
    optimizer = AdamW(
        parameters,
        accumulate.sums,
        groups=[0] * len(parameters),
        weight_decay=0.1,
        max_grad_norm=1.0,
        make_update=None if is_plain else partial(UpdateOnRanks, world, stage),
    )
    packs = make_packs()
    shape = shape_of(packs)
    turns = -(-len(packs) // world.size)
    mine = [packs[index] if index < len(packs) else None for index in range(world.rank, turns * world.size, world.size)]
    batches = [make_batch(pack, shape, CONSTANTS) for pack in mine]
    num_label_tokens = sum(pack.num_label_tokens for pack in packs)

    def add_up() -> float:
        losses = [accumulate(*to_device(batch)) for batch in batches]
        return float(world.sum(sum(float(loss.asnumpy()) for loss in losses)))

    begin = time.perf_counter()
    accumulate(*to_device(make_batch(None, shape, CONSTANTS))).asnumpy()
    optimizer.compile()
    compiled = time.perf_counter()
    loss_sum = add_up()
    grad_norm = optimizer.step([_LEARNING_RATE], divisor=num_label_tokens)
    done = time.perf_counter()
    changes = dict.fromkeys(GROUPS, 0.0)
    for weight in weights:
        change = weight.read().astype(np.float64) - before[weight.name]
        changes[model.group_of(weight.name)] += float((change**2).sum())
    return Step(
        numbers=Numbers(
            loss_sum=loss_sum,
            grad_norm=grad_norm,
            loss_sum_after=add_up(),
            **{f"change_{group}": square**0.5 for group, square in changes.items()},
        ),
        compile_seconds=compiled - begin,
        seconds=done - compiled,
    )
