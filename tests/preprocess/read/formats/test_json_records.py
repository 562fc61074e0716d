"""JSON arrays and JSON Lines: what does not parse is fatal or one bad record, and says where."""

from __future__ import annotations

import json
import math
import pickle
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocess.errors import AnnotationError
from preprocess.read.annotations import open_annotations
from tests.preprocess.read.formats.reading import assert_bad_json, read, refusal, write
from tests.preprocess.workshop import talk

HUGE = 2**70
DEEP = "[" * 100_000 + "]" * 100_000

# --- JSON array ------------------------------------------------------------------------------------------------------


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
def test_json_lines_that_are_said_to_be_a_json_array_are_recognised(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, "a.json", text)
    with pytest.raises(AnnotationError) as raised:
        open_annotations(path, format="json")
    assert f"An array of records should start at byte {text.encode().index(b'{')};" in str(raised.value)
    assert "it is JSON Lines: say annotation_format: jsonl, or auto" in str(raised.value)


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
    import preprocess.read.formats.json_records as module

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


# --- JSON Lines ------------------------------------------------------------------------------------------------------


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


# --- both ------------------------------------------------------------------------------------------------------------


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
    import preprocess.read.formats.json_records as module

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
