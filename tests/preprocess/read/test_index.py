"""With an index, records are read from the middle of a file, and are those that are read from its start."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from preprocess.errors import AnnotationError, FatalError, SampleError
from preprocess.read.annotations import make_index, open_annotations
from preprocess.read.index import RECORDS_APART, AnnotationIndex, FileVersion, read_index

NUM_RECORDS = 1_000
ROW_GROUP = 100
ODD = '\U0001f4ca \u56fe \u00e9 ] , [ \\ " }'


def records() -> list[dict[str, Any]]:
    return [
        {"messages": [{"role": "user", "content": f"{number} {ODD * (number % 7)}"}]} for number in range(NUM_RECORDS)
    ]


def write_array(folder: Path) -> Path:
    path = folder / "a.json"
    path.write_text("\ufeff" + json.dumps(records(), ensure_ascii=False, indent=1), encoding="utf-8")
    return path


def write_tight_array(folder: Path) -> Path:
    path = folder / "tight.json"
    path.write_text(json.dumps(records(), separators=(",", ":")), encoding="utf-8")
    return path


def write_lines(folder: Path) -> Path:
    """With blank lines, and lines that do not parse, whose messages name them."""
    path = folder / "a.jsonl"
    lines = [json.dumps(record, ensure_ascii=number % 2 == 0) for number, record in enumerate(records())]
    lines = [line if number % 50 else "{broken" for number, line in enumerate(lines)]
    path.write_text("\ufeff" + "\n".join(line + "\n" * (number % 3 == 0) for number, line in enumerate(lines)), "utf-8")
    return path


def write_parquet(folder: Path) -> Path:
    path = folder / "a.parquet"
    pq.write_table(pa.Table.from_pylist(records()), path, row_group_size=ROW_GROUP)
    return path


WRITERS = (write_array, write_tight_array, write_lines, write_parquet)
formats = pytest.mark.parametrize("write", WRITERS)


def comparable(record: Any) -> Any:
    return str(record) if isinstance(record, SampleError) else record


@formats
def test_records_from_any_checkpoint_are_those_of_the_whole_file(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    path = write(tmp_path)
    expected = list(map(comparable, open_annotations(path)))
    file = open_annotations(path, make_index(path))
    assert len(file) == len(expected) == NUM_RECORDS
    assert list(map(comparable, file)) == expected
    starts = {file.checkpoint(number) for number in range(NUM_RECORDS)}
    assert starts == set(range(0, NUM_RECORDS, ROW_GROUP if write is write_parquet else RECORDS_APART))
    for start in starts:
        assert list(map(comparable, file.read_from(start))) == expected[start:]
    assert all(0 <= number - file.checkpoint(number) < RECORDS_APART for number in range(NUM_RECORDS))


@formats
def test_an_index_holds_the_hash_and_is_read_as_it_was_written(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    path = write(tmp_path)
    index = make_index(path)
    assert index.sha256 == sha256(path.read_bytes()).hexdigest()
    index.write(tmp_path / "index.arrow")
    found = read_index(tmp_path / "index.arrow", path, index.version)
    assert found is not None
    assert same(found, index)


def same(one: AnnotationIndex, other: AnnotationIndex) -> bool:
    (a, b), (c, d) = ((each.checkpoints.offsets, each.checkpoints.lines) for each in (one, other))
    plain = ((each.path, each.version, each.sha256, each.checkpoints.num_records) for each in (one, other))
    return next(plain) == next(plain) and a.tolist() == c.tolist() and b.tolist() == d.tolist()


def test_an_index_of_another_version_or_file_is_none(tmp_path: Path) -> None:
    path, place = write_lines(tmp_path), tmp_path / "index.arrow"
    index = make_index(path)
    index.write(place)
    size, time = index.version.num_bytes, index.version.mtime_ns
    assert read_index(place, path, FileVersion(num_bytes=size + 1, mtime_ns=time)) is None
    assert read_index(place, path, FileVersion(num_bytes=size, mtime_ns=time + 1)) is None
    assert read_index(place, tmp_path / "b.jsonl", index.version) is None
    assert read_index(tmp_path / "none.arrow", path, index.version) is None


@formats
def test_a_file_that_changed_after_it_was_indexed_is_not_read(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    path = write(tmp_path)
    file = open_annotations(path, make_index(path))
    os.utime(path, ns=(1, 1))
    with pytest.raises(FatalError, match="changed while it was read"):
        next(file.read_from(file.checkpoint(500)))


def test_a_file_that_changes_while_it_is_indexed_is_no_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_lines(tmp_path)
    versions = iter([FileVersion(num_bytes=1, mtime_ns=1), FileVersion(num_bytes=1, mtime_ns=2)])
    monkeypatch.setattr(FileVersion, "of", lambda status: next(versions))
    with pytest.raises(FatalError, match="changed while it was read"):
        make_index(path)


@pytest.mark.parametrize("text", ["[1, 2", '{"a":\n1}', "[1] 2", '["\udcff"]', ""])
def test_a_broken_array_is_refused_as_without_an_index(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(AnnotationError) as plain:
        open_annotations(path)
    with pytest.raises(AnnotationError) as indexed:
        make_index(path)
    assert str(indexed.value) == str(plain.value)


@pytest.mark.parametrize("name", ["missing.jsonl", "a.csv", "a.txt", "a.json.gz"])
def test_what_is_no_annotation_file_is_refused_as_without_an_index(tmp_path: Path, name: str) -> None:
    if name != "missing.jsonl":
        (tmp_path / name).write_bytes(b"\n")
    with pytest.raises(AnnotationError) as plain:
        open_annotations(tmp_path / name)
    with pytest.raises(AnnotationError) as indexed:
        make_index(tmp_path / name)
    assert str(indexed.value) == str(plain.value)


@formats
def test_an_empty_file_has_no_checkpoints(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    path = write(tmp_path)
    match path.suffix:
        case ".json":
            path.write_text("[]")
        case ".jsonl":
            path.write_text("\n")
        case ".parquet":
            pq.write_table(pa.Table.from_pylist(records()).slice(0, 0), path)
    index = make_index(path)
    assert (index.checkpoints.num_records, len(index.checkpoints.offsets)) == (0, 0)
    assert list(open_annotations(path, index)) == []


def test_a_few_records_are_read_by_a_small_stretch_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "big.json"
    path.write_text(json.dumps([{"text": "x" * 1000}] * 3_000))
    file = open_annotations(path, make_index(path))
    before = bytes_read()
    assert len(list(islice(file.read_from(file.checkpoint(2_000)), 100))) == 100
    assert bytes_read() - before < path.stat().st_size / 10


def bytes_read() -> int:
    """By this process, until now."""
    return int(Path("/proc/self/io").read_text().split()[1])
