"""One program for every rank: `python ranks_case.py ROOT CASE...` trains each case into ROOT/CASE-RANKS, one by one.

A case is a name of CASES and a zero_stage: `full:3`. A process that starts MindSpore takes seconds, so all cases that a
test needs run in the same processes.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from train.__main__ import main

PACKS_PER_STEP = 4
_LORA = "--lora_enable True --lora_r 4 --lora_target_modules all-linear --lora_dropout 0.1"
CASES = {
    "full": "",
    "lora": _LORA,
    "frozen": "--tune_mm_vision False",
    "checkpointing": "--gradient_checkpointing True",
}


def train_case(root: Path, case: str, num_ranks: int, *, accumulated: int = 1, steps: int = 4) -> int:
    name, _, stage = case.partition(":")
    flags = {
        "shards": root / "shards",
        "model": root / "model",
        "output_dir": folder_of(root, case, num_ranks),
        "learning_rate": 1e-3,
        "weight_decay": 0.1,
        "max_steps": steps,
        "save_strategy": "no",
        "zero_stage": stage,
        "per_device_train_batch_size": PACKS_PER_STEP // num_ranks // accumulated,
        "gradient_accumulation_steps": accumulated,
    }
    return main([*(f"--{key}={value}" for key, value in flags.items()), *CASES[name].split()])


def folder_of(root: Path, case: str, num_ranks: int) -> Path:
    return root / f"{case.replace(':', '-')}-{num_ranks}"


if __name__ == "__main__":
    codes = [train_case(Path(sys.argv[1]), case, int(os.environ["MS_WORKER_NUM"])) for case in sys.argv[2:]]
    sys.exit(max(codes))
