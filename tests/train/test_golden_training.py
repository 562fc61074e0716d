"""Fifty steps against PyTorch, from flags to metrics.jsonl: curves made by scripts/golden/golden_training.py."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shards import ModelConstants
from shards.order import PackOrder
from tests.train.golden_adapter import START, TRAINED, golden_training
from tests.train.golden_case import CONSTANTS, PACK_LENGTH, Sample, pack_samples, write_golden_model
from tests.train.golden_families import FAMILIES, GoldenFamily, golden_families
from tests.train.tiny_run import write_tiny_shards
from train.__main__ import main
from train.adapters.files import find_adapter
from train.adapters.lora import Adapters
from train.arguments import TrainArguments
from train.inputs import open_inputs
from train.loop import train
from train.models.qwen2_5_vl import NAMES
from train.stop import StopRequest

from golden_training_case import (  # isort: skip  (tests.train.golden_case makes scripts/ importable)
    CASES,
    MAX_GRAD_NORM,
    NUM_STEPS,
    PACKS_PER_STEP,
    WARMUP_STEPS,
    WEIGHT_DECAY,
    make_packs,
)

COMPARED = ("loss", "grad_norm", "learning_rate")
LOSS_TOLERANCE = 1e-3  # at every step; README.md has the differences found


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with model/, and shards/ whose packs a run of one epoch takes in the order of `make_packs`."""
    root = tmp_path_factory.mktemp("golden_training")
    write_golden_model(root / "model")
    write_in_order(root, make_packs(), CONSTANTS)
    return root


def write_in_order(root: Path, packs_of_samples: list[list[Sample]], constants: ModelConstants) -> None:
    packs = [
        pack_samples(samples, [f"golden:{i}.{k}" for k in range(len(samples))], constants)
        for i, samples in enumerate(packs_of_samples)
    ]
    order = PackOrder(
        num_packs=len(packs),
        seed=arguments_of(root, "full").seed,
        packs_per_step=PACKS_PER_STEP,
        num_positions=len(packs),
    )
    places = [place for step in range(NUM_STEPS) for place in order.packs_of_step(step)]
    assert sorted(places) == list(range(len(packs))) != places
    stored = [pack for _, pack in sorted(zip(places, packs, strict=True), key=lambda pair: pair[0])]
    write_tiny_shards(root / "shards", stored, constants, pack_length=PACK_LENGTH)


def arguments_of(root: Path, name: str) -> TrainArguments:
    case = CASES[name]
    arguments = TrainArguments(
        shards=root / "shards",
        model=root / "model",
        output_dir=root / name,
        gradient_accumulation_steps=PACKS_PER_STEP,
        learning_rate=case.learning_rate,
        warmup_steps=WARMUP_STEPS,
        weight_decay=WEIGHT_DECAY,
        max_grad_norm=MAX_GRAD_NORM,
    )
    if case.adapter is None:
        return arguments
    return replace(
        arguments,
        lora_enable=True,
        lora_r=case.adapter.r,
        lora_alpha=case.adapter.alpha,
        lora_target_modules=",".join(case.adapter.target_modules),
        lora_adapter=START,
    )


@pytest.mark.parametrize("name", CASES)
def test_every_loss_of_fifty_steps_equals_pytorchs(name: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = arguments_of(root, name)
    positions = record_first_positions(monkeypatch)
    log: list[str] = []
    train(arguments, open_inputs(arguments), log.append, StopRequest())
    theirs = {key: golden_training()[f"{name}/{key}"] for key in COMPARED}
    assert theirs["loss"][-1] < 0.65 * theirs["loss"][0], "the curve falls"
    clipped = theirs["grad_norm"] > MAX_GRAD_NORM
    assert clipped.any() and (name == "full" or not clipped.all())
    assert_curves_are_equal(name, arguments.output_dir, theirs)

    if name == "lora":
        assert any(line.startswith("LoRA on 13 layers (q_proj, ") and "all else is frozen" in line for line in log)
        assert positions == list(range(0, NUM_STEPS * PACKS_PER_STEP, PACKS_PER_STEP))
        assert_adapters_are_close(arguments.output_dir, TRAINED)
        for folder in (arguments.output_dir, arguments.output_dir / f"checkpoint-{NUM_STEPS}"):
            assert (folder / "adapter_model.safetensors").exists()
            assert not (folder / "model.safetensors").exists()


@pytest.mark.parametrize("name", FAMILIES)
def test_every_loss_of_fifty_steps_of_the_other_families_equals_pytorchs(name: str, tmp_path: Path) -> None:
    family = GoldenFamily(name)
    family.write(tmp_path / "model")
    write_in_order(tmp_path, family.training_packs(), family.constants)
    arguments = arguments_of(tmp_path, "full")
    train(arguments, open_inputs(arguments), lambda line: None, StopRequest())
    theirs = {key: golden_families()[f"{name}/training/{key}"] for key in COMPARED}
    assert theirs["loss"][-1] < 0.65 * theirs["loss"][0], "the curve falls"
    assert_curves_are_equal(name, arguments.output_dir, theirs)


def assert_curves_are_equal(name: str, output_dir: Path, theirs: dict[str, np.ndarray]) -> None:
    lines = (output_dir / "metrics.jsonl").read_text().splitlines()
    ours = {key: np.array([json.loads(line)[key] for line in lines]) for key in COMPARED}
    assert len(ours["loss"]) == NUM_STEPS
    differences = np.abs(ours["loss"] - theirs["loss"])
    print(f"{name}: largest difference of the loss {differences.max():.1e}, in step {differences.argmax() + 1}")
    assert differences.max() <= LOSS_TOLERANCE
    np.testing.assert_allclose(ours["learning_rate"], theirs["learning_rate"], rtol=1e-6)
    np.testing.assert_allclose(ours["grad_norm"], theirs["grad_norm"], rtol=1e-2)


def record_first_positions(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The packs' positions that dropout is told (here it is 0, and nothing is dropped)."""
    positions = []
    seeded = Adapters.seeded

    def record(self: Adapters, accumulate: Any, places: Iterable[int]) -> Any:
        positions.append(next(iter(places)))
        return seeded(self, accumulate, places)

    monkeypatch.setattr(Adapters, "seeded", record)
    return positions


def assert_adapters_are_close(ours: Path, theirs: Path) -> None:
    our_adapter, their_adapter = find_adapter(ours, NAMES), find_adapter(theirs, NAMES)
    assert set(our_adapter.factors) == set(their_adapter.factors)
    for module, factors in their_adapter.factors.items():
        for our_factor, their_factor in zip(our_adapter.factors[module], factors, strict=True):
            np.testing.assert_allclose(our_factor.read(), their_factor.read(), rtol=0, atol=1e-4, err_msg=module)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--lora_target_modules", "query"], "'query' names no module"),
        (["--lora_adapter", "nowhere"], "nowhere has no adapter_config.json"),
        (["--lora_adapter", str(START)], "has r 4, this run 64; give --lora_r 4"),
    ],
)
def test_adapters_that_do_not_fit_end_before_anything_is_written(
    argv: list[str], words: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = {"shards": root / "shards", "model": root / "model", "output_dir": root / "refused"}
    flags = [text for name, folder in folders.items() for text in (f"--{name}", str(folder))]
    assert main([*flags, "--lora_enable", *argv]) == 2
    assert words in capsys.readouterr().err
    assert not (root / "refused").exists()
