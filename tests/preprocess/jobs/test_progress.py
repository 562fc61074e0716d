"""What a log file gets to see."""

from __future__ import annotations

import pytest

from preprocess.jobs import progress
from preprocess.jobs.progress import StageProgress


def test_a_line_says_how_far_how_fast_and_how_long() -> None:
    shown = StageProgress("materialise", total=400)
    for _ in range(100):
        shown.take_up()
    shown.finish_job(num_bytes=50_000_000, rejects=3)
    assert shown.line(elapsed=10.0) == (
        "materialise: 100 of 400 samples, 10 samples/s, 5.0 MB/s, 3 rejects, 0:00:30 left"
    )


def test_what_was_done_before_is_no_work_left() -> None:
    shown = StageProgress("plan", total=400)
    shown.skip(300)
    for _ in range(50):
        shown.take_up()
    shown.finish_job(rejects=2)
    assert shown.line(elapsed=10.0) == "plan: 50 of 100 samples, 5 samples/s, 2 rejects, 0:00:10 left"


def test_without_a_terminal_there_is_a_line_a_minute(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with StageProgress("plan", total=1000) as shown:
        for second in range(1, 151):
            now[0] = float(second)
            shown.take_up()
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" of ")[0] for line in lines] == ["plan: 60", "plan: 120"]


def test_samples_that_ran_again_never_make_the_time_left_negative() -> None:
    shown = StageProgress("plan", total=1)
    for _ in range(5):
        shown.take_up()
    assert shown.line(elapsed=1.0).endswith("0:00:00 left")
