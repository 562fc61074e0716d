"""One program for every rank: `python ranks_case.py ROOT STEPS CASE...` trains each case into ROOT/CASE-RANKS, in turn.

A case is a name of CASES and a zero_stage: `full:3`. A process that starts MindSpore takes seconds, so all cases that a
test needs run in the same processes.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file, save_file

from train.__main__ import main
from train.cli.command_line import parse_command_line
from train.cluster.environment import find_place
from train.inputs import open_inputs
from train.reports.metrics import StepSums

PACKS_PER_STEP = 4
_LORA = "--lora_enable True --lora_r 4 --lora_target_modules all-linear --lora_dropout 0.1"
CASES = {
    "full": "",
    "lora": _LORA,
    "frozen": "--tune_mm_vision False",
    "checkpointing": "--gradient_checkpointing True",
    "untied": "",  # the tiny model's head is its embedding; this one has its own
    "drifting": "--check_replicas 2",  # rank 1 of several makes a mistake in its second step
    "killed": "--save_steps 3",  # goes on in one folder with any number of ranks; killed:STAGE:STEP in that step
    "whole": "--save_steps 3",  # the same without an end
    "stopped": "--log_samples True",  # rank 1 of several gets a signal in its second step
}
OF_SIX = ("killed", "whole")  # have six packs a step, which 1, 2 and 3 ranks can share
FAMILIES = ("qwen2_vl", "qwen3_vl")  # more cases, each with a folder of its own in ROOT: model and shards
AGAIN = "again"  # the state of a checkpoint, written by other ranks; the case is again:STAGE, or with :gather behind


def write_untied_model(root: Path) -> None:
    """root/model with a head of its own, as root/model-untied."""
    folder = root / "model-untied"
    shutil.copytree(root / "model", folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": False}))
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"][::-1].copy()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def train_case(
    root: Path, case: str, num_ranks: int, *, steps: int, accumulated: int = 1, output_dir: Path | None = None
) -> int:
    name, _, *kill_at = case.split(":")
    is_second, is_last = rank() == 1, rank() in (None, num_ranks - 1)
    with (
        in_step(2, get_signal) if name == "stopped" and is_second else nullcontext(),
        in_step(int(kill_at[0]), kill_itself) if kill_at and is_last else nullcontext(),
        in_step(2, change_a_norm) if name == "drifting" and is_second else nullcontext(),
    ):
        return main(flags_of(root, case, num_ranks, steps=steps, accumulated=accumulated, output_dir=output_dir))


def flags_of(
    root: Path, case: str, num_ranks: int, *, steps: int, accumulated: int = 1, output_dir: Path | None = None
) -> list[str]:
    name, stage, *_ = case.split(":")
    inputs = root / name if name in FAMILIES else root
    flags = {
        "shards": inputs / "shards",
        "model": inputs / ("model-untied" if name == "untied" else "model"),
        "output_dir": output_dir or folder_of(root, case, num_ranks),
        "learning_rate": 1e-3,
        "weight_decay": 0.1,
        "max_steps": steps,
        "save_strategy": "steps" if name in ("stopped", AGAIN) else "no",
        "zero_stage": stage,
        "per_device_train_batch_size": PACKS_PER_STEP // num_ranks // accumulated,
        "gradient_accumulation_steps": accumulated,
    }
    if name in OF_SIX:
        # Of two ranks: with more or fewer, the second follows.
        flags |= {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 3, "save_strategy": "steps"}
        flags |= {"output_dir": root / name}
    return [*(f"--{key}={value}" for key, value in flags.items()), *CASES.get(name, "").split()]


def rank() -> int | None:
    place = find_place(os.environ)
    return place.rank if place else None


def get_signal(optimizer: Any) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def kill_itself(optimizer: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def change_a_norm(optimizer: Any) -> None:
    """In its last bit."""
    import numpy as np
    from mindspore import Tensor, ops

    (norm,) = (each for each in optimizer._update.small_weights if each.name == "model.norm.weight")
    ops.assign(norm, Tensor(np.nextafter(norm.asnumpy(), np.float32(2))))


@contextmanager
def in_step(number: int, act: Callable[[Any], None]) -> Iterator[None]:
    """Something happens to the process, or to what it trains, as it begins that step."""
    import train.run

    make_step = train.run.make_step

    def make_step_after(step: int, micro_batches: Any, accumulate: Any, optimizer: Any, *rest: Any) -> Any:
        if step == number:
            act(optimizer)
        return make_step(step, micro_batches, accumulate, optimizer, *rest)

    train.run.make_step = make_step_after
    try:
        yield
    finally:
        train.run.make_step = make_step


def write_again(root: Path, case: str, num_ranks: int) -> None:
    """Read the newest checkpoint of root/stopped-3-2, and write its state into a folder of these ranks."""
    from train.building import build
    from train.checkpoints.saving import restore_optimizer
    from train.cluster.world import connect
    from train.models.precision import choose_precision
    from train.reports.reporting import Reporting
    from train.run import Run

    source, output_dir = folder_of(root, "stopped:3", 2), folder_of(root, case, num_ranks)
    output_dir.mkdir(exist_ok=True)
    flags = flags_of(root, "stopped:3", 2, steps=4, output_dir=output_dir)
    (checkpoint,) = source.glob("checkpoint-*")
    _, stage_text, *writer = case.split(":")
    flags += [f"--resume_from_checkpoint={checkpoint}", *(f"--checkpoint_writer={each}" for each in writer)]
    arguments = parse_command_line(flags).arguments
    inputs, world, stage = open_inputs(arguments, 2), connect(), int(stage_text)
    model, adapters = build(arguments, inputs, choose_precision(bf16=False, device="CPU"), world, stage)
    run = Run(arguments, inputs, model, adapters, Reporting.silent(), world, stage)
    restore_optimizer(run.optimizer, checkpoint, step=inputs.start.step)
    run.saver.save(inputs.start.step, StepSums(), is_evaluated=True)


def folder_of(root: Path, case: str, num_ranks: int) -> Path:
    return root / f"{case.replace(':', '-')}-{num_ranks}"


if __name__ == "__main__":
    root, num_ranks, steps = Path(sys.argv[1]), int(os.environ.get("MS_WORKER_NUM", "1")), int(sys.argv[2])
    accumulated = 2 if num_ranks == 1 else 1
    for case in sys.argv[3:]:
        if case.startswith(AGAIN):
            write_again(root, case, num_ranks)
        elif train_case(root, case, num_ranks, steps=steps, accumulated=accumulated) != (case.startswith("drifting")):
            sys.exit(1)
