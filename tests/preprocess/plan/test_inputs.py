"""Files that change while a run reads them."""

from __future__ import annotations

import os

import pytest

import preprocess.plan.parts
from preprocess.encode import SampleEncoder
from preprocess.sample import MeasuredSample, Sample
from tests.preprocess.workshop import Workshop, talk


def when_measured(monkeypatch: pytest.MonkeyPatch, workshop: Workshop, content: str | None) -> None:
    """Once the first sample is measured, the annotations are touched, or edited in place to the same size and time."""
    monkeypatch.setattr(preprocess.plan.parts, "RECORDS_PER_PART", 2)
    measure = SampleEncoder.measure
    path = workshop.root / "d.jsonl"

    def editing(self: SampleEncoder, sample: Sample) -> MeasuredSample:
        if sample.index == 0:
            before = path.stat()
            if content is not None:
                path.write_text(path.read_text().replace("old", content))
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        return measure(self, sample)

    monkeypatch.setattr(SampleEncoder, "measure", editing)


def test_annotations_edited_while_they_are_measured_stop_the_run(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    workshop.dataset([talk(answer="old") for _ in range(6)])
    when_measured(monkeypatch, workshop, "new")
    outcome = workshop.run()
    assert outcome.code == 2
    assert "d.jsonl changed while a run was reading it" in outcome.err.splitlines()[-1]
    assert not (outcome.folder / "plan" / "plan.json").exists()


def test_annotations_that_are_only_touched_do_not(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    workshop.dataset([talk(answer="old") for _ in range(6)])
    when_measured(monkeypatch, workshop, None)
    assert workshop.run().code == 0
