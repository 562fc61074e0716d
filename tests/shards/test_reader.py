"""Packs are numbered through all shards in the manifest's order; files that don't belong are refused by name."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import shards.reader
from shards import DamagedShard, NotADataset, ShardEntry, open_shards, write_manifest
from shards.formats.writer import write_shard
from tests.shards.datasets import make_manifest, some_packs, write_dataset
from tests.shards.packs import CONSTANTS, assert_same, make_pack

ROOT = Path(__file__).parents[2]


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


@pytest.mark.parametrize("name", ["shard-000000.mindrecord", "shard-000000.mindrecord.db"])
def test_both_files_of_a_mindrecord_shard_are_checked(tmp_path: Path, name: str) -> None:
    write_dataset(tmp_path, [some_packs(1)], "mindrecord")
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[:-1])
    with pytest.raises(DamagedShard, match=rf"{name} has {len(content) - 1} bytes, the manifest says"):
        open_shards(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(DamagedShard, match=rf"{name} is missing"):
        open_shards(tmp_path)


def test_mindrecord_shards_that_changed_places_are_noticed_when_read(tmp_path: Path) -> None:
    manifest = write_dataset(tmp_path, [some_packs(1), some_packs(1)], "mindrecord")
    assert manifest.shards[0].num_bytes == manifest.shards[1].num_bytes
    swap(tmp_path / "shard-000000.mindrecord", tmp_path / "shard-000001.mindrecord")
    with pytest.raises(DamagedShard, match=r"shard-000000.mindrecord was renamed.* it is shard-000001.mindrecord"):
        open_shards(tmp_path)[0]


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


# --- many shards ---------------------------------------------------------------------------------------------------


def mapped_shards(folder: Path) -> set[str]:
    lines = Path("/proc/self/maps").read_text().splitlines()
    return {Path(line.split()[-1]).name for line in lines if str(folder) in line}


@pytest.mark.parametrize("format", ["arrow", "mindrecord"])
def test_few_shards_are_open_and_packs_outlive_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str
) -> None:
    monkeypatch.setattr(shards.reader, "_OPEN_SHARDS", 2)
    packs = [make_pack(images=[(1, 4, 4)], seed=seed) for seed in range(8)]
    write_dataset(tmp_path, [[pack] for pack in packs], format)
    opened = open_shards(tmp_path)
    kept = opened[0]
    for index, pack in enumerate(packs):
        assert_same(opened[index], pack)
    suffix = f".{format}"
    assert mapped_shards(tmp_path) == {f"shard-{index:06d}{suffix}" for index in (0, 6, 7)}
    assert_same(kept, packs[0])
    del kept
    assert mapped_shards(tmp_path) == {f"shard-{index:06d}{suffix}" for index in (6, 7)}


@pytest.mark.parametrize("format", ["arrow", "mindrecord"])
def test_threads_may_share_a_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str) -> None:
    monkeypatch.setattr(shards.reader, "_OPEN_SHARDS", 2)
    packs = some_packs(*range(12))
    write_dataset(tmp_path, [packs[first : first + 2] for first in range(0, 12, 2)], format)
    opened = open_shards(tmp_path)
    order = np.random.default_rng(0).integers(0, 12, 600).tolist()
    with ThreadPoolExecutor(8) as pool:
        for index, pack in zip(order, pool.map(opened.__getitem__, order), strict=True):
            assert_same(pack, packs[index])


def test_a_pickled_dataset_is_a_path(tmp_path: Path) -> None:
    write_dataset(tmp_path, [some_packs(seed) for seed in range(20)])
    opened = open_shards(tmp_path)
    assert opened[3] is not None
    text = pickle.dumps(opened)
    assert len(text) < 300
    assert_same(pickle.loads(text)[3], opened[3])


OPEN_MANY = """
import re, sys, time
from pathlib import Path
from shards import open_shards
started = time.process_time()
assert len(open_shards(sys.argv[1])) == 12_800_000
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())  # ru_maxrss would count the parent's
print(time.process_time() - started, int(peak[1]) / 1024)
"""


def test_a_hundred_thousand_shards_open_within_two_seconds_and_300_megabytes(tmp_path: Path) -> None:
    memory = Path("/dev/shm")  # where making so many files takes a second, not five
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as folder:
        entries = [
            ShardEntry(name=f"shard-{index:06d}.arrow", num_packs=128, num_bytes=0, sha256=f"{index:064x}")
            for index in range(100_000)
        ]
        for entry in entries:
            os.mknod(os.path.join(folder, entry.name))
        write_manifest(Path(folder), make_manifest(tuple(entries)))
        done = subprocess.run(
            [sys.executable, "-c", OPEN_MANY, folder], cwd=ROOT, capture_output=True, text=True, check=True
        )
    seconds, megabytes = map(float, done.stdout.split())
    assert seconds < 2  # of the processor, so that other work on the machine does not count
    assert megabytes < 300
