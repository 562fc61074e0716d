"""Packs are numbered through all shards in the manifest's order; files that don't belong are refused by name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from shards import DamagedShard, Manifest, NotADataset, Pack, PackCounts, PackMaxima, open_shards, write_manifest
from shards.writer import write_shard
from tests.shards.packs import CONSTANTS, assert_same, make_pack


def write_dataset(folder: Path, shards: list[list[Pack]]) -> Manifest:
    written = [write_shard(folder, index, packs, CONSTANTS) for index, packs in enumerate(shards)]
    manifest = Manifest(
        format="arrow",
        fingerprint="",
        inputs={},
        model=CONSTANTS,
        pack_length=100,
        pack_patches=100,
        maxima=PackMaxima(),
        totals=PackCounts(),
        datasets={},
        shards=tuple(shard.entry for shard in written if shard.entry),
    )
    write_manifest(folder, manifest)
    return manifest


def some_packs(*seeds: int) -> list[Pack]:
    return [make_pack(texts=(2 + seed, 3), images=[(1, 2, 2 * seed)] if seed % 2 else [], seed=seed) for seed in seeds]


def test_packs_are_numbered_through_all_shards(tmp_path: Path) -> None:
    packs = some_packs(0, 1, 2, 3, 4, 5)
    manifest = write_dataset(tmp_path, [packs[:3], [], packs[3:4], packs[4:]])
    shards = open_shards(tmp_path)
    assert shards.manifest == manifest
    assert [entry.num_packs for entry in manifest.shards] == [3, 1, 2]
    assert len(shards) == 6
    for index in (5, 0, 3, 2, 4, 1):  # in any order
        assert_same(shards[index], packs[index])
    for pack, expected in zip(shards, packs, strict=True):
        assert_same(pack, expected)


def test_a_path_may_be_text(tmp_path: Path) -> None:
    write_dataset(tmp_path, [some_packs(1)])
    assert len(open_shards(str(tmp_path))) == 1


@pytest.mark.parametrize("index", [-1, 2, 10**9])
def test_there_are_no_packs_beyond_the_ends(tmp_path: Path, index: int) -> None:
    write_dataset(tmp_path, [some_packs(1, 2)])
    with pytest.raises(IndexError, match=f"pack {index} of 2"):
        open_shards(tmp_path)[index]


def test_a_dataset_without_shards_is_empty(tmp_path: Path) -> None:
    write_dataset(tmp_path, [])
    assert len(open_shards(tmp_path)) == 0
    assert list(open_shards(tmp_path)) == []


def test_a_folder_without_a_manifest_is_refused(tmp_path: Path) -> None:
    write_shard(tmp_path, 0, some_packs(1), CONSTANTS)
    with pytest.raises(NotADataset, match=str(tmp_path)):
        open_shards(tmp_path)


def test_a_missing_shard_is_named_on_opening(tmp_path: Path) -> None:
    write_dataset(tmp_path, [some_packs(1), some_packs(2)])
    (tmp_path / "shard-000001.arrow").unlink()
    with pytest.raises(DamagedShard, match=r"shard-000001.arrow is missing"):
        open_shards(tmp_path)


@pytest.mark.parametrize("cut", [1, 1000])
def test_a_truncated_shard_is_named_on_opening(tmp_path: Path, cut: int) -> None:
    write_dataset(tmp_path, [some_packs(1), some_packs(2)])
    path = tmp_path / "shard-000000.arrow"
    content = path.read_bytes()
    path.write_bytes(content[:-cut])
    with pytest.raises(DamagedShard, match=rf"shard-000000.arrow has {len(content) - cut} bytes, the manifest says"):
        open_shards(tmp_path)


def test_swapped_shards_are_noticed(tmp_path: Path) -> None:
    manifest = write_dataset(tmp_path, [some_packs(1), some_packs(2, 3)])
    assert manifest.shards[0].num_bytes != manifest.shards[1].num_bytes
    swap(tmp_path / "shard-000000.arrow", tmp_path / "shard-000001.arrow")
    with pytest.raises(DamagedShard, match=r"shard-000000.arrow has \d+ bytes, the manifest says"):
        open_shards(tmp_path)


def test_a_shard_with_another_number_of_packs_is_noticed_when_it_is_read(tmp_path: Path) -> None:
    manifest = write_dataset(tmp_path, [some_packs(1), some_packs(2)])
    entry = manifest.shards[1]
    write_manifest(tmp_path, replace(manifest, shards=(manifest.shards[0], replace(entry, num_packs=2))))
    shards = open_shards(tmp_path)
    assert shards[0].num_samples == 2
    with pytest.raises(DamagedShard, match=r"shard-000001.arrow holds 1 packs, the manifest says 2"):
        shards[1]


def test_garbage_of_the_right_size_is_noticed_when_it_is_read(tmp_path: Path) -> None:
    manifest = write_dataset(tmp_path, [some_packs(1)])
    (tmp_path / "shard-000000.arrow").write_bytes(b"x" * manifest.shards[0].num_bytes)
    with pytest.raises(DamagedShard, match=r"shard-000000.arrow is not a whole Arrow file"):
        open_shards(tmp_path)[0]


def swap(one: Path, other: Path) -> None:
    contents = one.read_bytes(), other.read_bytes()
    one.write_bytes(contents[1])
    other.write_bytes(contents[0])
