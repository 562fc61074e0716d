"""Conversion keeps every row, and goes on where it was interrupted."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import shards.convert
from shards import (
    ConversionError,
    DamagedShard,
    NotADataset,
    Pack,
    PackCounts,
    RowTooLarge,
    open_shards,
    read_manifest,
    write_manifest,
)
from shards.convert import convert_shards
from shards.files.hashing import sha256_of_file
from shards.formats.arrow import ArrowShardWriter
from shards.formats.writer import (
    TEMPORARY_DIR,
    is_finished,
    read_sidecar,
    shard_index,
    sidecar_path,
    write_sidecar,
)
from shards.inputs import read_inputs, with_format, write_inputs
from shards.manifest import fingerprint_of
from tests.shards.datasets import some_packs, write_dataset
from tests.shards.packs import assert_same, make_pack, packs

SHARDS = [
    [make_pack(texts=(1,)), make_pack(texts=(7, 2), seed=1)],
    [],
    [make_pack(videos=[(2, 4, 4), (1, 2, 2)], seed=2)],
    [make_pack(images=[(1, 30, 30)] * 3, videos=[(3, 2, 2)], seed=3), make_pack(texts=(1,), seed=4)],
]
INPUTS = {"config": {"format": "arrow", "seed": 1}, "versions": {"pillow": "12"}}
CONVERTED = {
    "config": {"format": "mindrecord", "seed": 1},
    "versions": {"pillow": "12", "mindspore": version("mindspore")},
}


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    write_dataset(folder, SHARDS, inputs=INPUTS, fingerprint=fingerprint_of(INPUTS))
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text("{}")
    (folder / "rejects.jsonl").write_text("one\n")
    return folder


@pytest.mark.parametrize("workers", [0, 1])
def test_there_and_back_is_the_same_folder(source: Path, tmp_path: Path, workers: int) -> None:
    calls: list[None] = []

    def convert(source: Path, target: Path, format: str) -> None:
        manifest = convert_shards(source, target, format=format, workers=workers, on_shard=lambda: calls.append(None))
        assert read_manifest(target) == manifest

    convert(source, tmp_path / "there", "mindrecord")
    assert len(calls) == 3
    assert {path.suffix for path in (tmp_path / "there").glob("shard-*")} == {".mindrecord", ".db"}
    expected = [pack for shard in SHARDS for pack in shard]
    for pack, other in zip(expected, open_shards(tmp_path / "there"), strict=True):
        assert_same(other, pack)
    convert(tmp_path / "there", tmp_path / "back", "arrow")
    assert files(tmp_path / "back") == files(source)


@settings(max_examples=4)
@given(st.lists(st.lists(packs, min_size=1, max_size=8), min_size=1, max_size=3))
def test_any_packs_survive_there_and_back(tmp_path_factory: pytest.TempPathFactory, shards: list[list[Pack]]) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / "source").mkdir()
    write_dataset(folder / "source", shards)
    convert_shards(folder / "source", folder / "there", format="mindrecord")
    convert_shards(folder / "there", folder / "back", format="arrow")
    for there, back, pack in zip(
        open_shards(folder / "there"), open_shards(folder / "back"), (p for s in shards for p in s), strict=True
    ):
        assert_same(there, pack)
        assert_same(back, pack)
    assert files(folder / "back") == files(folder / "source")


@pytest.mark.parametrize("other", ["arrow", "mindrecord"])
def test_compressed_and_expanded_again_it_is_the_same_folder(tmp_path: Path, other: str) -> None:
    (tmp_path / "source").mkdir()
    inputs = with_format(INPUTS, other)
    write_dataset(tmp_path / "source", SHARDS, other, inputs=inputs, fingerprint=fingerprint_of(inputs))
    manifest = convert_shards(tmp_path / "source", tmp_path / "there", format="arrow_zstd")
    assert manifest.inputs["config"]["format"] == manifest.format == "arrow_zstd"
    assert manifest.inputs["versions"] == {"pillow": "12", "zstd_of_pyarrow": version("pyarrow")}
    expected = [pack for shard in SHARDS for pack in shard]
    for pack, got in zip(expected, open_shards(tmp_path / "there"), strict=True):
        assert_same(got, pack)
    assert convert_shards(tmp_path / "there", tmp_path / "back", format=other).inputs == inputs
    assert files(tmp_path / "back") == files(tmp_path / "source")


@pytest.mark.parametrize("format", ["arrow_zstd", "mindrecord"])
def test_an_unfinished_conversion_says_how_to_go_on(source: Path, tmp_path: Path, format: str) -> None:
    (tmp_path / "there").mkdir()
    begun = {"source": "/from", "format": format, "manifest_sha256": "ab"}
    (tmp_path / "there" / ".converting.json").write_text(json.dumps(begun))
    flags = {"arrow_zstd": "--compress zstd", "mindrecord": "--format mindrecord"}[format]
    with pytest.raises(NotADataset, match=rf"go on with python -m shards convert /from {tmp_path}/there {flags}"):
        open_shards(tmp_path / "there")


def test_the_manifest_is_that_of_preprocessing_into_the_other_format(source: Path, tmp_path: Path) -> None:
    before, after = read_manifest(source), convert_shards(source, tmp_path / "there", format="mindrecord")
    assert after.inputs == CONVERTED
    assert after.fingerprint == fingerprint_of(after.inputs) != before.fingerprint
    same = replace(after, format="arrow", inputs=before.inputs, fingerprint=before.fingerprint, shards=before.shards)
    assert same == before


def test_of_a_plan_only_the_inputs_are_changed(source: Path, tmp_path: Path) -> None:
    inputs = {**INPUTS, "locations": {"a": "/a"}}
    (source / "plan").mkdir()
    write_inputs(source, inputs)
    others = {"plan.json": b"\0 nothing that shards know", "samples/part-0.arrow": b"{}", "config.json": b"{}"}
    for name, content in others.items():
        (source / "plan" / name).parent.mkdir(exist_ok=True)
        (source / "plan" / name).write_bytes(content)
    convert_shards(source, tmp_path / "there", format="mindrecord")
    assert read_inputs(tmp_path / "there") == {**inputs, **CONVERTED}
    converted = files(tmp_path / "there" / "plan")
    assert {name: converted[name] for name in others} == others


def test_damaged_inputs_are_named(source: Path, tmp_path: Path) -> None:
    (source / "plan").mkdir()
    write_inputs(source, INPUTS)
    path = source / "plan" / "inputs.json"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ConversionError, match=rf"{path} is damaged"):
        convert_shards(source, tmp_path / "there", format="mindrecord")
    assert not (tmp_path / "there").exists()


# --- interrupted ---------------------------------------------------------------------------------------------------


def stop_at(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    replace_file = os.replace

    def stop(origin: Any, target: Any) -> None:
        if Path(target).name == name:
            raise KeyboardInterrupt
        replace_file(origin, target)

    monkeypatch.setattr(os, "replace", stop)


@pytest.mark.parametrize(
    "name", ["shard-000002.mindrecord", "shard-000002.json", "manifest.sha256", "manifest.json", ".converting.json"]
)
def test_an_interrupted_conversion_goes_on(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    convert_shards(source, tmp_path / "whole", format="mindrecord")
    target = tmp_path / "half"
    with monkeypatch.context() as patches:
        stop_at(patches, name)
        with pytest.raises(KeyboardInterrupt):
            convert_shards(source, target, format="mindrecord")
    first = target / "shard-000000.mindrecord"
    finished = first.stat().st_mtime_ns if first.exists() else None
    assert (finished is None) == (name == ".converting.json")
    with pytest.raises(NotADataset):
        open_shards(target)
    if finished:
        (target / TEMPORARY_DIR / "left over").mkdir(parents=True)
    else:
        (target / "..converting.json.1-2.tmp").touch()
    calls: list[None] = []
    convert_shards(source, target, format="mindrecord", on_shard=lambda: calls.append(None))
    (target / "..converting.json.1-2.tmp").unlink(missing_ok=True)
    assert files(target) == files(tmp_path / "whole")
    assert len(calls) == 3
    assert finished in (None, first.stat().st_mtime_ns)


def test_half_a_conversion_says_how_to_go_on(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patches:
        stop_at(patches, "manifest.json")
        with pytest.raises(KeyboardInterrupt):
            convert_shards(source, tmp_path / "half way", format="mindrecord")
    command = f"python -m shards convert {source} '{tmp_path / 'half way'}' --format mindrecord"
    with pytest.raises(NotADataset, match="did not finish") as raised:
        open_shards(tmp_path / "half way")
    assert command in str(raised.value)


def die(*_: object) -> None:
    os._exit(9)


def test_a_process_that_dies_is_an_error_that_says_so(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards.convert._Conversion, "__setstate__", die, raising=False)
    monkeypatch.setattr(shards.convert._Conversion, "__reduce__", lambda self: (die, ()))
    with pytest.raises(ConversionError, match="died"):
        convert_shards(source, tmp_path / "there", format="mindrecord", workers=1)


# --- refused -------------------------------------------------------------------------------------------------------


def refuse_same_format(source: Path, target: Path) -> None:
    convert_shards(source, target, format="arrow")


def refuse_unknown_format(source: Path, target: Path) -> None:
    convert_shards(source, target, format="webdataset")


def refuse_other_content(source: Path, target: Path) -> None:
    target.mkdir()
    (target / "thesis.tex").write_text("mine")
    convert_shards(source, target, format="mindrecord")


def refuse_a_file(source: Path, target: Path) -> None:
    target.write_text("mine")
    convert_shards(source, target, format="mindrecord")


def refuse_another_conversion(source: Path, target: Path) -> None:
    target.mkdir()
    (target / ".converting.json").write_text(
        '{"source": "/elsewhere", "format": "mindrecord", "manifest_sha256": "ab"}'
    )
    convert_shards(source, target, format="mindrecord")


@pytest.mark.parametrize(
    ("attempt", "message"),
    [
        (refuse_same_format, "has format arrow already"),
        (refuse_unknown_format, "no format 'webdataset'; formats are arrow, arrow_zstd, mindrecord"),
        (refuse_other_content, "is not an empty folder"),
        (refuse_a_file, "is not an empty folder"),
        (refuse_another_conversion, "unfinished conversion of /elsewhere to mindrecord"),
    ],
)
def test_what_cannot_be_converted_is_refused(
    source: Path, tmp_path: Path, attempt: Callable[[Path, Path], None], message: str
) -> None:
    with pytest.raises(ConversionError, match=message):
        attempt(source, tmp_path / "target")
    assert not list(tmp_path.glob("target/shard-*"))


def test_a_pack_that_no_page_holds_is_refused_before_anything_is_written(source: Path, tmp_path: Path) -> None:
    manifest = read_manifest(source)
    huge = replace(manifest.maxima, image_patches=10**6, patches=10**6)
    first = replace(manifest.shards[0], num_bytes=10**9)
    os.truncate(source / first.name, first.num_bytes)
    shards = (first, *manifest.shards[1:])
    write_manifest(source, replace(manifest, maxima=huge, pack_patches=10**6, shards=shards))
    with pytest.raises(RowTooLarge, match="588,"):
        convert_shards(source, tmp_path / "target", format="mindrecord")
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize("suffix", [".mindrecord", ".mindrecord.db"])
def test_a_damaged_source_is_not_copied(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "source").mkdir()
    write_dataset(tmp_path / "source", [some_packs(1)], "mindrecord")
    path = tmp_path / "source" / f"shard-000000{suffix}"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedShard, match=path.name):
        convert_shards(tmp_path / "source", tmp_path / "target", format="arrow")


# --- what stands beside the shards ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("plan/x", "/etc/passwd"),
        ("plan/samples", "/etc"),
        ("plan", "/etc"),
        ("model/z", "/dev/zero"),
        ("model", "/etc"),
        ("rejects.jsonl", "/etc/passwd"),
    ],
)
def test_nothing_that_links_point_to_is_copied(source: Path, tmp_path: Path, link: str, target: str) -> None:
    shutil.rmtree(source / "model")
    (source / "rejects.jsonl").unlink()
    path = source / link
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(target)
    with pytest.raises(ConversionError, match=rf"{path} can't be copied: it is a link"):
        convert_shards(source, tmp_path / "there", format="mindrecord")
    assert not (tmp_path / "there").exists()


def test_a_fifo_is_not_copied_and_nothing_waits_for_it(source: Path, tmp_path: Path) -> None:
    os.mkfifo(source / "model" / "x")
    with pytest.raises(ConversionError, match=r"model/x can't be copied: it is not a plain file"):
        convert_shards(source, tmp_path / "there", format="mindrecord")


def keep_sidecars(source: Path) -> None:
    """As a run leaves them: one for each shard of the manifest."""
    manifest = read_manifest(source)
    for entry in manifest.shards:
        index = shard_index(entry.name)
        counts = {"made up": PackCounts(num_samples=index + 1)}
        sidecar = replace(shards.convert._NO_SIDECAR, fingerprint=manifest.fingerprint, shard=entry, datasets=counts)
        write_sidecar(source, index, sidecar)


def lose(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def list_its_datasets(path: Path) -> None:
    path.write_text(path.read_text().replace('"datasets": {', '"datasets": [], "other": {'))


def claim_another_run(path: Path) -> None:
    path.write_text(path.read_text().replace('"fingerprint": "', '"fingerprint": "0'))


@pytest.mark.parametrize("damage", [lose, cut, list_its_datasets, claim_another_run])
def test_a_shard_without_a_sidecar_is_not_finished_in_the_copy_either(
    source: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    keep_sidecars(source)
    damage(sidecar_path(source, 2))
    manifest = convert_shards(source, tmp_path / "there", format="mindrecord")
    assert [is_finished(tmp_path / "there", n, manifest.fingerprint) for n in (0, 2, 3)] == [True, False, True]
    copied = read_sidecar(tmp_path / "there", 3)
    assert copied is not None
    assert copied.datasets == {"made up": PackCounts(num_samples=4)}


@pytest.mark.parametrize("text", ["", "[]", "3", '{"source": 3}', '{"format": "mindrecord"}', "[" * 10**5])
def test_a_damaged_note_of_a_conversion_is_named(source: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / ".converting.json").write_text(text)
    with pytest.raises(ConversionError, match=r"\.converting\.json is damaged"):
        convert_shards(source, tmp_path / "there", format="mindrecord")
    with pytest.raises(NotADataset):
        open_shards(tmp_path / "there")


@pytest.mark.parametrize("text", ["[]", '{"config": 3}', "[" * 10**5])
def test_inputs_that_are_no_record_are_named(source: Path, tmp_path: Path, text: str) -> None:
    (source / "plan").mkdir()
    (source / "plan" / "inputs.json").write_text(text)
    with pytest.raises(ConversionError, match=r"inputs\.json is damaged"):
        convert_shards(source, tmp_path / "there", format="mindrecord")


def test_rows_that_break_the_format_are_not_copied(source: Path, tmp_path: Path) -> None:
    broken = make_pack(texts=(3, 5))
    broken.input_ids[1] = -5
    manifest = read_manifest(source)
    with ArrowShardWriter(source / "broken", manifest.model) as writer:
        writer.write(broken)
    path = (source / "broken").rename(source / manifest.shards[0].name)
    entry = replace(manifest.shards[0], num_packs=1, num_bytes=path.stat().st_size, sha256=sha256_of_file(path))
    write_manifest(source, replace(manifest, shards=(entry, *manifest.shards[1:])))
    with pytest.raises(DamagedShard, match=r"shard-000000\.arrow: .*a token id is outside the vocabulary"):
        convert_shards(source, tmp_path / "there", format="mindrecord")
