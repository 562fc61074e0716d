"""Media in cells of Parquet files: found in any order, and gone only where the file broke."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from preprocess.errors import FatalError
from preprocess.media.store import describe, open_medium, stamp_of
from preprocess.sample import MediaSource
from tests.preprocess.workshop import MEDIUM


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    path = tmp_path / "cells.parquet"
    rows = [[{"bytes": b"%d.%d" % (row, item), "path": None} for item in range(2)] for row in range(5)]
    pq.write_table(pa.table({"images": pa.array(rows, pa.list_(MEDIUM))}), path, row_group_size=2)
    return path


def cell(path: Path, row: int, item: int = 0, column: str = "images") -> bytes:
    with open_medium(MediaSource(path=str(path), row=row, column=column, item=item)) as file:
        return file.read()


def test_cells_are_found_in_any_order(cells: Path) -> None:
    assert pq.ParquetFile(cells).num_row_groups == 3
    for row, item in ((4, 1), (0, 0), (1, 1), (2, 0), (3, 1), (0, 1)):
        assert cell(cells, row, item) == b"%d.%d" % (row, item)


def test_the_footer_of_a_parquet_file_is_read_once(cells: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    class Counting(pq.ParquetFile):
        def __init__(self, path: str) -> None:
            opened.append(path)
            super().__init__(path)

    monkeypatch.setattr(pq, "ParquetFile", Counting)
    assert [cell(cells, row) for row in (4, 0, 2, 4)] == [b"4.0", b"0.0", b"2.0", b"4.0"]
    assert opened == [str(cells)]


@pytest.mark.parametrize(("row", "item", "column"), [(5, 0, "images"), (0, 2, "images"), (0, 0, "image")])
def test_a_cell_that_is_gone_is_fatal(cells: Path, row: int, item: int, column: str) -> None:
    with pytest.raises(FatalError, match="the annotation file changed or broke while it was read"):
        cell(cells, row, item, column)


def test_a_parquet_file_that_is_gone_is_fatal(tmp_path: Path) -> None:
    with pytest.raises(FatalError, match=r"gone\.parquet"):
        cell(tmp_path / "gone.parquet", 0)


def test_too_few_file_handles_are_no_damage(cells: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(pq, "ParquetFile", fail)
    with pytest.raises(FatalError, match=r"Too many open files; .* may be whole"):
        cell(cells, 0)


def test_a_cell_says_where_it_is(cells: Path) -> None:
    source = MediaSource(path=str(cells), row=3, column="images", item=1)
    assert describe(source) == f"{cells} (row 3, images[1])"
    assert stamp_of(source).num_bytes == cells.stat().st_size
