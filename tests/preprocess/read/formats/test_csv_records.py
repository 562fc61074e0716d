"""CSV files: a header, cells of text that may hold JSON and line ends; what is wrong is one bad record, or fatal."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocess.read.annotations import make_index, open_annotations
from tests.preprocess.read.formats.reading import assert_bad_json, read, refusal, write
from tests.preprocess.workshop import Workshop, talk


def table(rows: list[list[str]], **options: Any) -> str:
    text = io.StringIO()
    csv.writer(text, **options).writerows(rows)
    return text.getvalue()


@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_rows_are_records_of_texts(tmp_path: Path, delimiter: str, line_end: str) -> None:
    rows = [["question", "answer"], ["a, b; c\td", 'two\n"lines"'], ["图", ""]]
    text = table(rows, delimiter=delimiter, lineterminator=line_end)
    expected = [{"question": "a, b; c\td", "answer": 'two\n"lines"'}, {"question": "图", "answer": None}]
    assert read(write(tmp_path, "a.csv", text)) == expected
    assert read(write(tmp_path, "b.tsv", f"\ufeff{text}{line_end * 3}")) == expected


texts = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), min_size=1, max_size=9)


@given(st.lists(st.tuples(texts, texts), max_size=300))
def test_what_is_written_is_read_from_any_checkpoint(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    text = table([["x", "y"], *map(list, rows)], lineterminator="\n")
    path = write(tmp_path_factory.mktemp("csv"), "a.csv", text)
    expected = [{"x": x, "y": y} for x, y in rows]
    file = open_annotations(path, make_index(path))
    assert len(file) == len(rows)
    for record in {file.checkpoint(number) for number in range(len(rows))}:
        assert list(file.read_from(record)) == expected[record:]
    assert read(path) == expected


def test_lines_are_named_behind_a_checkpoint_too(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "x\n" + '"1\n2"\n' * 200 + "a,b\n")
    file = open_annotations(path, make_index(path))
    start = file.checkpoint(200)
    assert start == 128
    [*_, bad] = file.read_from(start)
    assert_bad_json(bad, f"{path} line 402: 2 cells, where the header has 1")


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (b"1", "line 3: 1 cells, where the header has 2"),
        (b"1,2,3", "line 3: 3 cells, where the header has 2"),
        (b"1,\xff", "line 3: not UTF-8"),
    ],
)
def test_a_bad_row_is_one_bad_record(tmp_path: Path, row: bytes, expected: str) -> None:
    path = write(tmp_path, "a.csv", b"x,y\na,b\n" + row + b"\nc,d\n")
    first, bad, last = read(path)
    assert (first, last) == ({"x": "a", "y": "b"}, {"x": "c", "y": "d"})
    assert_bad_json(bad, expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "must begin with a line that names its columns"),
        (",\n1,2", "must begin with a line that names its columns"),
        ("x,x\n1,2", "two columns are called 'x'"),
        (b"\xff,x\n", "its first line is no header"),
        ('x,"y\n', "its first line is no header"),
        ('x\na\n"b\nc\n', "the row that begins in line 3: unexpected end of data; mend its quotes"),
        ('x\n"b"c\n', "the row that begins in line 2:"),
    ],
)
def test_what_makes_the_file_unreadable_is_fatal(tmp_path: Path, text: str | bytes, expected: str) -> None:
    assert expected in refusal(write(tmp_path, "a.csv", text))


def test_a_column_without_a_name_is_left_out(tmp_path: Path) -> None:
    assert read(write(tmp_path, "a.csv", ",x\n0,a\n1,b\n")) == [{"x": "a"}, {"x": "b"}]


def test_cells_hold_conversations_and_lists_as_json(workshop: Workshop) -> None:
    image = workshop.image()
    turns = talk("<image><image>")["conversations"]
    rows = [["id", "images", "conversations"], ["7", json.dumps([image, image]), json.dumps(turns)]]
    workshop.register("d", write(workshop.root, "d.csv", table(rows)))
    workshop.dataset([{"images": [image, image], "conversations": turns}], name="e")
    first, second = (workshop.run(f"--dataset_use={name}", out=name) for name in "de")
    assert first.code == second.code == 0, first.err
    assert first.packs[0].input_ids.tolist() == second.packs[0].input_ids.tolist()
    assert first.packs[0].image_patches.tobytes() == second.packs[0].image_patches.tobytes()
    assert "ignored keys: id (1)" in first.out
