"""The reader is chosen by the file; files that can't be read at all are named; several files are one stream."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import pyarrow as pa
import pytest

from preprocess.errors import FatalError
from preprocess.read.annotations import make_index, open_all, open_annotations
from tests.preprocess.read.formats.reading import read, refusal, write, write_parquet


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".parquet"])
def test_a_missing_file_or_a_folder_is_fatal(tmp_path: Path, suffix: str) -> None:
    assert "check annotation_path in the registry" in refusal(tmp_path / f"missing{suffix}")
    (tmp_path / f"folder{suffix}").mkdir()
    assert "check annotation_path in the registry" in refusal(tmp_path / f"folder{suffix}")


def test_the_format_is_detected_or_said(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", '["a"]')
    assert read(path) == ["a"]
    assert list(open_annotations(path, format="jsonl")) == [["a"]]
    assert list(open_annotations(path, format="csv")) == []


def test_an_index_of_another_format_is_none(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", '["a"]')
    assert list(open_annotations(path, make_index(path))) == ["a"]
    assert list(open_annotations(path, make_index(path), format="jsonl")) == [["a"]]
    assert list(open_annotations(path, make_index(path, "jsonl"))) == [["a"]]


def test_suffixes_may_be_written_in_capitals(tmp_path: Path) -> None:
    assert read(write(tmp_path, "a.JSON", '[{"a": null}]')) == [{"a": None}]
    assert read(write(tmp_path, "a.Jsonl", '{"a": null}')) == [{"a": None}]
    assert read(write_parquet(tmp_path / "a.PARQUET", {"a": pa.array([1])})) == [{"a": None}]


# --- several files --------------------------------------------------------------------------------------------------


def numbered(folder: Path, lengths: Sequence[int]) -> list[Path]:
    """Files of three formats with so many records each; the n-th record of all is {"messages": "n"}."""
    paths, number = [], 0
    for position, length in enumerate(lengths):
        records = [{"messages": str(number + more)} for more in range(length)]
        number += length
        name = f"{position}{('.json', '.jsonl', '.parquet')[position % 3]}"
        if name.endswith(".parquet"):
            texts = pa.array([record["messages"] for record in records], pa.string())
            paths.append(write_parquet(folder / name, {"messages": texts}, row_group_size=50))
        else:
            text = json.dumps(records) if name.endswith(".json") else "\n".join(map(json.dumps, records))
            paths.append(write(folder, name, text))
    return paths


@pytest.mark.parametrize("lengths", [(300, 0, 170, 0, 0, 1), (0, 0), (0, 5, 0), (140, 130, 120, 140, 130, 120)])
@pytest.mark.parametrize("is_indexed", [False, True])
def test_several_files_are_one_stream_from_any_checkpoint(
    tmp_path: Path, lengths: Sequence[int], is_indexed: bool
) -> None:
    paths = numbered(tmp_path, lengths)
    indexes = {path: make_index(path) for path in paths} if is_indexed else {}
    file = open_all(paths, indexes)
    total = sum(lengths)
    assert len(file) == total
    assert [record["messages"] for record in file] == list(map(str, range(total)))
    starts = {file.checkpoint(record) for record in range(total + 1)}
    for start in starts:
        assert [record["messages"] for record in file.read_from(start)] == list(map(str, range(start, total)))
    if total == 780:
        assert set(accumulate(lengths[:-1], initial=0)) <= starts
        assert (128 in starts) is is_indexed


def test_a_file_of_several_tells_where_its_records_stand(tmp_path: Path) -> None:
    paths = numbered(tmp_path, (3, 0, 2))
    file = open_all(paths)
    assert file.paths(0, 2) == (paths[0],)
    assert file.paths(4, 4) == (paths[2],)
    assert set(file.paths(2, 3)) == set(paths)


def test_one_of_several_files_that_grew_or_shrank_is_named(tmp_path: Path) -> None:
    paths = numbered(tmp_path, (2, 3, 0))
    for content in ('{"messages": "2"}\n', '{"messages": "2"}\n' * 4):
        file = open_all(paths)
        paths[1].write_text(content)
        with pytest.raises(FatalError, match=r"1\.jsonl changed while it was read"):
            list(file)
        paths = numbered(tmp_path, (2, 3, 0))
