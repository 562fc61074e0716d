"""Starts ranks that train cases of `ranks_case`, and compares what they leave."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.train import ranks_case
from tests.train.cluster.starting import ROOT, run_launcher

TOLERANCE = 1e-5
NEARLY_ZERO = 1e-3  # k_proj.bias, whose gradient is zero but for rounding, which Adam magnifies
_MOST_SECONDS = 7200


def start_ranks(root: Path, num_ranks: int, cases: list[str], *, steps: int, is_killed: bool = False) -> None:
    """All cases in turn, in the same processes; one process has no launcher."""
    command = [sys.executable, ranks_case.__file__, str(root), str(steps), *cases]
    if num_ranks == 1:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    else:
        done = run_launcher(num_ranks, root, command, scheduler=None, most_seconds=_MOST_SECONDS)
    assert (done.returncode != 0) == is_killed, done.stdout + done.stderr


def assert_equal_runs(one: Path, other: Path, *, steps: int) -> None:
    records, others = (
        [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()] for folder in (one, other)
    )
    assert len(records) == len(others) == steps
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


def assert_equal_files(one: Path, other: Path) -> None:
    """But for the state, which names their folders."""
    names = sorted(path.name for path in one.iterdir())
    assert names == sorted(path.name for path in other.iterdir())
    for name in set(names) - {"trainer_state.json"}:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
