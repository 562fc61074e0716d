"""`--compress zstd`: the same packs in fewer bytes, and every promise about interrupted and reused runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from demo_build import Demo

import shards.formats.arrow
from preprocess.cli.commands import main
from shards import Pack, open_shards
from shards.__main__ import main as shards_main
from shards.convert import convert_shards
from shards.pack import PatchColumn
from tests.preprocess.test_resume import command, forbid, published
from tests.preprocess.write.test_mindrecord_run import planned
from tests.preprocess.write.test_reuse import count_decoded
from tests.shards.packs import assert_same

ZSTD = ("--compress", "zstd")


@pytest.fixture(scope="module")
def raw(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw") / "out"
    assert command(demo, folder) == 0
    return folder


@pytest.fixture(scope="module")
def compressed(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compressed") / "out"
    assert command(demo, folder, *ZSTD) == 0
    return folder


def test_the_packs_are_those_of_a_raw_run_in_fewer_bytes(raw: Path, compressed: Path) -> None:
    expected, got = open_shards(raw), open_shards(compressed)
    assert got.manifest.format == "arrow_zstd"
    assert len(expected) == len(got) > 2
    for pack, other in zip(expected, got, strict=True):
        assert_same(other, pack)
    for name in ("model", "pack_length", "pack_patches", "maxima", "totals", "datasets"):
        assert getattr(got.manifest, name) == getattr(expected.manifest, name)
    assert got.manifest.fingerprint != expected.manifest.fingerprint
    sizes = [sum(entry.num_bytes for entry in each.manifest.shards) for each in (expected, got)]
    assert 2 * sizes[1] < sizes[0]


def test_converting_gives_what_a_run_would_have_written(raw: Path, compressed: Path, tmp_path: Path) -> None:
    for source, format, like in ((raw, "arrow_zstd", compressed), (compressed, "arrow", raw)):
        convert_shards(source, tmp_path / format, format=format)
        assert published(tmp_path / format) == published(like)
        assert planned(tmp_path / format) == planned(like)


def test_an_interrupted_run_goes_on(
    demo: Demo, compressed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = shards.formats.arrow.ArrowShardWriter.write
    left = [3]

    def stop(self: shards.formats.arrow.ArrowShardWriter, pack: Pack) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        write(self, pack)

    with monkeypatch.context() as patches:
        patches.setattr(shards.formats.arrow.ArrowShardWriter, "write", stop)
        with pytest.raises(KeyboardInterrupt):
            command(demo, tmp_path / "out", *ZSTD)
    begun = list((tmp_path / "out").glob("shard-*"))
    assert 0 < len(begun) < len(list(compressed.glob("shard-*")))
    forbid(monkeypatch, "measure")
    assert command(demo, tmp_path / "out", *ZSTD) == 0
    assert published(tmp_path / "out") == published(compressed)


def test_patches_are_reused_from_either_in_either(
    demo: Demo, raw: Path, compressed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = count_decoded(monkeypatch)
    assert command(demo, tmp_path / "compressed", *ZSTD, "--reuse", str(raw)) == 0
    assert command(demo, tmp_path / "raw", "--reuse", str(compressed)) == 0
    assert decoded == []
    assert published(tmp_path / "compressed") == published(compressed)
    assert published(tmp_path / "raw") == published(raw)


def test_what_is_reused_is_expanded_without_its_pack(
    demo: Demo, raw: Path, compressed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    patches = shards.formats.arrow.ArrowShard.patches

    def note(self: shards.formats.arrow.ArrowShard, row: int, name: PatchColumn, first: int, number: int) -> np.ndarray:
        asked.append(number)
        return patches(self, row, name, first, number)

    def refuse(self: shards.formats.arrow.ArrowShard, row: int) -> Pack:
        raise AssertionError("a whole pack was read")

    monkeypatch.setattr(shards.formats.arrow.ArrowShard, "patches", note)
    monkeypatch.setattr(shards.formats.arrow.ArrowShard, "__getitem__", refuse)
    assert command(demo, tmp_path / "out", "--reuse", str(compressed)) == 0
    assert len(asked) > 10
    assert published(tmp_path / "out") == published(raw)


def test_the_commands_read_it(compressed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert shards_main(["info", str(compressed)]) == 0
    assert "arrow_zstd" in capsys.readouterr().out
    assert shards_main(["verify", str(compressed), "--workers=0"]) == 0
    assert "is whole" in capsys.readouterr().out
    assert shards_main(["show", str(compressed), "--pack=0"]) == 0
    assert main(["report", str(compressed)]) == 0


def test_raw_in_the_same_folder_is_another_run(
    demo: Demo, compressed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(demo, compressed) == 2
    assert "config.format was arrow_zstd, is arrow" in capsys.readouterr().err


def test_mindrecord_is_not_compressed(demo: Demo, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(demo, tmp_path / "out", *ZSTD, "--format", "mindrecord") == 2
    assert "compress zstd does not go with format mindrecord" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
