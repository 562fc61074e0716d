"""The same command again: what is kept, what is redone, what is refused; and shares of one run."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from demo_build import Demo

import preprocess.encode
import preprocess.output_dir
import preprocess.run
from preprocess.cli.commands import main
from preprocess.jobs.share import Claims, Share
from preprocess.plan.tables import read_table, write_table
from preprocess.sample import MeasuredSample
from tests.preprocess.workshop import published, samples_of

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


def note_measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The datasets of samples that are measured from now on."""
    measured: list[str] = []
    measure = preprocess.encode.SampleEncoder.measure

    def note(self: preprocess.encode.SampleEncoder, sample: preprocess.encode.Sample) -> object:
        encoded = measure(self, sample)
        measured.append(sample.dataset)
        return encoded

    monkeypatch.setattr(preprocess.encode.SampleEncoder, "measure", note)
    return measured


def test_a_finished_run_is_neither_measured_nor_encoded_again(
    demo: Demo, whole: Path, started: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    forbid(monkeypatch, "measure")
    forbid(monkeypatch, "encode")
    assert command(demo, started) == 0
    assert published(started) == published(whole)
    said = capsys.readouterr().out
    assert "\nwas done before: " in said and "\nwrote " not in said


def test_a_run_that_went_on_says_that_it_wrote(demo: Demo, started: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lose_a_shard(started)
    assert command(demo, started) == 0
    assert "\nwrote " in capsys.readouterr().out


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
    measured = note_measured(monkeypatch)
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


def test_moved_media_are_another_run(
    demo: Demo, started: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The plan knows their paths, and what it rejected may be there now."""
    (tmp_path / "elsewhere").mkdir()
    registry = tmp_path / "moved.yaml"
    entries = yaml.safe_load(demo.registry.read_text(encoding="utf-8"))
    for entry in entries.values():
        entry["annotation_path"] = str(demo.registry.parent / entry["annotation_path"])
        entry["data_path"] = str(tmp_path / "elsewhere")
    registry.write_text(yaml.safe_dump(entries), encoding="utf-8")
    assert command(demo, started, "--datasets", str(registry)) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "locations.charts.data_path was" in line
    assert str(tmp_path / "elsewhere") in line


def test_hashes_of_media_can_not_be_had_afterwards(
    demo: Demo, started: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(demo, started, "--hash_media", "true") == 2
    assert "hash_media was False, is True" in capsys.readouterr().err


def forge(path: Path) -> None:
    """A sidecar of another run."""
    record = json.loads(path.read_text(encoding="utf-8"))
    assert record["fingerprint"]
    path.write_text(json.dumps({**record, "fingerprint": "0" * 64}), encoding="utf-8")


def test_shards_of_another_run_are_written_again(demo: Demo, whole: Path, started: Path) -> None:
    """A process of the run that was here before may have ended late."""
    forge(started / "plan" / "done" / "shard-000001.json")
    (started / "shard-000001.arrow").write_bytes((whole / "shard-000000.arrow").read_bytes())
    assert command(demo, started) == 0
    assert published(started) == published(whole)


def test_parts_of_another_run_are_measured_again(
    demo: Demo, whole: Path, started: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    assert command(demo, other, "--max_pixels", "50176") == 0
    for name in ("manifest.json", "plan/plan.json"):
        (started / name).unlink()
    shutil.copyfile(other / "plan/samples/part-000000.arrow", started / "plan/samples/part-000000.arrow")
    measured = note_measured(monkeypatch)
    assert command(demo, started) == 0
    assert set(measured) == {"charts"}
    assert published(started) == published(whole)


def test_a_part_with_other_samples_than_the_plan_says_stops_the_run(
    demo: Demo, started: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part = started / "plan" / "samples" / "part-000000.arrow"
    table = read_table(part)
    write_table(part, table.slice(1))
    lose_a_shard(started)
    assert command(demo, started) == 1
    assert f"{part} has {len(table) - 1} samples, the plan has {len(table)}" in capsys.readouterr().err


def test_a_lost_ledger_is_not_taken_for_no_rejects(
    demo: Demo, started: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = started / "plan" / "rejects.jsonl"
    assert ledger.read_bytes()
    ledger.write_bytes(b"")
    (started / "manifest.json").unlink()
    assert command(demo, started) == 1
    assert f"{ledger} lists 0 rejects" in capsys.readouterr().err
    assert not (started / "manifest.json").exists()


def test_a_shard_is_not_redone_under_a_standing_manifest(
    demo: Demo, started: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_a_shard(started)
    forbid(monkeypatch, "encode")
    with pytest.raises(AssertionError, match="encode was called"):
        command(demo, started)
    assert not (started / "manifest.json").exists()


def test_what_killed_workers_wrote_makes_room_before_anything_is_written(
    demo: Demo, started: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = socket.gethostname().partition(".")[0]
    dead = subprocess.Popen(["true"])
    dead.wait()
    run = json.loads((started / "manifest.json").read_text())["fingerprint"][:16]
    abandoned, ours, elsewhere = (
        started / ".writing" / f"shard-000001.{pid}.{machine}.{run}.x"
        for pid, machine in ((dead.pid, host), (os.getpid(), host), (dead.pid, "elsewhere"))
    )
    for workspace in (abandoned, ours, elsewhere):
        workspace.mkdir(parents=True)
    lose_a_shard(started)
    forbid(monkeypatch, "encode")
    with pytest.raises(AssertionError, match="encode was called"):
        command(demo, started)
    assert not abandoned.exists()
    assert ours.exists(), "its process lives"
    assert elsewhere.exists(), "nobody here knows"


def test_overwrite_replaces_the_run_and_leaves_foreign_files(demo: Demo, whole: Path, started: Path) -> None:
    (started / "notes.txt").write_text("mine")
    assert command(demo, started, "--seed", "7", "--overwrite") == 0
    assert (started / "notes.txt").read_text() == "mine"
    assert published(started) != published(whole)
    assert command(demo, started, "--overwrite") == 0
    (started / "notes.txt").unlink()
    assert published(started) == published(whole)


def test_overwrite_goes_on_with_an_unfinished_run_of_the_same_configuration(
    demo: Demo, whole: Path, started: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job of a batch queue is started again with the flags that it had."""
    for name in ("manifest.json", "shard-000001.arrow"):
        (started / name).unlink()
    untouched = (started / "shard-000000.arrow").stat().st_mtime_ns
    forbid(monkeypatch, "measure")
    assert command(demo, started, "--overwrite") == 0
    assert (started / "shard-000000.arrow").stat().st_mtime_ns == untouched
    assert published(started) == published(whole)


@pytest.mark.parametrize("flags", [["--seed", "7"], []], ids=["another run", "the same run, published"])
def test_array_jobs_do_not_overwrite(
    demo: Demo, whole: Path, started: Path, capsys: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    before = published(started)
    assert command(demo, started, "--overwrite", "--task", "1/2", *flags) == 2
    assert f"remove {started}" in capsys.readouterr().err
    assert published(started) == before


def test_an_interrupted_removal_goes_on(
    demo: Demo, whole: Path, started: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = 0
    unlink, rmtree = Path.unlink, shutil.rmtree

    class Killed(BaseException):
        pass

    def counting(real: Callable[..., None], kill_at: int) -> Callable[..., None]:
        def step(*arguments: object, **options: object) -> None:
            nonlocal steps
            steps += 1
            if steps == kill_at:
                raise Killed
            real(*arguments, **options)

        return step

    for kill_at in range(1, 100):
        steps = 0
        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", counting(unlink, kill_at))
            patch.setattr(preprocess.output_dir.shutil, "rmtree", counting(rmtree, kill_at))
            try:
                preprocess.output_dir._remove_run(started)
            except Killed:
                pass
            else:
                break
        assert not (started / "manifest.json").exists() or kill_at == 1
        if not (started / "plan").exists():
            [left] = started.iterdir()
            assert left.name.startswith(".beginning-"), "no run has what is left"
            rmtree(left)
            break
        assert (started / "plan" / "inputs.json").exists(), "still known as ours"
        if kill_at > 2:
            assert command(demo, started) == 2, "it is no unfinished run that goes on"
            assert "pass it again" in capsys.readouterr().err
    assert kill_at > 5, "it was interrupted several times"
    assert not any(started.iterdir())
    assert command(demo, started) == 0
    assert published(started) == published(whole)


def test_overwrite_does_not_remove_the_model_that_it_needs(
    demo: Demo, started: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = published(started)
    assert command(demo, started, "--overwrite", "--model", str(started / "model")) == 2
    assert f"--overwrite would remove the model {started / 'model'}" in capsys.readouterr().err
    assert published(started) == before


@pytest.mark.parametrize("content", [b"", b"{}", bytes(100)], ids=["empty", "{}", "zeros"])
@pytest.mark.parametrize(
    "name",
    [
        *("inputs.json", "plan.json", "rejects.jsonl", "done/shard-000001.json"),
        *("samples/part-000000.arrow", "parts.arrow", "packs.arrow", "tasks.arrow"),
    ],
)
def test_a_damaged_plan_is_mended_or_one_line(
    demo: Demo, whole: Path, started: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes
) -> None:
    path = started / "plan" / name
    path.write_bytes(content)
    lose_a_shard(started)
    capsys.readouterr()
    code = command(demo, started)
    if code == 0:
        assert published(started) == published(whole)
    else:
        [line] = capsys.readouterr().err.splitlines()
        assert str(path) in line or "holds another run" in line


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
        assert "still to come from other shares" in capsys.readouterr().out
        assert not (folder / "manifest.json").exists()
    assert command(demo, folder, "--task", "1/3") == 0
    assert published(folder) == published(whole)


def test_a_job_waits_for_what_another_is_at_and_takes_it_over_when_that_ends(
    demo: Demo, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"
    (folder / "plan").mkdir(parents=True)
    measured = note_measured(monkeypatch)
    waited: list[set[str]] = []
    with Claims(folder / "plan" / "claims", Share(index=1, of=2)) as other:
        assert other.take("part-000001")

        def end_the_other(seconds: float) -> None:
            waited.append(set(measured))
            other.release("part-000001")

        monkeypatch.setattr(preprocess.run.time, "sleep", end_the_other)
        (folder / "plan" / "inputs.json").write_bytes((whole / "plan" / "inputs.json").read_bytes())
        assert command(demo, folder, "--task", "0/2") == 0
    assert waited == [{"charts", "flawed"}], "all but what the other job was at"
    assert set(measured) == {"charts", "clips", "flawed"}
    assert len(measured) == len(measured_once(whole)), "nothing twice"
    assert command(demo, folder, "--task", "1/2") == 0
    assert published(folder) == published(whole)


def measured_once(folder: Path) -> list[MeasuredSample]:
    return list(samples_of(folder / "plan"))


def test_a_plan_that_another_job_is_packing_is_waited_for(
    demo: Demo, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"
    (folder / "plan").mkdir(parents=True)
    with Claims(folder / "plan" / "claims", Share(index=1, of=2)) as other:
        assert other.take("plan")

        def finish(seconds: float) -> None:
            for name in ("packs.arrow", "tasks.arrow", "parts.arrow", "rejects.jsonl", "plan.json"):
                shutil.copyfile(whole / "plan" / name, folder / "plan" / name)

        monkeypatch.setattr(preprocess.run.time, "sleep", finish)
        monkeypatch.setattr(preprocess.run, "finish_plan", lambda *_: pytest.fail("packed a second time"))
        (folder / "plan" / "inputs.json").write_bytes((whole / "plan" / "inputs.json").read_bytes())
        assert command(demo, folder, "--task", "0/2") == 0


def test_every_shard_is_in_exactly_one_share() -> None:
    shares = [Share(index=index, of=3) for index in range(3)]
    assert all(sum(index in share for share in shares) == 1 for index in range(20))


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
