from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from train.__main__ import main
from train.cli import doctor_command
from train.cluster.launch.job import Job


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MS_ROLE", "MS_WORKER_NUM", "RANK_SIZE", "NNODES", "NODE_RANK", "NPROC_PER_NODE", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(doctor_command, "count_devices", lambda: 0)


def test_without_npus_this_process_is_examined() -> None:
    assert doctor_command.run([], print) == "auto"
    assert doctor_command.run(["--device", "CPU"], print) == "CPU"


@pytest.mark.parametrize("code", [0, 1])
def test_ranks_are_started_and_their_logs_kept_where_something_failed(
    code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[tuple[Job, Sequence[str], Path]] = []

    def launch(job: Job, command: Sequence[str], logs: Path, say: object) -> int:
        started.append((job, command, logs))
        return code

    monkeypatch.setattr(doctor_command, "launch", launch)
    assert doctor_command.run(["--nproc", "2", "--device", "CPU"], print) == code
    ((job, command, logs),) = started
    assert job.size == 2
    assert command == [sys.executable, "-m", "train", "doctor", "--device=CPU"]
    assert logs.exists() == (code != 0)
    if code:
        logs.rmdir()


def test_a_rank_starts_no_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MS_ROLE", "MS_WORKER")
    assert doctor_command.run(["--nproc", "2"], print) == "auto"


@pytest.mark.parametrize(
    ("words", "message"),
    [(["--device", "GPU"], "device GPU is not supported"), (["--devise", "CPU"], "did you mean --device?")],
)
def test_wrong_flags_are_refused(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", *words]) == 2
    assert message in capsys.readouterr().err


def test_help_says_what_it_tries(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--help"]) == 0
    assert "--nproc N" in capsys.readouterr().out
