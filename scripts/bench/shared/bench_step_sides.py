"""Models, the pack and the processes of `step.py`. Loads no MindSpore."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts" / "demo")]

import numpy as np  # noqa: E402
from demo_model import (  # noqa: E402
    FAMILIES,
    PLAIN_ADDED_TOKENS,
    SPECIAL_TOKENS,
    ModelSize,
    random_weights,
)
from safetensors.numpy import save_file  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402

from shards import open_shards  # noqa: E402

LEARNING_RATE, WEIGHT_DECAY, MAX_GRAD_NORM = 1e-5, 0.01, 1.0
LARGE = ModelSize(  # 106 million, shared out as in the published 3B: tower 19%, embedding 10%, the rest decoder layers
    vocab_size=16_384,
    hidden_size=640,
    intermediate_size=3_456,
    num_layers=10,
    num_heads=10,
    vision_depth=8,
    vision_hidden_size=400,
    vision_intermediate_size=1_072,
    vision_num_heads=5,
    full_attention_blocks=(3, 7),
)
HERE, PYTORCH = "bench_step_here.py", "bench_step_pytorch.py"
PACK_FIELDS = ("input_ids", "labels", "position_ids", "cu_seqlens")
MEDIA_FIELDS = ("image_patches", "image_grid_thw", "video_patches", "video_grid_thw")


@dataclass(frozen=True, kw_only=True)
class Side:
    """Who makes the step, in a process of its own."""

    words: str
    python: Path
    backend: str | None  # of `--backend`; None: PyTorch
    environment: Mapping[str, str] = field(default_factory=dict)
    rounds: int  # in which it takes part, besides the one that warms up


class Steps:
    """A process that makes steps. `about` is what it says first: versions, num_parameters."""

    def __init__(self, process: subprocess.Popen[str], words: str) -> None:
        self._process, self._words = process, words
        self.losses: list[float] = []
        self.norms: list[float] = []
        self.about: dict[str, Any] = {}

    def wait_until_ready(self) -> None:
        self.about = self._read()

    def begin(self) -> None:
        assert self._process.stdin is not None
        print("step", file=self._process.stdin, flush=True)

    def end(self) -> float:
        """Seconds of the step that was begun."""
        answer = self._read()
        self.losses.append(answer["loss"])
        self.norms.append(answer["grad_norm"])
        return float(answer["seconds"])

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        reply = self._process.stdout.readline()
        if not reply:
            sys.exit(f"error: {self._words}: its process ended; it says why above")
        answer: dict[str, Any] = json.loads(reply)
        return answer


def write_large_model(folder: Path, demo_model: Path) -> None:
    """As large as LARGE, with the tokenizer of the demo's model, so that packs made for that one are read."""
    family = "qwen2_5_vl"
    shutil.copytree(demo_model, folder, ignore=shutil.ignore_patterns("config.json", "*.safetensors"))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids = {token: tokenizer.token_to_id(token) for token in SPECIAL_TOKENS + PLAIN_ADDED_TOKENS}
    (folder / "config.json").write_text(json.dumps(FAMILIES[family].model_config(LARGE, ids)), encoding="utf-8")
    save_file(random_weights(LARGE, 0, family), folder / "model.safetensors", metadata={"format": "pt"})


def write_pack(shards_folder: Path, path: Path) -> int:
    """Write the fullest pack (of tokens, then patches) for PyTorch; its index."""
    shards = open_shards(shards_folder)
    packs = [shards[index] for index in range(len(shards))]
    index = max(range(len(packs)), key=lambda at: (len(packs[at].input_ids), len(packs[at].image_patches)))
    constants = shards.manifest.model
    task = {
        "temporal_patch_size": constants.temporal_patch_size,
        "image_mean": list(constants.image_mean),
        "image_std": list(constants.image_std),
        "learning_rate": LEARNING_RATE,
        "weight_decay": WEIGHT_DECAY,
        "max_grad_norm": MAX_GRAD_NORM,
    }
    arrays = {name: getattr(packs[index], name) for name in PACK_FIELDS + MEDIA_FIELDS}
    np.savez(path, task=np.array(json.dumps(task)), **arrays)
    return index


@contextmanager
def running(
    sides: Mapping[str, Side], model: Path, shards: Path, pack: Path, index: int, threads: int
) -> Iterator[dict[str, Steps]]:
    """The processes of `sides`, ready to make steps of this pack; all have as many threads."""
    with ExitStack() as stack:
        started: dict[str, Steps] = {}
        for name, side in sides.items():
            words: list[object] = [side.python, Path(__file__).with_name(HERE if side.backend else PYTORCH), model]
            words += [shards, index, side.backend] if side.backend else [pack, threads]
            environment = {**os.environ, "OMP_NUM_THREADS": str(threads), **side.environment}
            process = subprocess.Popen(
                [str(word) for word in words], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            started[name] = Steps(process, side.words)
        for steps in started.values():
            steps.wait_until_ready()
        yield started
