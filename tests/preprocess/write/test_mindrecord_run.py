"""`--format mindrecord`: the same packs as in Arrow, and every promise about interrupted and reused runs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from demo_build import Demo

import preprocess.output_dir
import shards.formats.mindrecord
from preprocess.cli.commands import main
from shards import open_shards
from shards.convert import convert_shards
from shards.files.hashing import sha256_of_file
from shards.formats.writer import read_sidecar
from tests.preprocess.test_resume import command, forbid, published
from tests.preprocess.write.test_reuse import count_decoded
from tests.shards.packs import assert_same

MINDRECORD = ("--format", "mindrecord")


@pytest.fixture(scope="module")
def arrow(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("arrow") / "out"
    assert command(demo, folder) == 0
    return folder


@pytest.fixture(scope="module")
def whole(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mindrecord") / "out"
    assert command(demo, folder, *MINDRECORD) == 0
    return folder


@pytest.fixture
def started(whole: Path, tmp_path: Path) -> Path:
    """A copy that tests may damage."""
    return Path(shutil.copytree(whole, tmp_path / "out"))


def test_the_packs_are_those_of_an_arrow_run(arrow: Path, whole: Path) -> None:
    expected, got = open_shards(arrow), open_shards(whole)
    assert got.manifest.format == "mindrecord"
    assert len(expected) == len(got) > 2
    for pack, other in zip(expected, got, strict=True):
        assert_same(other, pack)
    for name in ("model", "pack_length", "pack_patches", "maxima", "totals", "datasets"):
        assert getattr(got.manifest, name) == getattr(expected.manifest, name)
    assert got.manifest.fingerprint != expected.manifest.fingerprint


def test_the_manifest_holds_sizes_and_hashes_of_both_files(whole: Path) -> None:
    files = [file for entry in open_shards(whole).manifest.shards for file in entry.files()]
    assert sorted(file.name for file in files) == sorted(path.name for path in whole.glob("shard-*"))
    for name, num_bytes, sha256 in files:
        assert ((whole / name).stat().st_size, sha256_of_file(whole / name)) == (num_bytes, sha256)


def lose_an_index(folder: Path) -> None:
    (folder / "shard-000001.mindrecord.db").unlink()


def truncate_a_shard(folder: Path) -> None:
    path = folder / "shard-000001.mindrecord"
    path.write_bytes(path.read_bytes()[:-100])


def lose_a_sidecar(folder: Path) -> None:
    (folder / "plan" / "done" / "shard-000001.json").unlink()


@pytest.mark.parametrize("damage", [lose_an_index, truncate_a_shard, lose_a_sidecar])
def test_what_is_missing_is_redone_byte_for_byte(
    demo: Demo, whole: Path, started: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], None]
) -> None:
    damage(started)
    (started / "manifest.json").unlink()
    forbid(monkeypatch, "measure")
    untouched = (started / "shard-000000.mindrecord").stat().st_mtime_ns
    assert command(demo, started, *MINDRECORD) == 0
    assert published(started) == published(whole)
    assert (started / "shard-000000.mindrecord").stat().st_mtime_ns == untouched


@pytest.mark.parametrize("name", ["shard-000001.mindrecord.db", "shard-000001.mindrecord"])
def test_a_run_stopped_between_the_two_files_goes_on(
    demo: Demo, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    replace = os.replace

    def stop(source: Any, target: Any) -> None:
        if Path(target).name == name:
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patches:
        patches.setattr(os, "replace", stop)
        with pytest.raises(KeyboardInterrupt):
            command(demo, tmp_path / "out", *MINDRECORD)
    assert not (tmp_path / "out" / "shard-000001.mindrecord").exists()
    assert command(demo, tmp_path / "out", *MINDRECORD) == 0
    assert published(tmp_path / "out") == published(whole)


def test_another_process_writes_the_same_bytes(demo: Demo, whole: Path, tmp_path: Path) -> None:
    assert command(demo, tmp_path / "out", *MINDRECORD, "--workers", "1") == 0
    assert published(tmp_path / "out") == published(whole)


def test_patches_are_reused_from_either_format_in_either(
    demo: Demo, arrow: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = count_decoded(monkeypatch)
    assert command(demo, tmp_path / "mindrecord", *MINDRECORD, "--reuse", str(arrow)) == 0
    assert command(demo, tmp_path / "arrow", "--reuse", str(whole)) == 0
    assert decoded == []
    assert published(tmp_path / "mindrecord") == published(whole)
    assert published(tmp_path / "arrow") == published(arrow)


def test_a_damaged_index_is_not_reused(
    demo: Demo, started: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index = started / "shard-000000.mindrecord.db"
    content = bytearray(index.read_bytes())
    content[-1] ^= 1
    index.write_bytes(content)
    assert command(demo, tmp_path / "new", "--reuse", str(started)) == 1
    assert not (tmp_path / "new" / "manifest.json").exists()
    assert index.name in capsys.readouterr().err


def test_another_format_in_the_same_folder_is_another_run(
    demo: Demo, arrow: Path, started: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(demo, started) == 2
    assert "config.format was mindrecord, is arrow" in capsys.readouterr().err
    assert command(demo, started, "--overwrite", "true") == 0
    assert published(started) == published(arrow)


def test_without_mindspore_nothing_is_written(
    demo: Demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(preprocess.output_dir, "find_spec", lambda name: None)
    assert command(demo, tmp_path / "out", *MINDRECORD) == 2
    assert "pip install 'mindspore" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_pack_that_no_page_holds_is_refused_by_the_plan(
    demo: Demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shards.formats.mindrecord, "MAX_PAGE_BYTES", 100_000)
    flags = ["--config", str(demo.config), "--output_dir", str(tmp_path / "out"), "--workers", "0"]
    assert main(["plan", *flags, *MINDRECORD]) == 2
    message = capsys.readouterr().err
    assert "a MindRecord page holds 100,000" in message and "format arrow" in message
    assert main(["plan", *flags]) == 0


# --- converted runs ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def converted(arrow: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("converted") / "out"
    convert_shards(arrow, folder, format="mindrecord")
    return folder


def test_a_converted_run_is_what_a_run_would_have_written(arrow: Path, whole: Path, converted: Path) -> None:
    assert published(converted) == published(whole)
    ours, written = planned(converted), planned(whole)
    assert {"plan.json", "inputs.json", "samples/part-000000.arrow", "media/shard-000000.arrow"} < ours.keys()
    assert ours == written
    num_shards = len(list((converted / "plan" / "done").iterdir()))
    assert num_shards > 2
    for index in range(num_shards):
        one, other = (read_sidecar(folder, index) for folder in (converted, whole))
        assert one is not None and other is not None
        assert replace(one, slowest=()) == replace(other, slowest=()), "but for what took how long"


def planned(folder: Path) -> dict[str, bytes]:
    """All of the plan that no clock had a part in."""
    plan = folder / "plan"
    found = {str(path.relative_to(plan)): path.read_bytes() for path in plan.rglob("*") if path.is_file()}
    return {name: content for name, content in found.items() if name != "slowest.json" and not name.startswith("done/")}


def test_converted_back_a_run_is_the_same_folder(arrow: Path, converted: Path, tmp_path: Path) -> None:
    convert_shards(converted, tmp_path / "back", format="arrow")
    before, after = (
        {p.relative_to(f): p.read_bytes() for p in f.rglob("*") if p.is_file()} for f in (arrow, tmp_path / "back")
    )
    assert after == before


def test_a_converted_run_is_resumed_reported_and_reused(
    demo: Demo,
    whole: Path,
    converted: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["report", str(converted)]) == 0
    assert "shard" in capsys.readouterr().out
    decoded = count_decoded(monkeypatch)
    assert command(demo, tmp_path / "new", *MINDRECORD, "--reuse", str(converted)) == 0
    assert published(tmp_path / "new") == published(whole)
    shutil.copytree(converted, tmp_path / "resumed")
    lose_an_index(tmp_path / "resumed")
    assert command(demo, tmp_path / "resumed", *MINDRECORD, "--reuse", str(converted)) == 0
    assert published(tmp_path / "resumed") == published(whole)
    assert decoded == []
