"""MindRecord files hold packs as they were written, for our reader and for one that knows nothing of us."""

from __future__ import annotations

import errno
import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mindspore.mindrecord import FileWriter

from shards import DamagedShard, Pack, PackMaxima, RowTooLarge, check_pack, count_pack, measure_pack
from shards.formats.mindrecord import (
    COLUMNS,
    MAX_PAGE_BYTES,
    MindRecordShard,
    MindRecordShardWriter,
    largest_row_bytes,
    page_bytes,
    unpack_integers,
)
from tests.shards.packs import CONSTANTS, arrays, assert_same, make_pack, packs

NAME = "shard-000000.mindrecord"
ROOT = Path(__file__).parents[3]

VARIED = [
    make_pack(texts=(7, 2)),  # no image, no video
    make_pack(texts=(1,)),  # one token
    make_pack(videos=[(2, 4, 4), (1, 2, 2)]),  # only videos
    make_pack(images=[(1, 2, 2), (1, 4, 8)], videos=[(3, 2, 2)], seed=5),  # everything, then little
    make_pack(texts=(1,), seed=6),
    replace(make_pack(texts=(2, 3, 4)), sample_keys=("数据 集:0", 'a"\n:1.2#3', "")),
    make_pack(texts=(900, 1, 700), images=[(1, 40, 44)] * 4, seed=7),
]


def write(folder: Path, written: Sequence[Pack], page: int = 8 << 20) -> MindRecordShard:
    with MindRecordShardWriter(folder / NAME, CONSTANTS, page) as writer:
        for pack in written:
            writer.write(pack)
    return MindRecordShard(folder / NAME, CONSTANTS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("varied")
    write(folder, VARIED)
    return folder


@pytest.fixture
def shard(folder: Path) -> MindRecordShard:
    return MindRecordShard(folder / NAME, CONSTANTS)


@pytest.fixture
def own(folder: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    for name in (NAME, NAME + ".db"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    return tmp_path


def test_packs_come_back_as_written_in_any_order(shard: MindRecordShard) -> None:
    assert len(shard) == len(VARIED)
    for row in (3, 0, 6, 1, 5, 2, 4):
        assert_same(shard[row], VARIED[row])
        check_pack(shard[row], CONSTANTS)


@settings(max_examples=5, deadline=None)
@given(st.lists(packs, min_size=1, max_size=30))
def test_any_packs_come_back_as_written(tmp_path_factory: pytest.TempPathFactory, written: list[Pack]) -> None:
    shard = write(tmp_path_factory.mktemp("any"), written, 1 << 20)
    for pack, expected in zip(map(shard.__getitem__, range(len(shard))), written, strict=True):
        assert_same(pack, expected)


def test_rows_may_fill_several_pages(tmp_path: Path) -> None:
    written = [make_pack(images=[(1, 20, 20)], seed=seed) for seed in range(12)]
    shard = write(tmp_path, written, 1 << 20)
    assert (tmp_path / NAME).stat().st_size > 5 << 20
    for row, pack in enumerate(written):
        assert_same(shard[row], pack)


def test_patches_are_views_into_the_mapped_file(shard: MindRecordShard) -> None:
    pack = shard[3]
    for patches in (pack.image_patches, pack.video_patches):
        assert patches.nbytes and not patches.flags.owndata and not patches.flags.writeable


def test_threads_may_share_a_shard(shard: MindRecordShard) -> None:
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(shard.__getitem__, list(range(len(VARIED))) * 30))
    for number, pack in enumerate(got):
        assert_same(pack, VARIED[number % len(VARIED)])


def test_equal_packs_give_equal_bytes_in_another_process(folder: Path, tmp_path: Path) -> None:
    script = (
        "from pathlib import Path; import sys\n"
        "from tests.shards.formats.test_mindrecord import VARIED, write\n"
        "write(Path(sys.argv[1]), VARIED)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, check=True)
    for name in (NAME, NAME + ".db"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


@pytest.mark.parametrize("name", ["a b", "数据", "#x%20?", "q*&;'\"|\\"])
def test_folders_may_have_any_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    assert_same(write(tmp_path / name, VARIED[:1])[0], VARIED[0])


def test_files_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write(tmp_path, VARIED[:1])
    finally:
        os.umask(before)
    assert [path.stat().st_mode & 0o777 for path in sorted(tmp_path.iterdir())] == [0o640, 0o640]


# --- a reader that knows nothing of us -----------------------------------------------------------------------------


def rows_of_mindspore(path: Path) -> Iterator[dict[str, Any]]:
    import mindspore.dataset

    dataset = mindspore.dataset.MindDataset([str(path)], shuffle=False)
    yield from dataset.create_dict_iterator(output_numpy=True, num_epochs=1)


def test_mind_dataset_reads_the_documented_columns(folder: Path) -> None:
    rows = list(rows_of_mindspore(folder / NAME))
    assert len(rows) == len(VARIED)
    for row, pack in zip(rows, VARIED, strict=True):
        assert row.keys() == COLUMNS.keys()
        assert {name: int(row[name]) for name in vars(count_pack(pack))} == vars(count_pack(pack))
        assert tuple(json.loads(row["sample_keys"].tobytes())) == pack.sample_keys
        for name, array in arrays(pack).items():
            column = row[name].view(np.uint8) if name.endswith("_patches") else row[name]
            if array.size:
                np.testing.assert_array_equal(column.reshape(array.shape), array, err_msg=name)
                assert column.dtype == array.dtype
            else:
                assert column.size and not column.any(), name  # never an empty array, which would be garbage
    assert not all(array.size for pack in VARIED for array in arrays(pack).values())


def test_patches_that_end_in_zeros_keep_them(tmp_path: Path) -> None:
    pack = make_pack(images=[(1, 2, 2)])
    black = replace(pack, image_patches=np.zeros_like(pack.image_patches))
    assert_same(write(tmp_path, [black])[0], black)
    [row] = rows_of_mindspore(tmp_path / NAME)
    assert row["image_patches"].view(np.uint8).shape == (black.image_patches.size,)


# --- integers ------------------------------------------------------------------------------------------------------

EDGES = [0, 1, -1, 127, 128, -128, -129, 255, 32767, 32768, -32768, -32769, 65535, 2**31 - 1, -(2**31), -100]


def test_integers_of_every_size_come_back(tmp_path: Path) -> None:
    pack = make_pack(texts=(len(EDGES),))
    extreme = replace(pack, input_ids=np.array(EDGES, np.int32), labels=np.array(EDGES[::-1], np.int32))
    assert_same(write(tmp_path, [extreme])[0], extreme)


@pytest.mark.parametrize(
    "column",
    [
        b"",
        b"\0\0\0\1",
        b"\0\0\0\1\0",
        b"\0\0\0\1\0\1\1",
        b"\0\0\0\2\x10\1\1",
        b"\0\0\0\1\xc0" + bytes(8),
        b"\xff\xff\xff\xff\0\0",
    ],
)
def test_integers_that_do_not_add_up_are_an_error(column: bytes) -> None:
    with pytest.raises((ValueError, struct.error)):
        unpack_integers(memoryview(column))


# --- pages ---------------------------------------------------------------------------------------------------------


def test_a_page_holds_four_of_the_largest_row_within_reason() -> None:
    mega = 1 << 20
    pages = {size: page_bytes(size) for size in (1, mega // 4, mega, 5 * mega, 8 * mega, 9 * mega, 32 * mega)}
    assert list(pages.values()) == [mega, mega, 4 * mega, 32 * mega, 32 * mega, 32 * mega, 32 * mega]
    assert [page_bytes(size) for size in (32 * mega + 1, 129 * mega, MAX_PAGE_BYTES)] == [64 * mega, *[256 * mega] * 2]


def test_a_row_larger_than_any_page_is_refused_with_its_size() -> None:
    with pytest.raises(RowTooLarge, match=r"268,435,457 bytes and a MindRecord page holds 268,435,456"):
        page_bytes(MAX_PAGE_BYTES + 1)


@pytest.mark.parametrize("pack", VARIED, ids=range(len(VARIED)))
def test_a_planned_row_fits_where_the_plan_says(tmp_path: Path, pack: Pack) -> None:
    shard = write(tmp_path, [pack])
    assert shard._row_bytes[0] <= largest_row_bytes(measure_pack(pack, CONSTANTS), CONSTANTS)


def test_videos_and_images_of_different_packs_are_not_added_up() -> None:
    apart = PackMaxima(image_patches=1000, video_patches=1000, patches=1000)
    together = PackMaxima(image_patches=1000, video_patches=1000, patches=2000)
    assert largest_row_bytes(apart, CONSTANTS) == 1000 * 1176 + 4096
    assert largest_row_bytes(together, CONSTANTS) == 1000 * (588 + 1176) + 4096


def test_a_row_that_no_page_holds_is_an_error_of_the_disk(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="too small to save a blob row"):
        write(tmp_path, [make_pack(images=[(1, 100, 100)])], 1 << 20)


# --- a full disk, of which FileWriter says nothing ---


def test_packs_that_were_not_written_are_an_error_of_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_raw_data = FileWriter.write_raw_data
    given: list[Any] = []

    def lose_the_second(writer: FileWriter, rows: list[Any]) -> None:
        given.append(rows)
        if len(given) != 2:
            write_raw_data(writer, rows)

    monkeypatch.setattr(FileWriter, "write_raw_data", lose_the_second)
    with pytest.raises(OSError, match=r"MindSpore could not write: 2 of 3 packs were written.*shard-000000") as raised:
        write(tmp_path, VARIED[:3])
    assert raised.value.errno == errno.EIO
    assert len(given) == 3


@pytest.mark.parametrize("keep", [0.3, 0])
def test_a_file_that_was_cut_short_is_an_error_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: float
) -> None:
    commit = FileWriter.commit

    def cut(writer: FileWriter) -> None:
        commit(writer)
        os.truncate(tmp_path / NAME, int(keep * (tmp_path / NAME).stat().st_size))

    monkeypatch.setattr(FileWriter, "commit", cut)
    with pytest.raises(OSError, match=r"MindSpore could not write: .*shard-000000") as raised:
        write(tmp_path, VARIED[:3])
    assert raised.value.errno == errno.EIO


# --- files that are no shard ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [NAME, NAME + ".db"])
def test_a_missing_file_is_named(own: Path, name: str) -> None:
    (own / name).unlink()
    with pytest.raises(DamagedShard, match=rf"{name} is missing"):
        MindRecordShard(own / NAME, CONSTANTS)


@pytest.mark.parametrize("keep", [0, 1, 100, 0.3, -1])
def test_a_truncated_file_is_named(own: Path, keep: float) -> None:
    content = (own / NAME).read_bytes()
    (own / NAME).write_bytes(content[: int(keep * len(content)) if 0 < keep < 1 else int(keep)])
    with pytest.raises(DamagedShard, match=rf"{NAME}"):
        MindRecordShard(own / NAME, CONSTANTS)


@pytest.mark.parametrize("keep", [0, 1, 100, 5000])  # the last page may be empty: its size in the manifest tells
def test_a_truncated_index_is_named(own: Path, keep: int) -> None:
    content = (own / (NAME + ".db")).read_bytes()
    (own / (NAME + ".db")).write_bytes(content[:keep])
    with pytest.raises(DamagedShard, match=rf"{NAME}.db"):
        MindRecordShard(own / NAME, CONSTANTS)


def test_a_renamed_file_is_refused_with_its_own_name(own: Path) -> None:
    for suffix in ("", ".db"):
        (own / (NAME + suffix)).rename(own / f"shard-000001.mindrecord{suffix}")
    with pytest.raises(DamagedShard, match=rf"shard-000001.mindrecord was renamed.* it is {NAME}"):
        MindRecordShard(own / "shard-000001.mindrecord", CONSTANTS)


def test_an_index_of_another_shard_is_noticed(own: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    write(other, VARIED[::-1])
    (own / (NAME + ".db")).write_bytes((other / (NAME + ".db")).read_bytes())
    shard = MindRecordShard(own / NAME, CONSTANTS)
    with pytest.raises(DamagedShard, match="damaged in pack"):
        list(map(shard.__getitem__, range(len(shard))))


def test_a_shard_of_a_model_with_other_patches_is_damaged(own: Path) -> None:
    shard = MindRecordShard(own / NAME, replace(CONSTANTS, patch_size=16))
    with pytest.raises(DamagedShard, match="damaged in pack 3"):
        shard[3]


def test_flipped_bytes_never_do_worse_than_damage(own: Path, shard: MindRecordShard) -> None:
    random = np.random.default_rng(0)
    caught = 0
    row_starts = np.concatenate([np.arange(first, first + 64) for first in shard._first_byte])
    for name, positions in (
        (NAME, np.concatenate([random.choice(2000, 60, False), random.choice(row_starts, 60, False)])),
        (NAME + ".db", random.choice((own / (NAME + ".db")).stat().st_size, 60, False)),
    ):
        content = (own / name).read_bytes()
        for position in positions.tolist():
            flip(own / name, position, content[position] ^ 1 << int(random.integers(8)))
            try:
                list(map(MindRecordShard(own / NAME, CONSTANTS).__getitem__, range(len(VARIED))))
            except (DamagedShard, IndexError):
                caught += 1
            flip(own / name, position, content[position])
    assert caught > 60


def flip(path: Path, position: int, byte: int) -> None:
    with open(path, "r+b") as file:
        file.seek(position)
        file.write(bytes([byte]))
