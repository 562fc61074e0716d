"""`--durability run`: nothing waits for the disk but the end of a job, and nothing counts that may not be on it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from demo_build import Demo

import shards.formats.writer
from shards.formats.writer import read_sidecar
from tests.preprocess.test_resume import command, forbid, published

RUN = ("--durability", "run")


@pytest.fixture(scope="module")
def whole(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "out"
    assert command(demo, folder) == 0
    assert len(list(folder.glob("shard-*"))) > 2
    return folder


def note_syncs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files of `folder`, or of its shards while they are being written, that are synced from now on."""
    synced: list[str] = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        if path.is_file() and (path.parent == folder or folder / ".writing" in path.parents):
            synced.append(path.name)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    return synced


def is_synced(folder: Path, index: int) -> bool:
    sidecar = read_sidecar(folder, index)
    assert sidecar is not None
    return sidecar.synced


@pytest.mark.parametrize("format", ["arrow", "mindrecord"])
def test_shards_are_synced_once_all_are_written(
    demo: Demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str
) -> None:
    synced = note_syncs(tmp_path / "out", monkeypatch)
    written_before_sync: list[int] = []
    sync_file = shards.formats.writer.sync_file

    def note(path: Path) -> None:
        written_before_sync.append(len(list((tmp_path / "out").glob(f"shard-*.{format}"))))
        sync_file(path)

    monkeypatch.setattr(shards.formats.writer, "sync_file", note)
    assert command(demo, tmp_path / "out", *RUN, "--format", format) == 0
    files = sorted(path.name for path in (tmp_path / "out").glob("shard-*"))
    assert sorted(synced[: len(files)]) == files
    assert not any(name in files for name in synced[len(files) :]), "each once"
    assert any("manifest.json" in name for name in synced[len(files) :])
    assert set(written_before_sync) == {len([name for name in files if name.endswith(format)])}


def test_bytes_are_those_of_a_run_that_syncs_each_shard(demo: Demo, whole: Path, tmp_path: Path) -> None:
    assert command(demo, tmp_path / "out", *RUN, "--workers", "1") == 0
    assert published(tmp_path / "out") == published(whole)
    assert all(is_synced(tmp_path / "out", index) for index in range(len(list(whole.glob("shard-*")))))


@pytest.fixture
def interrupted(demo: Demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All shards are written, and none is synced."""

    def stop(path: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patches:
        patches.setattr(shards.formats.writer, "sync_file", stop)
        with pytest.raises(KeyboardInterrupt):
            command(demo, tmp_path / "out", *RUN)
    assert not (tmp_path / "out" / "manifest.json").exists()
    assert not any(is_synced(tmp_path / "out", index) for index in range(3))
    return tmp_path / "out"


@pytest.mark.parametrize("flags", [(), RUN])
def test_what_was_not_synced_is_checked_and_kept(
    demo: Demo, whole: Path, interrupted: Path, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...]
) -> None:
    forbid(monkeypatch, "encode")
    assert command(demo, interrupted, *flags) == 0
    assert published(interrupted) == published(whole)
    assert all(is_synced(interrupted, index) for index in range(3))


def zero_the_end(path: Path) -> None:
    """As a file system may leave what had not come to the disk."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))


@pytest.mark.parametrize("damage", [zero_the_end, Path.unlink])
def test_what_a_crash_of_the_machine_left_of_a_shard_is_written_again(
    demo: Demo, whole: Path, interrupted: Path, damage: object
) -> None:
    assert callable(damage)
    damage(interrupted / "shard-000001.arrow")
    untouched = (interrupted / "shard-000000.arrow").stat().st_mtime_ns
    assert command(demo, interrupted) == 0
    assert published(interrupted) == published(whole)
    assert (interrupted / "shard-000000.arrow").stat().st_mtime_ns == untouched


def test_what_another_machine_wrote_can_not_be_synced(
    demo: Demo, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(demo, tmp_path / "out", *RUN, "--executor", "ray") == 2
    assert "durability run needs executor local" in capsys.readouterr().err


def test_a_sidecar_of_before_tells_of_a_synced_shard(whole: Path) -> None:
    path = whole / "plan" / "done" / "shard-000000.json"
    before = path.read_text()
    assert before.endswith(',\n "synced": true\n}\n')
    try:
        path.write_text(before.replace(',\n "synced": true\n', "\n"))
        assert is_synced(whole, 0)
    finally:
        path.write_text(before)
