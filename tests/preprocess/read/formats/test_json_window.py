"""A JSON array is parsed record by record through a window: same values, same errors, memory for one record."""

from __future__ import annotations

import io
import json
import math
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import preprocess.read.formats.json_records as module
from preprocess.errors import AnnotationError
from preprocess.read.annotations import open_annotations
from preprocess.read.formats.json_records import _Window

WIDE_TEXT = "数据 é \U0001f600"
values = st.recursive(
    st.none()
    | st.booleans()
    | st.floats()
    | st.text(alphabet=st.characters(codec="utf-8") | st.sampled_from(WIDE_TEXT)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)
windows = st.integers(1, 60)
layouts = st.sampled_from([None, 1, "\t \r"])


def parse(content: bytes, window_bytes: int, monkeypatch: pytest.MonkeyPatch) -> tuple[list[Any], str]:
    """The values before an error, and the error."""
    with monkeypatch.context() as patch:
        patch.setattr(module, "_WINDOW_BYTES", window_bytes)
        window = _Window(io.BytesIO(content))
        items: list[Any] = []
        try:
            items.extend(window.array_items())
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            return items, f"{getattr(error, 'msg', 'not UTF-8')} at {window.offset_of(error)}"
    return items, ""


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(values, max_size=6), layouts, st.booleans(), windows)
def test_any_window_gives_the_values_of_the_whole_text(
    monkeypatch: pytest.MonkeyPatch, records: list[Any], indent: Any, ascii_only: bool, window_bytes: int
) -> None:
    text = json.dumps(records, indent=indent, ensure_ascii=ascii_only)
    items, error = parse(text.encode(), window_bytes, monkeypatch)
    assert error == ""
    assert repr(items) == repr(json.loads(text))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.lists(values, min_size=1, max_size=6),
    layouts,
    st.floats(0, 1, exclude_max=True),
    st.binary(max_size=2),
    windows,
)
def test_any_window_finds_the_error_where_the_whole_text_has_it(
    monkeypatch: pytest.MonkeyPatch, records: list[Any], indent: Any, where: float, inserted: bytes, window_bytes: int
) -> None:
    content = bytearray(json.dumps(records, indent=indent, ensure_ascii=False).encode())
    position = int(where * len(content))
    content[position : position + 1] = inserted
    through_window = parse(bytes(content), window_bytes, monkeypatch)
    at_once = parse(bytes(content), 1 << 20, monkeypatch)
    if "UTF-8" in at_once[1]:  # found when it is read: what stands before it has not been parsed then
        assert through_window[1]
        return
    assert through_window[1] == at_once[1]
    assert repr(through_window[0]) == repr(at_once[0])


@pytest.mark.parametrize("number", ["-12.5e+10", "9" * 50, "NaN", "-Infinity", "1e999", "0.25"])
def test_a_number_is_not_cut_at_the_end_of_a_window(monkeypatch: pytest.MonkeyPatch, number: str) -> None:
    expected = json.loads(number)
    for window_bytes in range(1, 3 * len(number)):
        content = f"[{number}, {number} ,[{number}]]".encode()
        items, error = parse(content, window_bytes, monkeypatch)
        assert error == ""
        assert repr(items) == repr([expected, expected, [expected]])
    assert math.isnan(expected) or float(expected) == float(number)


BAD_STARTS = {
    "a missing comma before a key": b'[{"a": "b" "c": 1}, ',
    "a missing comma between records": b'[{"a": 1} {"a": 1}, ',
    "a missing value": b'[{"a": }, ',
    "a line feed in a string": b'["a\n", ',
    "an unknown word": b'[{"a": none_of_the_known_words}, ',
    "an unknown escape": b'["\\q", ',
    "a bad escape of a character": b'["\\u12x4 and more", ',
    "no array": b'{"a": 1, ',
}


@pytest.mark.parametrize("start", BAD_STARTS.values(), ids=BAD_STARTS)
def test_an_early_error_is_found_without_reading_the_rest(start: bytes) -> None:
    file = io.BytesIO(start + b'{"a": "and so on"}, ' * 500_000)
    window = _Window(file)
    with pytest.raises(json.JSONDecodeError):
        list(window.array_items())
    assert file.tell() <= 2 * module._WINDOW_BYTES


def test_memory_is_for_a_record_and_not_for_the_file(tmp_path: Path) -> None:
    record = {"id": 1, "conversations": [{"from": "human", "value": WIDE_TEXT * 20}]}
    path = tmp_path / "a.json"
    path.write_text("[" + ",\n".join([json.dumps(record, ensure_ascii=False)] * 40_000) + "]", encoding="utf-8")
    assert path.stat().st_size > 10e6
    tracemalloc.start()
    file = open_annotations(path)
    assert sum(1 for _ in file) == len(file) == 40_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 14 * module._WINDOW_BYTES  # characters may take four bytes in memory, and are copied as they move


def test_a_record_of_many_windows_is_parsed_a_few_times_only(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[int] = []

    class CountingDecoder(json.JSONDecoder):
        def raw_decode(self, s: str, idx: int = 0) -> Any:
            parsed.append(len(s))
            return super().raw_decode(s, idx)

    monkeypatch.setattr(module, "_DECODER", CountingDecoder())
    record = [{"a": number} for number in range(20_000)]
    items, error = parse(json.dumps([record, record]).encode(), 1000, monkeypatch)
    assert error == ""
    assert items == [record, record]
    assert len(parsed) < 30


def test_the_message_tells_the_byte_behind_many_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WINDOW_BYTES", 100)
    start = "\ufeff[" + f'{{"a": "{WIDE_TEXT}"}},\r\n' * 50
    path = tmp_path / "a.json"
    path.write_bytes((start + '{"a": 1,}]').encode())
    with pytest.raises(AnnotationError, match=f"at byte {len(start.encode()) + 8}; mend it, or convert it to JSON"):
        open_annotations(path)
    path.write_bytes(start.encode() + b'"\xff"]')
    with pytest.raises(AnnotationError, match=f"not UTF-8 at byte {len(start.encode()) + 1}; mend it"):
        open_annotations(path)


def test_integers_stay_integers_and_those_of_thousands_of_digits_parse(monkeypatch: pytest.MonkeyPatch) -> None:
    items, error = parse(f"[14, {'9' * 5000}]".encode(), 1 << 20, monkeypatch)
    assert (repr(items), error) == ("[14, inf]", "")
