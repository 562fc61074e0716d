"""Shares of array jobs, and claims on what one of them is at."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from preprocess.errors import ConfigError
from preprocess.jobs import share
from preprocess.jobs.share import Claims, Share

FIRST, SECOND = Share(index=0, of=2), Share(index=1, of=2)


def slurm(number: int, *, first: int = 0, step: int = 1, count: int) -> dict[str, str]:
    values = {"ID": number, "MIN": first, "STEP": step, "COUNT": count}
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in values.items()}


def test_a_share_comes_from_the_flag_or_from_slurm() -> None:
    assert Share.of_array_job(None, slurm(7, first=1, step=2, count=4)) == Share(index=3, of=4)
    assert Share.of_array_job("1/2", slurm(7, first=1, step=2, count=4)) == SECOND, "the flag wins"
    assert Share.of_array_job(None, {}) == Share(index=0, of=1)


@pytest.mark.parametrize("task", ["2/2", "x/2", "1", "1/0", "-1/2", ""])
def test_a_share_that_does_not_exist_is_refused(task: str) -> None:
    with pytest.raises(ConfigError, match="i/N"):
        Share.of_array_job(task, {})


@pytest.mark.parametrize(
    "environment",
    [
        slurm(7, first=3, count=2),  # --array=3,7
        slurm(4, first=1, step=2, count=4),
        {"SLURM_ARRAY_TASK_ID": "3"},
        {**slurm(0, count=2), "SLURM_ARRAY_TASK_COUNT": "many"},
    ],
)
def test_slurm_jobs_that_are_no_regular_array_are_refused(environment: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="say --task i/N"):
        Share.of_array_job(None, environment)


def test_what_one_job_claims_is_not_the_other_s_until_it_is_released(tmp_path: Path) -> None:
    with Claims(tmp_path, FIRST) as ours, Claims(tmp_path, SECOND) as theirs:
        assert ours.take("part")
        assert not theirs.is_free("part")
        assert not theirs.take("part")
        assert theirs.take("another part")
        ours.release("part")
        assert theirs.is_free("part")
        assert theirs.take("part")
        assert not ours.take("part")


def test_claims_end_with_their_job(tmp_path: Path) -> None:
    with Claims(tmp_path, FIRST) as ours:
        ours.take("part")
    with Claims(tmp_path, SECOND) as theirs:
        assert theirs.take("part")


def leave_as_killed(folder: Path, name: str, owner: Share) -> Path:
    path = folder / name
    path.write_text(str(owner))
    return path


def test_a_job_that_starts_again_takes_what_it_was_at(tmp_path: Path) -> None:
    leave_as_killed(tmp_path, "part", FIRST)
    with Claims(tmp_path, SECOND) as theirs, Claims(tmp_path, FIRST) as ours:
        assert not theirs.take("part")
        assert ours.take("part")


def test_a_claim_that_nobody_touches_is_taken_over(tmp_path: Path) -> None:
    path = leave_as_killed(tmp_path, "part", FIRST)
    with Claims(tmp_path, SECOND) as theirs:
        assert not theirs.take("part"), "its job may live"
        long_ago = path.stat().st_mtime - 10_000
        os.utime(path, (long_ago, long_ago))
        assert theirs.is_free("part")
        assert theirs.take("part")
        assert path.read_text() == str(SECOND)


def test_living_jobs_touch_their_claims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(share, "_TOUCH_SECONDS", 0.001)
    with Claims(tmp_path, FIRST) as ours:
        ours.take("part")
        os.utime(tmp_path / "part", (0, 0))
        deadline = os.times().elapsed + 60
        while (tmp_path / "part").stat().st_mtime == 0:
            assert os.times().elapsed < deadline, "nobody touched it"


def test_a_claim_dated_ahead_is_nobody_s(tmp_path: Path) -> None:
    path = leave_as_killed(tmp_path, "part", FIRST)
    tomorrow = path.stat().st_mtime + 86_400
    os.utime(path, (tomorrow, tomorrow))
    with Claims(tmp_path, SECOND) as theirs:
        assert theirs.is_free("part")
        assert theirs.take("part")


def test_a_damaged_claim_goes_by_its_time(tmp_path: Path) -> None:
    path = tmp_path / "part"
    path.write_bytes(b"\xff\xfe\x00")
    with Claims(tmp_path, SECOND) as theirs:
        assert not theirs.take("part")
        os.utime(path, (0, 0))
        assert theirs.take("part")
