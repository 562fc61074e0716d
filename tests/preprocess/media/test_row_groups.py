"""Cells of Parquet files: a row group is expanded once, and what is kept of it is as large as it must be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from preprocess.errors import FatalError
from preprocess.media import cache, parquet_cells, row_groups
from preprocess.media.parquet_cells import EmbeddedMedium
from preprocess.sample import MediaSource
from tests.preprocess.workshop import MEDIUM, Workshop, published, talk

NUM_ROWS, GROUP_ROWS, CELL_BYTES = 30, 10, 2000
CONTENTS = [
    np.random.default_rng(number).integers(0, 256, CELL_BYTES, np.uint8).tobytes() for number in range(NUM_ROWS)
]
FORMATS = {"compressed": {"compression": "snappy"}, "plain": {"compression": "none"}}


@pytest.fixture(autouse=True)
def afresh() -> Iterator[None]:
    """No other test's cache, nor what was opened of it."""
    before = list(cache._used)
    cache._used.clear()
    for each in (row_groups._places, row_groups._row_group_column, row_groups.open_parquet):
        each.cache_clear()
    yield
    cache._used[:] = before


def kept_in(folder: Path, most_bytes: int = 1 << 30) -> Path:
    cache.use(cache.MediaCache(folder=folder, most_bytes=most_bytes))
    return folder


def written(path: Path, rows: list[object], type_: pa.DataType = MEDIUM, **options: object) -> Path:
    pq.write_table(pa.table({"image": pa.array(rows, type_)}), path, row_group_size=GROUP_ROWS, **options)
    return path


def medium(content: bytes | None) -> dict[str, object]:
    return {"bytes": content, "path": None}


def cell(path: Path, row: int, item: int = 0) -> bytes:
    with parquet_cells.open_medium(MediaSource(path=str(path), row=row, column="image", item=item)) as file:
        return file.read()


def num_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*.cells"))


@pytest.mark.parametrize("name", FORMATS)
def test_each_row_group_is_expanded_once_whatever_the_order(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "a.parquet", [medium(content) for content in CONTENTS], **FORMATS[name])
    expanded: list[int] = []
    read: Callable[..., pa.Table] = pq.ParquetFile.read_row_group

    def count(self: pq.ParquetFile, group: int, **more: object) -> pa.Table:
        expanded.append(group)
        return read(self, group, **more)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", count)
    folder = kept_in(tmp_path / "cache")
    order = np.random.default_rng(0).permutation(NUM_ROWS).tolist()
    for _ in range(2):  # as two workers, or a run that goes on
        assert [cell(path, row) for row in order] == [CONTENTS[row] for row in order]
        row_groups._places.cache_clear()
        row_groups._row_group_column.cache_clear()
    assert sorted(expanded) == [0, 1, 2]
    size = num_bytes(folder)
    assert size > NUM_ROWS * CELL_BYTES if name == "compressed" else 0 < size < 2000
    expanded.clear()
    cache._used.clear()
    assert [cell(path, row) for row in order] == [CONTENTS[row] for row in order]
    assert len(expanded) > 10  # without a folder, a group is read again for nearly each


@pytest.mark.parametrize("name", FORMATS)
def test_lists_nulls_and_equal_cells_are_as_in_the_file(tmp_path: Path, name: str) -> None:
    rows = [[medium(CONTENTS[0]), medium(None), medium(b"")], None, [], [None, medium(CONTENTS[1])]]
    rows += [[medium(CONTENTS[0])], [medium(CONTENTS[1][:64] + CONTENTS[2]), medium(CONTENTS[1])]]
    path = written(tmp_path / "a.parquet", rows, pa.list_(MEDIUM), **FORMATS[name])
    for folder in (None, tmp_path / "cache"):
        if folder is not None:
            kept_in(folder)
        found = [
            EmbeddedMedium(path=str(path), row=row, column="image", item=item, written="else").reveal()
            for row, item in ((0, 0), (0, 1), (0, 2), (3, 1), (4, 0), (5, 0), (5, 1))
        ]
        assert [isinstance(each, MediaSource) for each in found] == [True, False, True, True, True, True, True]
        assert found[1] == "else"
        assert cell(path, 0) == cell(path, 4) == CONTENTS[0]
        assert cell(path, 0, 2) == b"" and cell(path, 3, 1) == cell(path, 5, 1) == CONTENTS[1]
        assert cell(path, 5) == CONTENTS[1][:64] + CONTENTS[2]
        for row, item in ((0, 3), (1, 0), (2, 0)):
            with pytest.raises(FatalError, match="changed or broke while it was read"):
                cell(path, row, item)
    assert num_bytes(tmp_path / "cache")


def test_cells_are_right_where_the_folder_is_full(tmp_path: Path) -> None:
    path = written(tmp_path / "a.parquet", [medium(content) for content in CONTENTS])
    folder = kept_in(tmp_path / "cache", most_bytes=GROUP_ROWS * CELL_BYTES * 3 // 2)
    assert [cell(path, row) for row in range(NUM_ROWS)] == CONTENTS
    assert GROUP_ROWS * CELL_BYTES < num_bytes(folder) < folder_bound(folder)


def folder_bound(_: Path) -> int:
    used = cache.if_any()
    assert used is not None
    return used.most_bytes


def test_another_version_of_a_file_has_other_cells(tmp_path: Path) -> None:
    kept_in(tmp_path / "cache")
    path = written(tmp_path / "a.parquet", [medium(content) for content in CONTENTS])
    assert cell(path, 3) == CONTENTS[3]
    written(path, [medium(content[::-1]) for content in CONTENTS])
    row_groups.open_parquet.cache_clear()
    row_groups._places.cache_clear()
    row_groups._row_group_column.cache_clear()
    assert cell(path, 3) == CONTENTS[3][::-1]


def test_what_it_costs_is_said_where_it_is_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[object] = [medium(content) for content in CONTENTS]
    compressed, plain = (written(tmp_path / name, rows, **options) for name, options in FORMATS.items())
    used = cache.MediaCache(folder=tmp_path / "cache", most_bytes=1 << 40)
    assert row_groups.cost_line("d", [compressed], used) is None
    monkeypatch.setattr(row_groups, "_WORTH_SAYING_BYTES", 1000)
    line = row_groups.cost_line("d", [compressed, compressed], used)
    assert line is not None and line.startswith("d: its Parquet files (") and "may hold 1.0 TiB" in line
    assert row_groups.cost_line("d", [plain], used) is None
    small = cache.MediaCache(folder=tmp_path / "cache", most_bytes=1000)
    assert "too little for all" in str(row_groups.cost_line("d", [compressed], small))


def test_shards_are_the_same_with_and_without_room(workshop: Workshop) -> None:
    contents = [(workshop.media / workshop.image(f"{n}.png", (56 + n, 84))).read_bytes() for n in range(6)]
    records = [{**talk("<image>"), "image": medium(content)} for content in contents]
    workshop.dataset(records, suffix=".parquet", data_path=None)
    kept, without = workshop.run(out="kept"), workshop.run("--media_cache_bytes=0", out="without")
    assert kept.code == without.code == 0 and len(kept.keys) == 6
    assert published(kept.folder) == published(without.folder)
    assert num_bytes(workshop.root / "kept.media") and not num_bytes(workshop.root / "without.media")
    assert (
        f"{workshop.root}/kept.media holds " in kept.out
        and " of media that were compressed; it may be removed" in kept.out
    )
    assert "may be removed" not in without.out


def test_a_plan_that_nobody_keeps_leaves_no_media_behind(workshop: Workshop) -> None:
    content = (workshop.media / workshop.image()).read_bytes()
    workshop.dataset([{**talk("<image>"), "image": medium(content)}], suffix=".parquet", data_path=None)
    assert workshop.command("plan", *workshop.flags()).code == 0
    assert not (workshop.root / "out.media").exists()
