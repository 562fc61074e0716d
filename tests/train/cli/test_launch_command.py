import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from train.cli import launch_command
from train.cluster.launch.job import Job
from train.errors import UsageError

FLAGS = ["--shards", "made", "--model", "m", "--output_dir", "out"]
GIVEN = ["--shards=made", "--model=m", "--output_dir=out"]  # as they are passed on
ENVIRONMENT = ("MS_ROLE", "MS_WORKER_NUM", "RANK_SIZE", "NNODES", "NODE_RANK", "NPROC_PER_NODE", "SLURM_JOB_ID")


class Launched(Exception):
    """Raised in place of a launch."""

    def __init__(self, job: Job, command: Sequence[str], log_dir: Path) -> None:
        self.job, self.command, self.log_dir = job, list(command), log_dir


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four NPUs, and nothing in the environment."""

    def launch(job: Job, command: Sequence[str], log_dir: Path, say: object) -> int:
        raise Launched(job, command, log_dir)

    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(launch_command, "launch", launch)
    monkeypatch.setattr(launch_command, "count_devices", lambda: 4)


def launched(*argv: str) -> Launched:
    with pytest.raises(Launched) as error:
        launch_command.run(argv, print)
    return error.value


def test_a_rank_for_each_npu_with_the_flags_of_the_trainer() -> None:
    found = launched(*FLAGS)
    assert found.job.size == 4
    assert found.command == [sys.executable, "-m", "train", *GIVEN]
    assert found.log_dir == Path("out/logs")


@pytest.mark.parametrize("words", [["--nproc", "2"], ["--nproc=2"]])
def test_nproc_is_the_launchers_own(words: list[str]) -> None:
    found = launched(*FLAGS[:2], *words, *FLAGS[2:], "--bf16", "--seed", "7")
    assert found.job.size == 2
    assert found.command[3:] == [*GIVEN, "--bf16", "--seed=7"]


def test_a_backend_of_one_process_is_not_started_as_several() -> None:
    with pytest.raises(UsageError, match="backend mindnlp trains in one process, not in 4: add --nproc 1"):
        launch_command.run([*FLAGS, "--backend", "mindnlp"], print)
    assert launch_command.run(["--nproc=1", *FLAGS, "--backend", "mindnlp"], print) == [*GIVEN, "--backend=mindnlp"]


def test_the_output_folder_may_stand_in_a_file(tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("output_dir: there\nshards: made\nmodel: m\n")
    assert launched("--config", str(config)).log_dir == tmp_path / "there" / "logs"


@pytest.mark.parametrize("words", [["--nproc", "1"], ["--device", "CPU"]])
def test_one_process_needs_no_launcher(words: list[str]) -> None:
    flags = launch_command.run([*FLAGS, *words], print)
    assert flags == GIVEN + ([] if words[0] == "--nproc" else ["--device=CPU"])


def test_what_msrun_started_is_a_rank_already(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("MS_ROLE", "MS_WORKER"), ("MS_WORKER_NUM", "2"), ("RANK_SIZE", "2")):
        monkeypatch.setenv(name, value)
    assert launch_command.run(FLAGS, print) == GIVEN


def test_what_a_platform_says_of_ranks_does_not_hinder_a_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK_SIZE", "8")
    assert launched(*FLAGS).job.size == 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--nproc", "0"], "--nproc: '0' is not a number of ranks"),
        (["--nproc"], "--nproc: 'true' is not a number of ranks"),
        (["--nproc", "8"], "--nproc is 8, but this node has 4 NPUs"),
        (["--learnin_rate", "1"], "did you mean --learning_rate?"),
    ],
)
def test_wrong_flags_are_refused_before_anything_starts(words: list[str], message: str) -> None:
    with pytest.raises(UsageError) as error:
        launch_command.run([*FLAGS, *words], print)
    assert message in str(error.value)
