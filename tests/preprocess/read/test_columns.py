"""Keys of other names, mapped in the registry."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from preprocess.errors import Reason
from preprocess.read.formats.parquet_records import ParquetRows
from preprocess.sample import MediaSource
from tests.preprocess.read.forms.reading import qwen, read, reject, sample
from tests.preprocess.workshop import MEDIUM

TURNS = qwen("<image>What?", "That.")["conversations"]
SAME = qwen("<image>What?", "That.", image="a.png")


def test_values_stand_under_the_names_of_the_forms() -> None:
    columns = {"image": "img", "conversations": "data.dialog"}
    record = {"img": "a.png", "data": {"dialog": TURNS, "n": 1}, "id": 1, "image": "wrong.png"}
    assert sample(record, columns=columns) == sample(SAME)
    assert read(record, columns=columns).ignored_keys == ("id",)


def test_a_key_may_hold_dots_itself() -> None:
    record = {"meta.img": "a.png", "conversations": TURNS, "meta": {"img": "wrong.png"}}
    assert sample(record, columns={"image": "meta.img"}) == sample(SAME)


def test_keys_may_change_places_and_lie_inside_of_their_own_name() -> None:
    assert sample({"q": "a", "r": "b"}, columns={"question": "r", "answer": "q"}) == sample(qwen("b", "a"))
    assert sample({"image": {"path": "a.png"}, "conversations": TURNS}, columns={"image": "image.path"}) == sample(SAME)


def test_what_is_found_nowhere_is_absent() -> None:
    for record in ({}, {"data": None}, {"data": [1]}, {"data": {}}):
        assert reject(record, columns={"conversations": "data.dialog"}).reason is Reason.NO_TURNS


def test_columns_of_parquet_are_read_under_their_own_names(tmp_path: Path) -> None:
    path = tmp_path / "d.parquet"
    row = {"img": {"bytes": b"x", "path": "a.png"}, "data": {"dialog": TURNS}, "other": b"y"}
    pq.write_table(
        pa.table({"img": pa.array([row["img"]], MEDIUM), "data": [row["data"]], "other": [row["other"]]}), path
    )
    columns = {"image": "img", "conversations": "data.dialog"}
    [found] = ParquetRows(path, columns=columns)
    assert found["other"] is None
    assert sample(found, columns=columns).turns == sample(SAME).turns
    assert sample(found, columns=columns).images == (MediaSource(path=str(path), row=0, column="img"),)
