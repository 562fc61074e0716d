"""What array jobs measure, and how often each of them reads the annotations for it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import preprocess.plan.together
from preprocess.jobs.executor import ThisProcess
from preprocess.jobs.share import Claims, Share
from preprocess.plan.holding import Hold
from preprocess.plan.together import measure_with_others
from shards.inputs import write_inputs

NUM_PARTS = 4


class Passes:
    """Stands in for `measure_parts`; which parts each pass over the annotations measured."""

    def __init__(self, measured: set[int]) -> None:
        self.measured = measured
        self.each: list[list[int]] = []

    def measure_parts(self, *arguments: Any) -> tuple[int, list[int]]:
        take, done = arguments[-3:-1]
        missing = [part for part in range(NUM_PARTS) if part not in self.measured]
        taken = [part for part in missing if take(part)]
        for part in taken:
            self.measured.add(part)
            done(part)
        self.each.append(taken)
        return NUM_PARTS, [part for part in missing if part not in taken]

    def is_measured(self, folder: Path, part: int, fingerprint: str) -> bool:
        return part in self.measured


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Passes:
    passes = Passes(set())
    monkeypatch.setattr(preprocess.plan.together, "measure_parts", passes.measure_parts)
    monkeypatch.setattr(preprocess.plan.together, "is_measured", passes.is_measured)
    return passes


def measure(folder: Path, claims: Claims) -> int:
    sources: Any = SimpleNamespace(num_records=NUM_PARTS, plan_fingerprint="")
    config: Any = SimpleNamespace(output_dir=folder)
    hold = Hold(folder=folder, inputs={})
    (folder / "plan").mkdir()
    write_inputs(folder, hold.inputs)
    return measure_with_others(config, sources, ThisProcess(), Share(index=0, of=2), claims, hold)


def test_what_others_measured_meanwhile_starts_no_pass(
    tmp_path: Path, passes: Passes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Claims(tmp_path, Share(index=0, of=2)) as ours, Claims(tmp_path, Share(index=1, of=2)) as theirs:
        assert theirs.take("part-000001")
        assert theirs.take("part-000003")

        def end_theirs(seconds: float) -> None:
            passes.measured |= {1, 3}
            theirs.release("part-000001")
            theirs.release("part-000003")

        monkeypatch.setattr(preprocess.plan.together.time, "sleep", end_theirs)
        assert measure(tmp_path, ours) == NUM_PARTS
    assert passes.each == [[0, 2]], "one pass, of the own share"


def test_what_no_other_job_is_at_is_measured(tmp_path: Path, passes: Passes) -> None:
    with Claims(tmp_path, Share(index=0, of=2)) as ours:
        assert measure(tmp_path, ours) == NUM_PARTS
    assert passes.each == [[0, 2], [1, 3]]
