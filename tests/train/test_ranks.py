"""Ranks that share packs, and what zero_stage says, train what one process trains."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.train import ranks_case
from tests.train.cluster.starting import ROOT, run_launcher
from tests.train.ranks_case import CASES, folder_of, train_case
from tests.train.tiny_run import write_tiny_inputs

TOLERANCE = 1e-5
NEARLY_ZERO = 1e-3  # k_proj.bias, whose gradient is zero but for rounding, which Adam magnifies


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    write_tiny_inputs(folder, num_packs=8)
    return folder


def start_ranks(root: Path, num_ranks: int, cases: list[str]) -> None:
    command = [sys.executable, ranks_case.__file__, str(root), *cases]
    done = run_launcher(num_ranks, root, command, scheduler=None)
    assert done.returncode == 0, done.stdout + done.stderr


def assert_equal_runs(one: Path, other: Path) -> None:
    records, others = (
        [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()] for folder in (one, other)
    )
    assert len(records) == len(others) == 4
    for mine, theirs in zip(records, others, strict=True):
        assert mine["num_label_tokens"] == theirs["num_label_tokens"] > 0
        for name in ("loss", "grad_norm"):
            assert theirs[name] == pytest.approx(mine[name], rel=TOLERANCE)
    (path,), (other_path,) = (list(folder.glob("*.safetensors")) for folder in (one, other))
    weights, other_weights = load_file(path), load_file(other_path)
    assert weights.keys() == other_weights.keys()
    for name, values in weights.items():
        limit = NEARLY_ZERO if name.endswith("k_proj.bias") else TOLERANCE
        np.testing.assert_allclose(other_weights[name], values, rtol=0, atol=limit, err_msg=name)


def test_two_ranks_equal_one(root: Path) -> None:
    """Where most differs: parts of all that is trained, and adapters with dropout on weights in parts."""
    cases = ["full:2", "lora:3"]
    start_ranks(root, 2, cases)
    for case in cases:
        assert train_case(root, case, 1) == 0
        assert_equal_runs(folder_of(root, case, 1), folder_of(root, case, 2))
    changed = load_file(folder_of(root, "full:2", 1) / "model.safetensors")
    start = load_file(root / "model" / "model.safetensors")
    name = "model.layers.0.mlp.up_proj.weight"
    assert np.abs(changed[name] - start[name]).max() > 100 * TOLERANCE, "training changes more than the tolerance"


@pytest.mark.slow
@pytest.mark.parametrize("num_ranks", [2, 4])
def test_every_stage_equals_one_process(root: Path, num_ranks: int) -> None:
    cases = [f"{name}:{stage}" for name in CASES for stage in range(4)]
    start_ranks(root, num_ranks, cases)
    for name in CASES:
        alone = f"{name}:0"
        if not folder_of(root, alone, 1).exists():
            command = [sys.executable, "-c", _ALONE, str(root), alone]
            subprocess.run(command, cwd=ROOT, check=True)
        for stage in range(4):
            assert_equal_runs(folder_of(root, alone, 1), folder_of(root, f"{name}:{stage}", num_ranks))


_ALONE = """
import sys
from pathlib import Path
from tests.train.ranks_case import train_case
sys.exit(train_case(Path(sys.argv[1]), sys.argv[2], 1, accumulated=2))
"""
