"""The manifest comes back as written, in equal bytes; a folder without a whole one is refused with what to do."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shards import (
    DamagedShard,
    DatasetSummary,
    Manifest,
    NotADataset,
    PackCounts,
    PackMaxima,
    ShardEntry,
    UnsupportedVersion,
    read_manifest,
    write_manifest,
)
from shards.files.names import MANIFEST_HASH_NAME, MANIFEST_NAME
from tests.shards.packs import CONSTANTS

MANIFEST = Manifest(
    format="arrow",
    fingerprint="f00d",
    inputs={"config": {"seed": 3}, "versions": {"pillow": "13.0.0"}},
    model=CONSTANTS,
    pack_length=128,
    pack_patches=64,
    maxima=PackMaxima(tokens=100, patches=12, windows=3),
    totals=PackCounts(num_samples=7, num_tokens=300),
    datasets={
        "zebra": DatasetSummary(counts=PackCounts(num_samples=5), rejects={"too_long": 2, "bad_json": 1}),
        "数据": DatasetSummary(counts=PackCounts(num_samples=2)),
    },
    shards=(
        ShardEntry(name="shard-000000.arrow", num_packs=2, num_bytes=10, sha256="ab"),
        ShardEntry(name="shard-000002.arrow", num_packs=3, num_bytes=20, sha256="cd"),
    ),
)


def test_it_comes_back_as_written(tmp_path: Path) -> None:
    write_manifest(tmp_path, MANIFEST)
    assert read_manifest(tmp_path) == MANIFEST
    assert (MANIFEST.num_packs, MANIFEST.num_rejects) == (5, 3)


def test_equal_content_gives_equal_bytes_whatever_the_order_of_mappings() -> None:
    turned = replace(
        MANIFEST,
        inputs=dict(reversed(MANIFEST.inputs.items())),
        datasets={
            "数据": MANIFEST.datasets["数据"],
            "zebra": replace(MANIFEST.datasets["zebra"], rejects={"bad_json": 1, "too_long": 2}),
        },
    )
    assert list(turned.datasets) != list(MANIFEST.datasets)
    assert turned.to_json() == MANIFEST.to_json()


def test_the_hash_file_is_understood_by_sha256sum(tmp_path: Path) -> None:
    write_manifest(tmp_path, MANIFEST)
    digest = hashlib.sha256((tmp_path / MANIFEST_NAME).read_bytes()).hexdigest()
    assert (tmp_path / MANIFEST_HASH_NAME).read_text() == f"{digest}  manifest.json\n"


def test_writing_leaves_nothing_else_behind(tmp_path: Path) -> None:
    write_manifest(tmp_path, MANIFEST)
    assert sorted(path.name for path in tmp_path.iterdir()) == [MANIFEST_NAME, MANIFEST_HASH_NAME]


def test_the_manifest_appears_last(tmp_path: Path) -> None:
    (tmp_path / MANIFEST_HASH_NAME).mkdir()  # its hash can't be written
    with pytest.raises(OSError, match=MANIFEST_HASH_NAME):
        write_manifest(tmp_path, MANIFEST)
    assert not (tmp_path / MANIFEST_NAME).exists()


# --- folders that are no dataset -----------------------------------------------------------------------------------


def test_a_folder_without_a_manifest_is_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(NotADataset, match=r"is this the right folder\?.*python -m preprocess run"):
        read_manifest(tmp_path)


def test_a_run_that_did_not_finish_is_no_dataset(tmp_path: Path) -> None:
    (tmp_path / "plan").mkdir()
    with pytest.raises(NotADataset, match="a plan whose run did not finish"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("name", ["nowhere", "a_file", "a_file/below"])
def test_what_is_no_folder_is_no_dataset(tmp_path: Path, name: str) -> None:
    (tmp_path / "a_file").write_text("")
    with pytest.raises(NotADataset, match=name):
        read_manifest(tmp_path / name)


@pytest.mark.parametrize(
    ("old", "new"),
    [(b'"num_packs": 2', b'"num_packs": 9'), (b"\n", b"\r\n"), (b"format_version", b"\xff\xffrmat_version")],
    ids=["a number", "line endings", "not UTF-8"],
)
def test_a_changed_manifest_does_not_match_its_hash(tmp_path: Path, old: bytes, new: bytes) -> None:
    write_manifest(tmp_path, MANIFEST)
    content = (tmp_path / MANIFEST_NAME).read_bytes()
    assert old in content
    (tmp_path / MANIFEST_NAME).write_bytes(content.replace(old, new))
    with pytest.raises(DamagedShard, match=r"does not match manifest.sha256"):
        read_manifest(tmp_path)


def test_any_flipped_byte_of_the_hash_file_is_noticed(tmp_path: Path) -> None:
    write_manifest(tmp_path, MANIFEST)
    content = (tmp_path / MANIFEST_HASH_NAME).read_bytes()
    assert len(content) == 64 + 2 + len("manifest.json\n")
    for position in range(len(content)):
        flipped = bytearray(content)
        flipped[position] ^= 1 << position % 8
        (tmp_path / MANIFEST_HASH_NAME).write_bytes(flipped)
        with pytest.raises(DamagedShard, match=r"does not match manifest.sha256"):
            read_manifest(tmp_path)


@pytest.mark.parametrize("content", [None, b"", b"\n"], ids=["missing", "empty", "blank"])
def test_a_manifest_without_its_hash_is_damaged(tmp_path: Path, content: bytes | None) -> None:
    write_manifest(tmp_path, MANIFEST)
    (tmp_path / MANIFEST_HASH_NAME).unlink()
    if content is not None:
        (tmp_path / MANIFEST_HASH_NAME).write_bytes(content)
    with pytest.raises(DamagedShard, match=r"manifest.sha256 is missing or empty"):
        read_manifest(tmp_path)


def test_a_truncated_manifest_is_damaged(tmp_path: Path) -> None:
    text = MANIFEST.to_json()
    publish_text(tmp_path, text[: len(text) // 2])
    with pytest.raises(DamagedShard, match=r"manifest.json is not a manifest"):
        read_manifest(tmp_path)


def test_an_unknown_format_of_shards_is_refused_with_what_to_install(tmp_path: Path) -> None:
    publish_text(tmp_path, json.dumps({**json.loads(MANIFEST.to_json()), "format": "webdataset"}))
    with pytest.raises(
        UnsupportedVersion, match=r"format 'webdataset', this code reads arrow, arrow_zstd, mindrecord; install"
    ):
        read_manifest(tmp_path)


def test_no_file_holds_more_than_zstd_can_have_made_of_it(tmp_path: Path) -> None:
    entry = replace(MANIFEST.shards[0], num_bytes=10)
    most = (10 << 15) // CONSTANTS.image_patch_bytes
    maxima = replace(MANIFEST.maxima, image_patches=most, patches=most)
    manifest = replace(MANIFEST, format="arrow_zstd", shards=(entry,), maxima=maxima, pack_patches=most + 1)
    write_manifest(tmp_path, manifest)
    assert read_manifest(tmp_path) == manifest
    for too_much in (
        replace(manifest, format="arrow"),
        replace(manifest, maxima=replace(maxima, image_patches=most + 1)),
    ):
        write_manifest(tmp_path, too_much)
        with pytest.raises(DamagedShard, match="the largest shard has 10 bytes only"):
            read_manifest(tmp_path)


def test_mindrecord_entries_name_both_files(tmp_path: Path) -> None:
    entry = ShardEntry(
        name="shard-000000.mindrecord", num_packs=2, num_bytes=10, sha256="ab", index_bytes=3, index_sha256="cd"
    )
    manifest = replace(MANIFEST, format="mindrecord", shards=(entry,))
    write_manifest(tmp_path, manifest)
    assert read_manifest(tmp_path) == manifest
    assert entry.files() == (("shard-000000.mindrecord", 10, "ab"), ("shard-000000.mindrecord.db", 3, "cd"))
    assert MANIFEST.shards[0].files() == (("shard-000000.arrow", 10, "ab"),)
    assert "index" not in MANIFEST.to_json()


def test_a_newer_version_is_refused_with_what_to_install(tmp_path: Path) -> None:
    publish_text(tmp_path, json.dumps({**json.loads(MANIFEST.to_json()), "format_version": 2, "new_field": 1}))
    with pytest.raises(UnsupportedVersion, match=r"has format version 2, this code reads 1; install the version"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("text", ["[]", "[1]", "3", "null", '"x"', "{}", ""])
def test_json_that_is_no_manifest_is_damaged(tmp_path: Path, text: str) -> None:
    publish_text(tmp_path, text)
    with pytest.raises(DamagedShard, match=r"manifest.json is not a manifest"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("field", "value"),
    [("shards", None), ("shards", [{"name": "x"}]), ("model", []), ("datasets", [1]), ("maxima", {"speed": 1})],
)
def test_a_field_of_the_wrong_form_is_damaged(tmp_path: Path, field: str, value: Any) -> None:
    publish_text(tmp_path, json.dumps({**json.loads(MANIFEST.to_json()), field: value}))
    with pytest.raises(DamagedShard, match=rf"manifest.json: {field}.* preprocess again"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("field", json.loads(MANIFEST.to_json()))
def test_every_field_is_required(tmp_path: Path, field: str) -> None:
    record = json.loads(MANIFEST.to_json())
    del record[field]
    publish_text(tmp_path, json.dumps(record))
    with pytest.raises(DamagedShard, match=field):
        read_manifest(tmp_path)


def publish_text(folder: Path, text: str) -> None:
    """A manifest of other content, with the hash that belongs to it."""
    (folder / MANIFEST_NAME).write_text(text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    (folder / MANIFEST_HASH_NAME).write_text(f"{digest}  {MANIFEST_NAME}\n")
