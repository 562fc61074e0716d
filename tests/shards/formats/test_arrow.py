"""Packs come back from Arrow files as they were written, as views into the mapped file."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import shards.formats.arrow
from shards import DamagedShard, Pack, PackCounts, check_pack
from shards.formats.arrow import ArrowShard, ArrowShardWriter, arrow_schema
from shards.formats.patch_blocks import BLOCK_PATCHES, compress_patches
from shards.pack import PatchColumn
from tests.shards.packs import CONSTANTS, arrays, assert_same, make_pack, packs

ROOT = Path(__file__).parents[3]


def write(path: Path, written: list[Pack], *, compress: bool = False) -> ArrowShard:
    with ArrowShardWriter(path, CONSTANTS, compress=compress) as writer:
        for pack in written:
            writer.write(pack)
    return ArrowShard(path, CONSTANTS)


@settings(max_examples=50)
@given(st.lists(packs, min_size=1, max_size=3))
@example([make_pack(texts=(7, 2))])  # no image, no video
@example([make_pack(texts=(1,))])  # one token
@example([make_pack(videos=[(2, 4, 4), (1, 2, 2)])])  # only videos
@example(
    [make_pack(images=[(1, 2, 2), (1, 4, 8)], videos=[(3, 2, 2)]), make_pack(texts=(1,))]
)  # everything, then little
def test_packs_come_back_as_written(written: list[Pack]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for compress in (False, True):
            shard = write(Path(folder) / f"{compress}.arrow", written, compress=compress)
            assert len(shard) == len(written)
            for row, pack in enumerate(written):
                assert_same(shard[row], pack)
                check_pack(shard[row], CONSTANTS)


def test_keys_keep_their_characters(tmp_path: Path) -> None:
    keys = ("数据 集:0", "a:1.2#3", "")
    pack = replace(make_pack(texts=(2, 3, 4)), sample_keys=keys)
    assert write(tmp_path / "shard.arrow", [pack])[0].sample_keys == keys


def test_arrays_are_read_only_views_into_the_mapped_file(tmp_path: Path) -> None:
    path = tmp_path / "shard.arrow"
    pack = write(path, [make_pack(images=[(1, 4, 4)], videos=[(2, 2, 2)])])[0]
    mapping = mapped_range(path)
    for name, array in arrays(pack).items():
        assert not array.flags.writeable, name
        assert not array.flags.owndata, name
        first = array.__array_interface__["data"][0]
        assert array.nbytes > 0
        assert mapping.start <= first <= first + array.nbytes <= mapping.stop, name


def mapped_range(path: Path) -> range:
    """Addresses at which this process maps `path`."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        if line.endswith(str(path)):
            first, last = line.split()[0].split("-")
            return range(int(first, 16), int(last, 16))
    raise AssertionError(f"{path} is not mapped")


def test_reading_a_pack_allocates_no_payload(tmp_path: Path) -> None:
    big = make_pack(images=[(1, 40, 40)] * 10)
    shard = write(tmp_path / "shard.arrow", [big])
    before = pa.total_allocated_bytes()
    pack = shard[0]
    assert pack.image_patches.nbytes > 9e6
    assert pa.total_allocated_bytes() - before < 1e5


def test_arrays_that_are_not_contiguous_are_written_right(tmp_path: Path) -> None:
    pack = make_pack(texts=(6, 7), images=[(1, 4, 4)])
    turned = replace(
        pack,
        position_ids=np.asfortranarray(pack.position_ids),
        image_patches=np.asfortranarray(pack.image_patches),
        input_ids=np.repeat(pack.input_ids, 2)[::2],
    )
    assert not turned.position_ids.flags.c_contiguous
    assert not turned.input_ids.flags.c_contiguous
    assert_same(write(tmp_path / "shard.arrow", [turned])[0], pack)


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("name", ["image_patches", "video_patches"])
def test_some_patches_are_read_without_the_others(tmp_path: Path, name: PatchColumn, compress: bool) -> None:
    pack = make_pack(images=[(1, 30, 40)], videos=[(2, 20, 20), (1, 8, 60)])
    shard = write(tmp_path / "shard.arrow", [make_pack(seed=1), pack], compress=compress)
    expected = getattr(pack, name)
    assert len(expected) > 2 * BLOCK_PATCHES
    for first, number in ((0, 1), (0, len(expected)), (500, 30), (512, 512), (511, 514), (len(expected) - 3, 3)):
        np.testing.assert_array_equal(shard.patches(1, name, first, number), expected[first : first + number])


def test_of_compressed_patches_only_the_blocks_in_question_are_expanded(tmp_path: Path) -> None:
    path = tmp_path / "shard.arrow"
    pack = make_pack(images=[(1, 40, 40)])
    write(path, [pack], compress=True)
    content = path.read_bytes()
    _, second, *_ = compress_patches(pack.image_patches, CONSTANTS.patch_size)
    assert content.count(second) == 1
    path.write_bytes(content.replace(second, bytes(len(second))))
    shard = ArrowShard(path, CONSTANTS)
    np.testing.assert_array_equal(shard.patches(0, "image_patches", 0, 512), pack.image_patches[:512])
    np.testing.assert_array_equal(shard.patches(0, "image_patches", 1100, 9), pack.image_patches[1100:1109])
    with pytest.raises(DamagedShard, match="is damaged in pack 0"):
        shard.patches(0, "image_patches", 511, 2)
    with pytest.raises(DamagedShard, match="is damaged in pack 0"):
        shard[0]


@pytest.mark.parametrize(("first", "number"), [(0, 1601), (1600, 1), (-1, 3)])
def test_patches_that_a_pack_does_not_have_are_damage_of_a_compressed_one(
    tmp_path: Path, first: int, number: int
) -> None:
    shard = write(tmp_path / "shard.arrow", [make_pack(images=[(1, 40, 40)])], compress=True)
    with pytest.raises(DamagedShard, match="it has 1600 image_patches"):
        shard.patches(0, "image_patches", first, number)


@pytest.mark.parametrize("stored", [-1, 1601, 2000])
def test_counts_that_are_not_those_of_the_blocks_are_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stored: int
) -> None:
    monkeypatch.setattr(shards.formats.arrow, "count_pack", lambda pack: PackCounts(num_image_patches=stored))
    shard = write(tmp_path / "shard.arrow", [make_pack(images=[(1, 40, 40)])], compress=True)
    with pytest.raises(DamagedShard, match="is damaged in pack 0"):
        shard[0]


@pytest.mark.parametrize("compress", [False, True])
def test_equal_packs_give_equal_bytes(tmp_path: Path, compress: bool) -> None:
    for name in ("one", "two"):
        write(tmp_path / name, [make_pack(images=[(1, 2, 2)], seed=3), make_pack(seed=4)], compress=compress)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_row_says_its_own_counts(tmp_path: Path) -> None:
    write(tmp_path / "shard.arrow", [make_pack(texts=(3, 5), images=[(1, 2, 4)])])
    table = pa.ipc.open_file(str(tmp_path / "shard.arrow")).read_all()
    assert table.select([name for name in table.column_names if name.startswith("num_")]).to_pylist() == [
        {
            "num_samples": 2,
            "num_tokens": 10,
            "num_label_tokens": 2,
            "num_images": 1,
            "num_videos": 0,
            "num_image_patches": 8,
            "num_video_patches": 0,
        }
    ]


class WatchedReader:
    """Arrow's reader, and whether another thread could have come in while it was at a batch."""

    def __init__(self, shard: ArrowShard) -> None:
        self.reader, self.lock = shard._reader, shard._one_at_a_time
        self.could_enter: list[bool] = []

    @property
    def num_record_batches(self) -> int:
        return self.reader.num_record_batches

    def get_batch(self, row: int) -> pa.RecordBatch:
        self.could_enter.append(entered := self.lock.acquire(blocking=False))
        if entered:
            self.lock.release()
        return self.reader.get_batch(row)


def test_threads_come_to_the_reader_of_arrow_one_at_a_time(tmp_path: Path) -> None:
    shard = write(tmp_path / "shard.arrow", [make_pack(seed=1), make_pack(seed=2)])
    shard._reader = watched = WatchedReader(shard)
    assert_same(shard[1], make_pack(seed=2))
    with pytest.raises(IndexError):
        shard[2]
    assert_same(shard[0], make_pack(seed=1))
    assert watched.could_enter == [False, False]
    assert watched.lock.acquire(blocking=False), "it is free afterwards"


# --- files that are no shard ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, 0.9, -1])
def test_a_truncated_file_is_damaged(tmp_path: Path, keep: float) -> None:
    path = tmp_path / "shard.arrow"
    write(path, [make_pack()])
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if 0 < keep < 1 else int(keep)])
    with pytest.raises(DamagedShard, match=rf"{path} is not a whole Arrow file"):
        ArrowShard(path, CONSTANTS)


def test_a_missing_file_is_damaged(tmp_path: Path) -> None:
    with pytest.raises(DamagedShard, match="is missing"):
        ArrowShard(tmp_path / "shard.arrow", CONSTANTS)


def test_an_arrow_file_of_something_else_is_damaged(tmp_path: Path) -> None:
    with pa.ipc.new_file(str(tmp_path / "shard.arrow"), pa.schema([("input_ids", pa.int64())])):
        pass
    with pytest.raises(DamagedShard, match="has other columns"):
        ArrowShard(tmp_path / "shard.arrow", CONSTANTS)


def test_a_shard_of_a_model_with_other_patches_is_damaged(tmp_path: Path) -> None:
    write(tmp_path / "shard.arrow", [make_pack()])
    other = replace(CONSTANTS, patch_size=16)
    assert arrow_schema(other) != arrow_schema(CONSTANTS)
    with pytest.raises(DamagedShard, match="has other columns"):
        ArrowShard(tmp_path / "shard.arrow", other)


def test_a_pack_with_a_broken_header_is_named(tmp_path: Path) -> None:
    path = tmp_path / "shard.arrow"
    write(path, [make_pack(seed=1), make_pack(seed=2)])
    content = bytearray(path.read_bytes())
    second = content.index(b"\xff\xff\xff\xff", content.index(b"\xff\xff\xff\xff", 500) + 500)
    content[second + 8 : second + 40] = bytes(32)
    path.write_bytes(content)
    with pytest.raises(DamagedShard, match="is damaged in pack"):
        list(map(ArrowShard(path, CONSTANTS).__getitem__, range(2)))


FLIP_EVERYWHERE = """
import sys
from pathlib import Path
from shards import DamagedShard
from shards.formats.arrow import ArrowShard
from tests.shards.packs import CONSTANTS, arrays

path, step = Path(sys.argv[1]), int(sys.argv[2])
content = path.read_bytes()
damaged = 0
file = open(path, "r+b", buffering=0)
for position in range(0, len(content), step):
    for bits in (1, 128, 255, 0):
        file.seek(position)
        file.write(bytes([content[position] ^ bits]))
        try:
            shard = ArrowShard(path, CONSTANTS)
            for row in range(min(len(shard), 10)):
                assert all(array.sum() is not None for array in arrays(shard[row]).values())  # every byte is read
        except DamagedShard:
            damaged += 1
print(damaged)
"""


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("step", [37, pytest.param(1, marks=pytest.mark.slow)])
def test_flipped_bytes_never_end_the_process(tmp_path: Path, step: int, compress: bool) -> None:
    written = [make_pack(images=[(1, 2, 2)], videos=[(1, 2, 2)]), make_pack(texts=(1,))]
    write(tmp_path / "shard.arrow", written, compress=compress)
    done = subprocess.run(
        [sys.executable, "-c", FLIP_EVERYWHERE, str(tmp_path / "shard.arrow"), str(step)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 5000 / step
