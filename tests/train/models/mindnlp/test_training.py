"""Runs of both backends, from the same packs, each in a process of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.train.models.mindnlp.needed import needs_mindnlp, python
from tests.train.tiny_run import write_tiny_inputs
from train.models.backends import BACKENDS, MINDNLP, NATIVE

pytestmark = needs_mindnlp
NUM_STEPS, NUM_PACKS = 10, 6
TOLERANCE = 1e-4
OTHER = {NATIVE: MINDNLP, MINDNLP: NATIVE}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("both")
    write_tiny_inputs(root, num_packs=NUM_PACKS)
    return root


def train(root: Path, name: str, backend: str, *flags: object) -> Path:
    """The folder of a run; the last of its steps has an empty pack."""
    output_dir = root / name
    python(
        *("train", "--shards", root / "shards", "--model", root / "model", "--output_dir", output_dir),
        *("--num_train_epochs", 3.2, "--gradient_accumulation_steps", 2, "--save_steps", 5, "--backend", backend),
        *("--learning_rate", 1e-3, "--weight_decay", 0.01, "--max_grad_norm", 1, "--warmup_steps", 2),
        *("--eval_shards", root / "shards", "--eval_strategy", "steps", "--eval_steps", 5, *flags),
    )
    return output_dir


def records(output_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output_dir / "metrics.jsonl").read_text().splitlines()]


def values(output_dir: Path, name: str) -> dict[int, float]:
    return {each["step"]: each[name] for each in records(output_dir) if name in each}


@pytest.fixture(scope="module")
def runs(root: Path) -> dict[str, Path]:
    return {backend: train(root, backend, backend) for backend in BACKENDS}


def test_ten_steps_have_the_losses_of_the_native_ones(runs: dict[str, Path]) -> None:
    for name, num_values in (("loss", NUM_STEPS), ("eval_loss", 2)):
        native, theirs = (values(runs[backend], name) for backend in BACKENDS)
        assert native.keys() == theirs.keys() and len(native) == num_values
        differences = {step: abs(theirs[step] - native[step]) for step in native}
        print(name, f"differs by {max(differences.values()):.1e} at most")
        assert max(differences.values()) <= TOLERANCE
    losses = list(values(runs[MINDNLP], "eval_loss").values())
    assert losses[1] < losses[0], "it learns"


def test_gradients_are_clipped_as_the_native_ones(runs: dict[str, Path]) -> None:
    native, theirs = (values(runs[backend], "grad_norm") for backend in BACKENDS)
    assert max(native.values()) > 1, "some are clipped"
    assert theirs == pytest.approx(native, rel=1e-4)


def test_records_have_the_same_keys_and_counts(runs: dict[str, Path]) -> None:
    native, theirs = (records(runs[backend]) for backend in BACKENDS)
    assert [each.keys() for each in theirs] == [each.keys() for each in native]
    counts = ("step", "epoch", "num_tokens", "num_label_tokens", "num_patches", "flops", "learning_rate")
    for ours, other in zip(native, theirs, strict=True):
        assert [other.get(name) for name in counts] == [ours.get(name) for name in counts]


def test_folders_hold_the_same_files_and_weights(runs: dict[str, Path]) -> None:
    for inner in (".", "checkpoint-5"):
        folders = [runs[backend] / inner for backend in BACKENDS]
        native, theirs = ({each.name for each in folder.iterdir() if each.is_file()} for folder in folders)
        assert theirs == native
        ours, others = (load_file(folder / "model.safetensors") for folder in folders)
        assert ours.keys() == others.keys()
        for name, value in ours.items():
            np.testing.assert_allclose(others[name], value, atol=1e-4)


def test_a_run_goes_on_to_the_bit(root: Path, runs: dict[str, Path]) -> None:
    resumed = train(root, "resumed", MINDNLP, "--resume_from_checkpoint", runs[MINDNLP] / "checkpoint-5")
    whole = runs[MINDNLP]
    assert values(resumed, "loss") == {step: loss for step, loss in values(whole, "loss").items() if step > 5}
    for name in ("model.safetensors", "checkpoint-10/optimizer.safetensors"):
        assert (resumed / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_run_goes_on_from_a_checkpoint_of_the_other_backend(backend: str, root: Path, runs: dict[str, Path]) -> None:
    checkpoint = runs[OTHER[backend]] / "checkpoint-5"
    resumed = train(root, f"crossed-{backend}", backend, "--resume_from_checkpoint", checkpoint)
    for name in ("loss", "eval_loss"):
        later = {step: value for step, value in values(runs[OTHER[backend]], name).items() if step > 5}
        assert later
        assert values(resumed, name) == pytest.approx(later, abs=TOLERANCE)
