"""Parquet files: rows are records, media are located and not read, and what is wrong is fatal or one bad record."""

from __future__ import annotations

import datetime
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import preprocess.read.formats.parquet_records
from preprocess.errors import AnnotationError, FatalError
from preprocess.media.parquet_cells import EmbeddedMedium
from preprocess.media.store import open_medium, reveal
from preprocess.read.annotations import open_annotations
from preprocess.sample import MediaSource
from tests.preprocess.read.formats.reading import assert_bad_json, read, refusal, write_parquet
from tests.preprocess.workshop import MEDIUM, TURNS, talk


def conversations(num_rows: int) -> pa.Array:
    return pa.array([talk(f"Question {n}")["conversations"] for n in range(num_rows)], TURNS)


def content_of(medium: EmbeddedMedium) -> Any:
    """The bytes of a cell; the path in it where it holds none."""
    source = reveal(medium)
    if not isinstance(source, MediaSource):
        return source
    with open_medium(source) as file:
        return file.read()


def test_media_in_a_parquet_file_are_located_and_paths_stay_paths(tmp_path: Path) -> None:
    cells = [
        {"bytes": b"first", "path": "a.png"},
        {"bytes": None, "path": "b.png"},
        None,
        {"bytes": b"", "path": None},
        {"bytes": None, "path": None},
        {"bytes": b"last", "path": "/abs/c.png"},
    ]
    path = write_parquet(
        tmp_path / "a.parquet",
        {"image": pa.array(cells, MEDIUM), "conversations": conversations(6)},
        row_group_size=2,
    )
    records = read(path)
    images = [record["image"] for record in records]
    assert images[2] is None
    assert images[0] == EmbeddedMedium(path=str(path), row=0, column="image", item=0, written="a.png")
    assert [content_of(images[row]) for row in (5, 0, 3)] == [b"last", b"first", b""]
    assert [content_of(images[row]) for row in (1, 4)] == ["b.png", None]
    assert [record["conversations"] for record in records] == [talk(f"Question {n}")["conversations"] for n in range(6)]


def test_lists_of_media_in_a_parquet_file_are_located_one_by_one(tmp_path: Path) -> None:
    cells = [
        [{"bytes": b"0", "path": None}, {"bytes": None, "path": "b.png"}, {"bytes": b"2", "path": None}],
        [],
        None,
        [None],
        [{"bytes": b"x", "path": "y"}],
    ]
    path = write_parquet(
        tmp_path / "a.parquet", {"images": pa.array(cells, pa.list_(MEDIUM)), "conversations": conversations(5)}
    )
    images = [record["images"] for record in read(path)]
    assert images[1:4] == [[], None, [None]]
    assert [content_of(images[0][item]) for item in (2, 1, 0)] == [b"2", "b.png", b"0"]
    assert content_of(images[4][0]) == b"x"


@pytest.mark.parametrize("is_list", [False, True])
def test_bytes_of_media_are_not_read(tmp_path: Path, is_list: bool) -> None:
    """Where they stand in the file, nothing that could be read is left."""
    cells: list[Any] = [{"bytes": b"%d" % n * 100, "path": f"{n}.png"} for n in range(3)]
    media = pa.array([[cell] for cell in cells], pa.list_(MEDIUM)) if is_list else pa.array(cells, MEDIUM)
    path = write_parquet(tmp_path / "a.parquet", {"images": media, "conversations": conversations(3)})
    group = pq.ParquetFile(path).metadata.row_group(0)
    [chunk] = [column for n in range(4) if (column := group.column(n)).path_in_schema.endswith("bytes")]
    content = bytearray(path.read_bytes())
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    content[start : start + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    path.write_bytes(content)
    images = [record["images"] for record in read(path)]
    assert [(image[0] if is_list else image).written for image in images] == ["0.png", "1.png", "2.png"]
    with pytest.raises(FatalError, match="changed or broke"):
        content_of(images[0][0] if is_list else images[0])


@pytest.mark.parametrize(
    "media",
    [
        pa.array([[{"bytes": b"x", "path": "y"}], []], pa.large_list(MEDIUM)),
        pa.array([[{"bytes": b"x", "path": "y"}], []], pa.list_view(MEDIUM)),
        pa.array([[{"path": "y", "bytes": b"x"}], []], pa.list_(pa.struct([MEDIUM.field(1), MEDIUM.field(0)]))),
        pa.array([[{"bytes": b"x", "path": "y"}], []], pa.list_(pa.struct([("bytes", pa.large_binary()), MEDIUM[1]]))),
    ],
    ids=lambda media: str(media.type),
)
def test_media_in_other_arrow_layouts_are_located(tmp_path: Path, media: pa.Array) -> None:
    first, second = read(write_parquet(tmp_path / "a.parquet", {"images": media}))
    assert content_of(first["images"][0]) == b"x"
    assert first["images"][0].written == "y"
    assert second["images"] == []


@pytest.mark.parametrize(
    "image",
    [b"raw", {"bytes": 17, "path": "a.png"}, {"bytes": b"x"}, {"bytes": b"x", "path": "a.png", "size": 1}, [[b"x"]]],
)
def test_cells_of_other_kinds_come_as_they_are(tmp_path: Path, image: Any) -> None:
    [record] = read(write_parquet(tmp_path / "a.parquet", {"image": pa.array([image])}))
    assert record["image"] == image


def test_columns_that_nothing_uses_are_named_but_not_read(tmp_path: Path) -> None:
    far = pa.array([2**62, 5], pa.timestamp("ns"))
    with pytest.raises(ValueError, match="Nanosecond"):
        far.to_pylist()
    columns = {"id": pa.array([1, 2]), "when": far, "video": pa.array(["a.mp4", None]), "messages": conversations(2)}
    first, second = read(write_parquet(tmp_path / "a.parquet", columns))
    assert (first["id"], first["when"], first["video"]) == (None, None, "a.mp4")
    assert list(second) == ["id", "when", "video", "messages"]


def test_a_parquet_file_without_a_known_column_still_has_its_rows(tmp_path: Path) -> None:
    assert read(write_parquet(tmp_path / "a.parquet", {"text": pa.array(["a", "b"])})) == [{"text": None}] * 2


def test_a_parquet_file_without_rows_has_no_records(tmp_path: Path) -> None:
    assert read(write_parquet(tmp_path / "a.parquet", {"conversations": conversations(0)})) == []


def test_other_arrow_layouts_of_the_same_values_are_read(tmp_path: Path) -> None:
    turns = conversations(3).cast(pa.large_list(pa.struct([("from", pa.large_string()), ("value", pa.large_string())])))
    images = pa.array(["a.png", "b.png", "a.png"]).dictionary_encode()
    records = read(write_parquet(tmp_path / "a.parquet", {"image": images, "conversations": turns}))
    assert [record["image"] for record in records] == ["a.png", "b.png", "a.png"]
    assert records[2]["conversations"] == talk("Question 2")["conversations"]


def test_rows_beyond_a_batch_keep_their_numbers(tmp_path: Path) -> None:
    cells = [{"bytes": b"%d" % n, "path": None} for n in range(200)]
    path = write_parquet(
        tmp_path / "a.parquet",
        {"image": pa.array(cells, MEDIUM), "conversations": conversations(200)},
        row_group_size=70,
    )
    records = read(path)
    assert [record["image"].row for record in records] == list(range(200))
    assert [content_of(records[n]["image"]) for n in (199, 70, 69, 0)] == [b"199", b"70", b"69", b"0"]


def test_text_that_is_not_utf_8_is_one_bad_record(tmp_path: Path) -> None:
    names = pa.array([b"a.png", b"\xff\xfe", b"c.png"], pa.binary()).view(pa.string())
    path = write_parquet(tmp_path / "a.parquet", {"image": names, "conversations": conversations(3)})
    first, bad, last = read(path)
    assert (first["image"], last["image"]) == ("a.png", "c.png")
    assert_bad_json(bad, f"{path} row 1", "utf-8")


def test_a_medium_whose_path_is_not_utf_8_is_one_bad_record(tmp_path: Path) -> None:
    names = pa.array([b"a.png", b"\xff\xfe", b"c.png"], pa.binary()).view(pa.string())
    media = pa.StructArray.from_arrays([pa.array([b"1", b"2", b"3"]), names], fields=list(MEDIUM))
    first, bad, last = read(write_parquet(tmp_path / "a.parquet", {"image": media}))
    assert [content_of(record["image"]) for record in (first, last)] == [b"1", b"3"]
    assert_bad_json(bad, "row 1", "utf-8")


def test_values_that_json_does_not_know_come_as_they_are(tmp_path: Path) -> None:
    [record] = read(write_parquet(tmp_path / "a.parquet", {"image": pa.array([datetime.date(2026, 1, 31)])}))
    assert record["image"] == datetime.date(2026, 1, 31)


@pytest.mark.parametrize("keep", [0, 4, 0.5, -1])
def test_a_truncated_parquet_file_is_fatal(tmp_path: Path, keep: float) -> None:
    path = write_parquet(tmp_path / "a.parquet", {"conversations": conversations(3)})
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if 0 < keep < 1 else int(keep)])
    assert "is not a whole Parquet file" in refusal(path)


def test_a_parquet_file_with_a_broken_page_is_fatal_when_it_is_reached(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", {"conversations": conversations(300)}, row_group_size=100)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 200] = b"\xff" * 200
    path.write_bytes(content)
    with pytest.raises(AnnotationError, match=rf"{path}: can't be read after row \d+"):
        list(open_annotations(path))


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([conversations(1), conversations(1)], names=["conversations", "conversations"])
    pq.write_table(table, tmp_path / "a.parquet")
    assert "two columns of one name" in refusal(tmp_path / "a.parquet")


def varint(number: int) -> bytes:
    """A 64-bit integer as Thrift's compact protocol writes it, behind the mark of such a field."""
    digits, number = [], 2 * number
    while number > 127:
        digits.append(number & 127 | 128)
        number >>= 7
    return b"\x16" + bytes([*digits, number])


@pytest.mark.parametrize("rows", [4320, 4322, 5000])
@pytest.mark.parametrize("is_group_lying", [False, True])
def test_a_footer_that_says_another_number_of_rows_is_refused(tmp_path: Path, rows: int, is_group_lying: bool) -> None:
    path = write_parquet(tmp_path / "a.parquet", {"image": pa.array([f"{row}.png" for row in range(4321)])})
    content = path.read_bytes()
    in_file, in_column, in_group = (where.start() for where in re.finditer(re.escape(varint(4321)), content))
    assert in_file < in_column < in_group
    places = (in_file, in_column) if is_group_lying else (in_file,)
    for place in places:
        content = content[:place] + varint(rows) + content[place + 3 :]
    path.write_bytes(content)
    assert len(open_annotations(path)) == rows
    with pytest.raises(AnnotationError, match=rf"a\.parquet: its footer says {rows:,} rows, its columns hold 4,3"):
        list(open_annotations(path))


@pytest.mark.parametrize("column", ["image", "odd_name"])
def test_a_footer_with_a_name_that_is_no_text_is_refused(tmp_path: Path, column: str) -> None:
    path = write_parquet(tmp_path / "a.parquet", {name: pa.array(["a.png"]) for name in ("image", "odd_name")})
    path.write_bytes(path.read_bytes().replace(column.encode(), b"\xff" * len(column)))
    with pytest.raises(AnnotationError, match=r"a\.parquet is not a whole Parquet file"):
        open_annotations(path)


def test_a_footer_that_says_more_rows_than_fit_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_parquet(tmp_path / "a.parquet", {"image": pa.array(["a.png"])})
    open_annotations(path)
    monkeypatch.setattr(preprocess.read.formats.parquet_records, "_FEW_ROWS", -8 * path.stat().st_size)
    with pytest.raises(AnnotationError, match="its footer says 1 rows, too many for its size"):
        open_annotations(path)


def test_a_path_in_a_cell_is_kept_no_longer_than_a_path_can_be(tmp_path: Path) -> None:
    """A dictionary holds it once; the records would hold it once each."""
    cell = pa.array(
        [{"bytes": None, "path": "x" * 1_000_000}] * 300, pa.struct({"bytes": pa.binary(), "path": pa.string()})
    )
    path = write_parquet(tmp_path / "a.parquet", {"image": cell})
    assert path.stat().st_size < 2_000_000
    assert {len(record["image"].written) for record in read(path)} == {4096}
