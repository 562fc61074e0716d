"""What stands in an annotation file says its format; its name only where that says nothing."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

import preprocess.read.formats.detect
from preprocess.errors import AnnotationError
from preprocess.read.formats.detect import detect_format

RECORDS = [{"a": "1"}, {"b": ["]"]}]
ARRAY = json.dumps(RECORDS)
LINES = "\n".join(map(json.dumps, RECORDS))
PACKS = f"{ARRAY}\n{ARRAY}\n"


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.json", ARRAY, "json"),
        ("a.json", LINES, "jsonl"),
        ("a.json", PACKS, "jsonl"),
        ("a.json", json.dumps(RECORDS[0]), "jsonl"),
        ("a.json", "", "json"),
        ("a.json", "nothing", "json"),
        ("a.json", '["a\n"]', "json"),  # broken, as an array
        ("a.json", '[{"a"]\n[}', "jsonl"),
        ("a.jsonl", ARRAY, "json"),
        ("a.jsonl", f"{ARRAY}\n\n", "json"),
        ("a.jsonl", json.dumps(RECORDS, indent=1), "json"),
        ("a.jsonl", "[\n{},\n{}\n]", "json"),
        ("a.jsonl", "[{},\n{}]", "json"),
        ("a.jsonl", "[{}\n,{}]", "json"),
        ("a.jsonl", "[[1]\n,[2]]", "json"),
        ("a.jsonl", "[[1]\n]", "json"),
        ("a.jsonl", "[]", "json"),
        ("a.jsonl", LINES, "jsonl"),
        ("a.jsonl", PACKS, "jsonl"),
        ("a.jsonl", '[{"broken\n{}', "jsonl"),
        ("a.jsonl", '["x"]\n"text"', "jsonl"),
        ("a.jsonl", "", "jsonl"),
        ("a.jsonl", '{"a":\n1}', "jsonl"),
        ("a.ndjson", "nothing", "jsonl"),
        ("a.csv", "a,b\n1,2", "csv"),
        ("a.csv", ARRAY, "json"),
        ("a.TSV", "a\tb", "csv"),
        ("a.txt", LINES, "jsonl"),
        ("a", ARRAY, "json"),
        ("a.parquet", "nothing", "parquet"),
        ("a.json", "PAR1....PAR1", "parquet"),
    ],
)
@pytest.mark.parametrize("before", ["", "\ufeff", "\r\n \n"])
@pytest.mark.parametrize("read_bytes", [1, 3, 1 << 20])
def test_formats(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    before: str,
    read_bytes: int,
    name: str,
    content: str,
    expected: str,
) -> None:
    monkeypatch.setattr(preprocess.read.formats.detect, "_READ_BYTES", read_bytes)
    path = tmp_path / name
    for text in (content, content.replace("\n", "\r\n")):
        path.write_bytes((("" if content.startswith("PAR1") else before) + text).encode())
        assert detect_format(path) == expected


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.json", b'{"images": [\n{}]}', r"begins with an object that its first line does not end"),
        ("a.json", json.dumps(RECORDS[0], indent=1).encode(), "neither an array of records nor"),
        ("a.txt", b"text", r"looks like none of json, jsonl, parquet, csv; its name does not end in \.json, "),
        ("a", b"", r"say annotation_format in the registry"),
        ("a.json.gz", b"[]", "is packed; unpack it first"),
        ("a.jsonl.GZ", b"", "is packed; unpack it first"),
        ("a.zip", b"", "is packed; unpack it first"),
        ("a.json", gzip.compress(b"[]", mtime=0), "is packed; unpack it first"),
        ("a.jsonl", b"PK\x03\x04....", "is packed; unpack it first"),
    ],
)
def test_what_is_none_of_them_is_refused(tmp_path: Path, name: str, content: bytes, expected: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(AnnotationError, match=expected) as raised:
        detect_format(path)
    assert str(path) in str(raised.value)
