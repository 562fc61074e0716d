"""The three file formats give the same records; what does not parse is fatal or one bad record, and says where."""

from __future__ import annotations

import datetime
import json
import math
import pickle
import re
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import preprocess.read.parquet_records
from preprocess.errors import AnnotationError, FatalError, Reason, SampleError
from preprocess.media.parquet_cells import EmbeddedMedium
from preprocess.media.store import open_medium, reveal
from preprocess.read.annotations import open_annotations
from preprocess.sample import MediaSource
from tests.preprocess.workshop import MEDIUM, TURNS, talk

HUGE = 2**70
DEEP = "[" * 100_000 + "]" * 100_000


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(path: Path) -> list[Any]:
    file = open_annotations(path)
    records = list(file)
    assert len(file) == len(records)
    assert comparable(list(file)) == comparable(records), "a second reading differs"
    return records


def comparable(records: list[Any]) -> list[str]:
    return [repr(record) for record in records]


def refusal(path: Path) -> str:
    with pytest.raises(AnnotationError) as raised:
        open_annotations(path)
    message = str(raised.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def assert_bad_json(record: Any, *parts: str) -> None:
    assert isinstance(record, SampleError)
    assert record.reason is Reason.BAD_JSON
    for part in parts:
        assert part in record.detail


# --- JSON array ----------------------------------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(alphabet=st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.lists(json_values, max_size=5), st.sampled_from([None, 1, "\t"]), st.booleans(), st.sampled_from(["", " \r\n"])
)
def test_a_json_array_gives_its_values(
    tmp_path_factory: pytest.TempPathFactory, records: list[Any], indent: int | str | None, ascii_only: bool, end: str
) -> None:
    text = json.dumps(records, indent=indent, ensure_ascii=ascii_only)
    folder = tmp_path_factory.mktemp("json")
    assert read(write(folder, "a.json", end + text + end)) == records


@pytest.mark.parametrize("text", ["[]", " [ ] \n", "\ufeff[]"])
def test_an_empty_json_array_has_no_records(tmp_path: Path, text: str) -> None:
    assert read(write(tmp_path, "a.json", text)) == []


def test_a_byte_order_mark_and_windows_line_endings_are_skipped(tmp_path: Path) -> None:
    text = json.dumps([talk(), talk("数据")], indent=1, ensure_ascii=False).replace("\n", "\r\n")
    assert read(write(tmp_path, "a.json", "\ufeff" + text)) == [talk(), talk("数据")]


@pytest.mark.parametrize(
    ("text", "message", "offset"),
    [
        ('[{"a": 1}, {"a": }]', "Expecting value", 17),
        ('[{"é": 1}, {"a": }]', "Expecting value", 18),  # a byte more than characters
        ('\ufeff[{"a": 1}, {"a": }]', "Expecting value", 20),
        ('[{"a": 1} {"a": 1}]', "Expecting ',' delimiter", 10),
        ('[{"a": 1}, {"a": 1}', "Expecting ',' delimiter", 19),
        ('[{"a": 1},]', "Expecting value", 10),
        ("[1] [2]", "Extra data", 4),
        ('["a\n"]', "Invalid control character", 3),
        ("", "An array of records should start", 0),
        ("  null", "An array of records should start", 2),
    ],
)
def test_a_syntax_error_in_a_json_array_is_fatal(tmp_path: Path, text: str, message: str, offset: int) -> None:
    said = refusal(write(tmp_path, "a.json", text))
    assert message in said
    assert f"at byte {offset};" in said
    assert "convert it to JSON Lines, where only the bad record is lost" in said


@pytest.mark.parametrize("text", ['{"a": 1}', '\ufeff{"a": 1}\n{"a": 2}\n', '\n {"a": '])
def test_json_lines_that_are_named_as_a_json_array_are_recognised(tmp_path: Path, text: str) -> None:
    said = refusal(write(tmp_path, "a.json", text))
    assert f"An array of records should start at byte {text.encode().index(b'{')};" in said
    assert "it is JSON Lines: rename it to .jsonl" in said


def test_a_json_array_that_is_not_utf_8_is_fatal(tmp_path: Path) -> None:
    assert "not UTF-8 at byte 3; mend it" in refusal(write(tmp_path, "a.json", b'["a\xff"]'))
    assert "not UTF-8 at byte 0" in refusal(write(tmp_path, "a.json", json.dumps([talk()]).encode("utf-16")))


@pytest.mark.parametrize("ending", ["", "]", "]]]", '"', '"]]'])
def test_brackets_that_nothing_closes_are_fatal_at_any_depth(tmp_path: Path, ending: str) -> None:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(1_000)  # Python's own; what else was imported may have raised it
    try:
        said = refusal(write(tmp_path, "a.json", "[" * 3_000 + ending))
    finally:
        sys.setrecursionlimit(limit)
    assert "Expecting the end of what opens at byte 1; mend it" in said


def test_records_of_a_json_array_are_parsed_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import preprocess.read.json_records as module

    parsed: list[int] = []

    class CountingDecoder(json.JSONDecoder):
        def raw_decode(self, text: str, idx: int = 0) -> Any:
            parsed.append(idx)
            return super().raw_decode(text, idx)

    monkeypatch.setattr(module, "_DECODER", CountingDecoder())
    file = open_annotations(write(tmp_path, "a.json", json.dumps([{"a": n} for n in range(100)])))
    parsed.clear()
    records = iter(file)
    assert [next(records), next(records)] == [{"a": 0}, {"a": 1}]
    assert len(parsed) == 2


# --- JSON Lines ----------------------------------------------------------------------------------------------------


def test_json_lines_with_all_line_endings_and_blank_lines(tmp_path: Path) -> None:
    text = '\ufeff{"a": "1"}\r\n\n   \n{"a": "2"}\n\r\n["x"]\n"text"\nnull'
    assert read(write(tmp_path, "a.jsonl", text)) == [{"a": "1"}, {"a": "2"}, ["x"], "text", None]
    assert read(write(tmp_path, "b.ndjson", text)) == read(tmp_path / "a.jsonl")


@pytest.mark.parametrize("content", ["", "\n", " \r\n\n"])
def test_empty_json_lines_have_no_records(tmp_path: Path, content: str) -> None:
    assert read(write(tmp_path, "a.jsonl", content)) == []


@pytest.mark.parametrize(
    ("line", "where"),
    [
        (b'{"a": }', "line 3: Expecting value at character 6"),
        (b'{"a": 1', "line 3: Expecting ',' delimiter"),
        (b'{"a": 1} {"b": 2}', "line 3: Extra data"),
        (b'{"a": "\xff"}', "line 3: not UTF-8 at byte 7"),
        (DEEP.encode(), "line 3: nested more than 100 levels deep"),
        (b'{"a": ' * 101 + b"0" + b"}" * 101, "line 3: nested more than 100 levels deep"),
        (b"\xef\xbb\xbf", "line 3: Expecting value"),
        (b"\x00", "line 3: Expecting value"),
    ],
)
def test_a_bad_line_is_one_bad_record(tmp_path: Path, line: bytes, where: str) -> None:
    path = write(tmp_path, "a.jsonl", b'{"n": "0"}\n\n' + line + b'\n{"n": "2"}\n')
    first, bad, last = read(path)
    assert (first, last) == ({"n": "0"}, {"n": "2"})
    assert_bad_json(bad, f"{path} {where}")


# --- both JSON formats ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_numbers_of_any_kind_parse(tmp_path: Path, suffix: str) -> None:
    record = f'{{"big": {HUGE}, "bigger": -{"9" * 5000}, "nan": NaN, "inf": [Infinity, -Infinity], "e": 1e999}}'
    [parsed] = read(write(tmp_path, f"a{suffix}", f"[{record}]" if suffix == ".json" else record))
    assert parsed["big"] == float(HUGE)
    assert parsed["bigger"] == -math.inf
    assert math.isnan(parsed["nan"])
    assert parsed["inf"] == [math.inf, -math.inf]
    assert parsed["e"] == math.inf


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a": ', "}"), ('[{"a": ', "}]")])
def test_a_record_that_is_nested_too_deeply_is_one_bad_record(
    tmp_path: Path, suffix: str, opening: str, closing: str
) -> None:
    def nested(levels: int) -> str:
        times = levels // (opening.count("[") + opening.count("{"))
        return f'{{"text": "{"[" * 500}", "ignored": {opening * times}0{closing * times}}}'

    texts = [nested(98), nested(100), nested(900), '{"n": "3"}']
    joined = f"[{', '.join(texts)}]" if suffix == ".json" else "\n".join(texts)
    path = write(tmp_path, f"a{suffix}", joined)
    sane, deep, deeper, last = read(path)
    assert isinstance(sane, dict) and last == {"n": "3"}
    assert pickle.loads(pickle.dumps(sane)) == sane
    where = "record {}" if suffix == ".json" else "line {}"
    assert_bad_json(deep, f"{path} {where.format(1 + (suffix == '.jsonl'))}: nested more than 100 levels deep")
    assert_bad_json(deeper, f"{path} {where.format(2 + (suffix == '.jsonl'))}: nested more than 100 levels deep")


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
@pytest.mark.parametrize("window_bytes", [7, 1 << 20])
def test_no_depth_costs_more_than_its_own_record(
    tmp_path: Path, suffix: str, window_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    import preprocess.read.json_records as module

    monkeypatch.setattr(module, "_WINDOW_BYTES", window_bytes)
    objects = '{"a\\"]": [' * 1_000 + '"]}\\\\"' + "]}" * 1_000  # brackets in strings are text
    texts = ['{"n": "1"}', objects, DEEP, '{"n": "2"}']
    path = write(tmp_path, f"a{suffix}", f"[{', '.join(texts)}]" if suffix == ".json" else "\n".join(texts))
    first, deep, deeper, last = read(path)
    assert (first, last) == ({"n": "1"}, {"n": "2"})
    for number, error in ((1, deep), (2, deeper)):
        where = f"record {number}" if suffix == ".json" else f"line {number + 1}"
        assert_bad_json(error, f"{path} {where}: nested more than 100 levels deep")


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_many_brackets_beside_each_other_are_fine(tmp_path: Path, suffix: str) -> None:
    record = {"boxes": [[{"a": [1.0]}, []]] * 300, "text": "[{" * 300}
    text = json.dumps(record)
    assert read(write(tmp_path, f"a{suffix}", f"[{text}]" if suffix == ".json" else text)) == [record]


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_half_a_surrogate_pair_parses(tmp_path: Path, suffix: str) -> None:
    text = '{"\\ud800": "\\udce9"}'
    assert read(write(tmp_path, f"a{suffix}", f"[{text}]" if suffix == ".json" else text)) == [{"\ud800": "\udce9"}]


# --- Parquet -------------------------------------------------------------------------------------------------------


def write_parquet(path: Path, columns: dict[str, pa.Array], **options: Any) -> Path:
    pq.write_table(pa.table(columns), path, **options)
    return path


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


# --- files that can't be opened ------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".parquet"])
def test_a_missing_file_or_a_folder_is_fatal(tmp_path: Path, suffix: str) -> None:
    assert "check annotation_path in the registry" in refusal(tmp_path / f"missing{suffix}")
    (tmp_path / f"folder{suffix}").mkdir()
    assert "check annotation_path in the registry" in refusal(tmp_path / f"folder{suffix}")


@pytest.mark.parametrize("name", ["a.csv", "a", "a.json.gz", "a.JSON "])
def test_other_suffixes_are_refused_with_those_that_are_read(tmp_path: Path, name: str) -> None:
    assert "annotation files end in .json, .jsonl, .ndjson, .parquet" in refusal(write(tmp_path, name, "[]"))


@pytest.mark.parametrize("name", ["a.json.gz", "a.jsonl.GZ", "a.jsonl.zst", "a.zip"])
def test_packed_files_are_to_be_unpacked(tmp_path: Path, name: str) -> None:
    assert refusal(write(tmp_path, name, "[]")).endswith("; unpack it first")


def test_suffixes_may_be_written_in_capitals(tmp_path: Path) -> None:
    assert read(write(tmp_path, "a.JSON", '[{"a": null}]')) == [{"a": None}]
    assert read(write(tmp_path, "a.Jsonl", '{"a": null}')) == [{"a": None}]
    assert read(write_parquet(tmp_path / "a.PARQUET", {"a": pa.array([1])})) == [{"a": None}]


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


def test_a_footer_that_says_more_rows_than_fit_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_parquet(tmp_path / "a.parquet", {"image": pa.array(["a.png"])})
    open_annotations(path)
    monkeypatch.setattr(preprocess.read.parquet_records, "_FEW_ROWS", -8 * path.stat().st_size)
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
