"""Trials as a page: their lines, pictures with boxes drawn, and what the model reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import PackageLoader

from preprocess.report.marks import marks_of
from preprocess.report.trial import Trial
from preprocess.report.trial_text import trial_lines
from shards import ModelConstants
from shards.look.page import EVERYTHING, SegmentView, render, view_segment
from shards.look.transcript import Transcriber
from shards.segments import cut_segments


@dataclass(frozen=True, kw_only=True)
class TrialView:
    key: str
    lines: Sequence[tuple[str, str]]
    segments: Sequence[SegmentView]  # one, or none of a reject


def trials_page(name: str, trials: Sequence[Trial], constants: ModelConstants, transcriber: Transcriber) -> str:
    """`name` is what was asked for."""
    find_marks = marks_of(constants)
    views = [
        TrialView(
            key=trial.key,
            lines=trial_lines(trial, constants),
            segments=[
                view_segment(trial.pack, segment, constants, transcriber, EVERYTHING, find_marks)
                for segment in cut_segments(trial.pack, constants)
            ]
            if trial.pack is not None
            else [],
        )
        for trial in trials
    ]
    return render("trial.html", PackageLoader("preprocess.report"), name=name, trials=views)
