"""Profiles of MindSpore, on CPU."""

from __future__ import annotations

import json
from pathlib import Path

import mindspore as ms
import numpy as np

from train.reports.profile import StepProfile


def work() -> None:
    x = ms.Tensor(np.ones((50, 50), np.float32))
    ms.ops.matmul(x, x).asnumpy()


def test_steps_of_a_run_are_profiled_and_the_end_is_said(tmp_path: Path) -> None:
    lines: list[str] = []
    profile = StepProfile(range(2, 4), tmp_path, lines.append)
    for step in range(1, 6):
        profile.before(step)
        work()
        profile.after(step)
        assert len(lines) == (step >= 3)
    profile.close()
    (line,) = lines
    assert line.startswith(f"profile of steps 2-3: {tmp_path / 'profile'}; ")
    (trace,) = (tmp_path / "profile").rglob("trace_view.json")
    assert len(json.loads(trace.read_text())) > 2


def test_without_steps_there_is_none(tmp_path: Path) -> None:
    profile = StepProfile(range(0), tmp_path, print)
    profile.before(1)
    profile.after(1)
    profile.close()
    assert list(tmp_path.iterdir()) == []
