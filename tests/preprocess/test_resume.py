"""The same command again: what is kept, what is redone, what is refused; and shares of one run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from demo_build import Demo

import preprocess.encode
from preprocess.commands import main
from preprocess.errors import ConfigError
from preprocess.share import Share
from tests.preprocess.workshop import published

SHARD_BYTES = 3_000_000


def command(demo: Demo, target: Path, *flags: str) -> int:
    defaults = ["--workers", "0", "--shard_bytes", str(SHARD_BYTES), "--dataset_use", "charts,clips,flawed"]
    return main(["run", "--config", str(demo.config), "--output_dir", str(target), *defaults, *flags])


@pytest.fixture(scope="module")
def whole(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "out"
    assert command(demo, folder) == 0
    assert len(list(folder.glob("shard-*"))) > 2
    return folder


@pytest.fixture
def started(whole: Path, tmp_path: Path) -> Path:
    """A copy that tests may damage; file times are those of the original."""
    return Path(shutil.copytree(whole, tmp_path / "out"))


def forbid(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError(f"{method} was called")

    monkeypatch.setattr(preprocess.encode.SampleEncoder, method, refuse)


def test_a_finished_run_is_neither_measured_nor_encoded_again(
    demo: Demo, whole: Path, started: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid(monkeypatch, "measure")
    forbid(monkeypatch, "encode")
    assert command(demo, started) == 0
    assert published(started) == published(whole)


def lose_a_shard(folder: Path) -> None:
    (folder / "shard-000001.arrow").unlink()


def truncate_a_shard(folder: Path) -> None:
    path = folder / "shard-000001.arrow"
    path.write_bytes(path.read_bytes()[:-100])


def lose_a_sidecar(folder: Path) -> None:
    (folder / "plan" / "done" / "shard-000001.json").unlink()


def lose_the_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


@pytest.mark.parametrize("damage", [lose_a_shard, truncate_a_shard, lose_a_sidecar, lose_the_manifest])
def test_what_is_missing_is_redone_from_the_plan(
    demo: Demo, whole: Path, started: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], None]
) -> None:
    damage(started)
    forbid(monkeypatch, "measure")
    untouched = (started / "shard-000000.arrow").stat().st_mtime_ns
    assert command(demo, started) == 0
    assert published(started) == published(whole)
    assert (started / "shard-000000.arrow").stat().st_mtime_ns == untouched


def test_an_interrupted_plan_goes_on_with_the_parts_that_are_missing(
    demo: Demo, whole: Path, started: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("manifest.json", "manifest.sha256", "plan/plan.json", "plan/samples/part-000001.arrow"):
        (started / name).unlink()
    measured: list[str] = []
    measure = preprocess.encode.SampleEncoder.measure

    def note(self: preprocess.encode.SampleEncoder, sample: preprocess.encode.Sample) -> object:
        measured.append(sample.dataset)
        return measure(self, sample)

    monkeypatch.setattr(preprocess.encode.SampleEncoder, "measure", note)
    assert command(demo, started) == 0
    assert set(measured) == {"clips"}, "each dataset is a part of its own here; the second is the one lost"
    assert published(started) == published(whole)


def test_another_configuration_is_refused_with_the_difference(
    demo: Demo, whole: Path, started: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in started.rglob("*") if path.is_file()}
    assert command(demo, started, "--max_pixels", "50176", "--seed", "7") == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "config.max_pixels was 100352, is 50176" in line
    assert "config.seed was 0, is 7" in line
    assert "--overwrite" in line
    assert {path: path.read_bytes() for path in started.rglob("*") if path.is_file()} == before


def test_overwrite_replaces_the_run_and_leaves_foreign_files(demo: Demo, whole: Path, started: Path) -> None:
    (started / "notes.txt").write_text("mine")
    assert command(demo, started, "--seed", "7", "--overwrite") == 0
    assert (started / "notes.txt").read_text() == "mine"
    assert published(started) != published(whole)
    assert command(demo, started, "--overwrite") == 0
    (started / "notes.txt").unlink()
    assert published(started) == published(whole)


def test_overwrite_does_not_touch_a_foreign_folder(demo: Demo, tmp_path: Path) -> None:
    (tmp_path / "shard-of-something-else").write_text("mine")
    assert command(demo, tmp_path, "--overwrite") == 2
    assert [path.name for path in tmp_path.iterdir()] == ["shard-of-something-else"]


# --- shares ----------------------------------------------------------------------------------------------------------


def test_shares_on_one_folder_give_the_same_bytes_and_the_last_publishes(
    demo: Demo, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "out"
    for index in (2, 0):
        assert command(demo, folder, "--task", f"{index}/3") == 0
        assert "of other shares" in capsys.readouterr().out
        assert not (folder / "manifest.json").exists()
    assert command(demo, folder, "--task", "1/3") == 0
    assert published(folder) == published(whole)


def test_a_share_comes_from_the_flag_or_from_slurm() -> None:
    slurm = {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_STEP": "2"}
    slurm["SLURM_ARRAY_TASK_COUNT"] = "4"
    assert Share.of_job(None, slurm) == Share(index=3, of=4)
    assert Share.of_job("1/2", slurm) == Share(index=1, of=2), "the flag wins"
    assert Share.of_job(None, {}) == Share(index=0, of=1)


@pytest.mark.parametrize("task", ["2/2", "x/2", "1", "1/0", "-1/2", ""])
def test_a_share_that_does_not_exist_is_refused(task: str) -> None:
    with pytest.raises(ConfigError, match="say i/N"):
        Share.of_job(task, {})


def test_every_task_is_in_exactly_one_share() -> None:
    shares = [Share(index=index, of=3) for index in range(3)]
    assert all(sum(task in share for share in shares) == 1 for task in range(20))


# --- a disk that is full or read-only --------------------------------------------------------------------------------


def test_a_full_disk_is_one_error_and_a_resume_completes(
    demo: Demo, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "out"
    replaced: list[str] = []
    replace_file = os.replace

    def fill_up(source: str | Path, target: str | Path) -> None:
        replaced.append(str(target))
        if str(target).endswith("shard-000001.arrow"):
            raise OSError(28, "No space left on device", str(target))
        replace_file(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fill_up)
        assert command(demo, folder) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert "No space left on device" in line
    assert (folder / "shard-000000.arrow").exists()
    assert not (folder / "manifest.json").exists()
    assert command(demo, folder) == 0
    assert published(folder) == published(whole)
