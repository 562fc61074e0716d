"""Compiled graphs are kept by all that determines them, and a start from files gives the same bits."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.train.tiny_run import write_tiny_inputs
from train import graph_cache
from train.arguments import TrainArguments
from train.cluster.world import World
from train.graph_cache import cache_folder, graphs_key
from train.inputs import open_inputs

ROOT = Path(__file__).parents[2]
ALONE = World.single()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("graph_cache")
    write_tiny_inputs(root, num_packs=4)
    return root


def arguments_of(root: Path, **changes: object) -> TrainArguments:
    return TrainArguments(shards=root / "shards", model=root / "model", output_dir=root / "out", **changes)


def key_of(root: Path, world: World = ALONE, stage: int = 0, **changes: object) -> str:
    arguments = arguments_of(root, **changes)
    return graphs_key(arguments, open_inputs(arguments), world, stage)


def test_what_makes_other_graphs_has_another_key(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def keys() -> Iterator[str]:
        yield key_of(root)
        yield key_of(root, stage=1)
        yield key_of(root, World(rank=0, size=2, device="CPU"))
        yield key_of(root, World(rank=1, size=2, device="CPU"))
        yield key_of(root, gradient_checkpointing=True)
        yield key_of(root, tune_mm_vision=False)
        yield key_of(root, lora_enable=True)
        yield key_of(root, max_grad_norm=0.0)
        yield key_of(root, jit_level="O1")
        yield key_of(root, deterministic=False)
        yield key_of(root, eval_shards=root / "shards", eval_strategy="steps")
        monkeypatch.setattr(graph_cache, "hash_code", lambda: "other code")
        yield key_of(root)

    found = list(keys())
    assert len(set(found)) == len(found)


def test_a_run_that_goes_on_has_the_same_key(root: Path) -> None:
    assert key_of(root) == key_of(root, max_steps=7, logging_steps=3, save_steps=2, log_samples=True)


def test_the_code_is_part_of_the_key() -> None:
    assert graph_cache.hash_code() == graph_cache.hash_code()
    assert len(graph_cache.hash_code()) == 64


@pytest.mark.parametrize(
    ("device", "environment", "kept"),
    [
        ("CPU", {}, True),
        ("Ascend", {}, False),
        ("Ascend", {"MS_COMPILER_CACHE_ENABLE": "1"}, True),
        ("CPU", {"MS_COMPILER_CACHE_ENABLE": "0"}, False),
    ],
)
def test_where_graphs_are_kept(device: str, environment: dict[str, str], kept: bool, root: Path) -> None:
    arguments = arguments_of(root)
    world = World(rank=0, size=1, device=device)
    folder = cache_folder(arguments, open_inputs(arguments), world, 0, environment)
    assert (folder is not None) == kept
    if folder is not None:
        assert folder.parent == arguments.output_dir / ".graphs"
        elsewhere = {**environment, "MS_COMPILER_CACHE_PATH": str(root / "there")}
        there = cache_folder(replace(arguments), open_inputs(arguments), world, 0, elsewhere)
        assert there == root / "there" / folder.name


LORA = ["--lora_enable", "--lora_r=4", "--lora_target_modules=all-linear", "--lora_dropout=0.2"]


@pytest.mark.slow
@pytest.mark.parametrize("flags", [[], ["--tune_mm_vision=False"], LORA], ids=["full", "frozen", "lora"])
def test_a_start_from_files_gives_the_bits_of_one_that_compiles(root: Path, tmp_path: Path, flags: list[str]) -> None:
    def train(folder: Path, steps: int, keeps: str) -> str:
        command = [sys.executable, "-m", "train", f"--shards={root / 'shards'}", f"--model={root / 'model'}"]
        command += [f"--output_dir={folder}", f"--max_steps={steps}", "--save_steps=2", "--learning_rate=1e-3"]
        command += [f"--eval_shards={root / 'shards'}", "--eval_strategy=epoch", "--lr_scheduler_type=constant", *flags]
        environment = {**os.environ, "MS_COMPILER_CACHE_ENABLE": keeps}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    kept, compiled = tmp_path / "kept", tmp_path / "compiled"
    assert ", from " not in train(kept, 2, "1")
    assert ", from " in train(kept, 4, "1")
    (folder,) = (kept / ".graphs").iterdir()
    files = list(folder.rglob("*.mindir"))
    assert len(files) == 3, "accumulation, update, evaluation"
    train(compiled, 4, "0")
    assert not (compiled / ".graphs").exists()
    (name,) = (path.name for path in compiled.glob("*.safetensors"))
    assert (kept / name).read_bytes() == (compiled / name).read_bytes()
