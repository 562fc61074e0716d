"""Measured samples come back from the plan as they went in; packs and rows cover everything once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocess.plan.tables import (
    SamplesReader,
    cut_into_shards,
    read_part,
    read_table,
    write_packs,
    write_part,
    write_parts,
)
from preprocess.sample import (
    BoxMode,
    MeasuredImage,
    MeasuredSample,
    MeasuredVideo,
    MediaSource,
    MediaStamp,
    Sample,
    Turn,
)
from tests.preprocess.workshop import samples_of

FILE = MediaSource(path="/media/数据 1.png")
CELL = MediaSource(path="/d.parquet", row=2**40, column="images", item=3)
STAMP = MediaStamp(num_bytes=2**40, version=1_700_000_000_123_456_789, sha256="ab" * 32)
IMAGE = MeasuredImage(source=FILE, stamp=STAMP, height=90, width=60, orientation=6, grid_thw=(1, 6, 4))
VIDEO = MeasuredVideo(
    source=CELL,
    stamp=STAMP,
    height=120,
    width=160,
    grid_thw=(2, 8, 10),
    num_frames=2**33,
    fps=30000 / 1001,
    frame_indices=(0, 7, 2**33 - 1),
    second_per_grid=0.1 + 0.2,
)


def measured(
    index: int, member: int | None = None, images: int = 0, videos: int = 0, name: str = "a", boxes: BoxMode = "none"
) -> MeasuredSample:
    return MeasuredSample(
        sample=Sample(
            dataset=name,
            index=index,
            member=member,
            turns=(Turn(role="user", text=f"{index}\0\u2028 é"), Turn(role="assistant", text="")),
            images=(FILE,) * images,
            videos=(CELL,) * videos,
            boxes=boxes,
        ),
        images=(IMAGE,) * images,
        videos=(VIDEO,) * videos,
        num_tokens=10 + index % 7,
        num_label_tokens=3,
        num_image_patches=24 * images,
        num_video_patches=160 * videos,
    )


def write(folder: Path, *parts: list[MeasuredSample]) -> SamplesReader:
    (folder / "samples").mkdir()
    for number, samples in enumerate(parts):
        write_part(folder, number, [(sample, 1) for sample in samples], {})
    names = [samples[0].sample.dataset if samples else "empty" for samples in parts]
    write_parts(folder, names, [len(samples) for samples in parts])
    return samples_of(folder)


def test_samples_come_back_as_measured(tmp_path: Path) -> None:
    samples = [
        measured(0),
        measured(2**40, images=2),
        measured(2, member=0, videos=1, name="数据", boxes="relative_1000"),
        measured(3, member=7, images=1, videos=2),
    ]
    reader = write(tmp_path, samples)
    assert list(reader) == samples
    assert [reader[row] for row in (3, 0, 2, 1)] == [samples[3], samples[0], samples[2], samples[1]]


def test_rows_are_found_in_every_part(tmp_path: Path) -> None:
    samples = [measured(n, images=n % 2) for n in range(600)]
    parts = [samples[:512], [], samples[512:513], samples[513:], []]
    reader = write(tmp_path, *parts)
    for row in (0, 511, 512, 513, 599, 1):
        assert reader[row] == samples[row]
    assert list(reader) == samples
    assert [list(read_part(tmp_path, number, "")) for number in range(len(parts))] == parts


def test_copies_stand_beside_the_sample(tmp_path: Path) -> None:
    (tmp_path / "samples").mkdir()
    write_part(tmp_path, 3, [(measured(0), 2), (measured(1), 7)], {})
    assert read_table(tmp_path / "samples" / "part-000003.arrow")["copies"].to_pylist() == [2, 7]


def test_a_plan_without_samples_is_readable(tmp_path: Path) -> None:
    assert list(write(tmp_path)) == []


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 100), st.integers(0, 50)), min_size=1, max_size=30))
def test_packs_hold_every_item_once_in_given_order(
    tmp_path_factory: pytest.TempPathFactory, items: list[tuple[int, int, int]]
) -> None:
    wanted, tokens, patches = np.array(items, np.int64).T
    pack_of_item = np.unique(wanted, return_inverse=True)[1].astype(np.int64)
    rows, repeats = np.arange(len(items)) * 3, np.arange(len(items)) % 2
    path = tmp_path_factory.mktemp("packs") / "packs.arrow"
    assert write_packs(path, pack_of_item, rows, repeats, tokens, patches).equals(read_table(path))
    packs = read_table(path).to_pylist()
    assert sorted(row for pack in packs for row in pack["samples"]) == rows.tolist()
    for number, pack in enumerate(packs):
        inside = pack_of_item == number
        assert pack == {
            "samples": rows[inside].tolist(),
            "repeats": repeats[inside].tolist(),
            "num_tokens": tokens[inside].sum(),
            "num_patches": patches[inside].sum(),
        }


def test_no_items_are_no_packs_and_no_shards(tmp_path: Path) -> None:
    nothing = np.zeros(0, np.int64)
    assert len(write_packs(tmp_path / "packs.arrow", nothing, nothing, nothing, nothing, nothing)) == 0
    assert len(cut_into_shards(tmp_path / "tasks.arrow", nothing, 100)) == 0


@given(st.lists(st.integers(1, 300), min_size=1, max_size=40), st.integers(1, 500))
def test_shards_cut_the_packs_into_runs_of_about_that_size(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], shard_bytes: int
) -> None:
    path = tmp_path_factory.mktemp("shards") / "tasks.arrow"
    cut_into_shards(path, np.array(sizes), shard_bytes)
    rows = read_table(path).to_pylist()
    assert rows[0]["first_pack"] == 0
    ends = [row["first_pack"] + row["num_packs"] for row in rows]
    assert [row["first_pack"] for row in rows[1:]] == ends[:-1]
    assert ends[-1] == len(sizes)
    for row in rows:
        inside = sizes[row["first_pack"] :][: row["num_packs"]]
        assert inside
        assert sum(inside[:-1]) < shard_bytes, "a shard goes on after it is full"
    assert len(rows) <= sum(sizes) // shard_bytes + 1
