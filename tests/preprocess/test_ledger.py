"""The ledger keeps what was rejected in lines of plain ASCII, whatever stands in the annotations."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from preprocess.errors import Reason, SampleError
from preprocess.ledger import Reject, count_by_dataset, read_ledger, write_ledger
from shards.files.names import LEDGER_NAME

any_text = st.text(alphabet=st.characters(), max_size=20)  # half surrogate pairs and line separators included
rejects = st.builds(
    Reject,
    dataset=any_text,
    index=st.integers(0, 2**62),
    member=st.none() | st.integers(0, 1000),
    reason=st.sampled_from([reason.value for reason in Reason]),
    detail=any_text,
)


@given(st.lists(rejects, max_size=5))
def test_rejects_come_back_as_written(tmp_path_factory, entries: list[Reject]) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path_factory.mktemp("ledger") / LEDGER_NAME
    write_ledger(path, entries)
    assert list(read_ledger(path)) == entries
    content = path.read_bytes()
    assert content.isascii()
    assert content.count(b"\n") == len(content.splitlines()) == len(entries)


def test_a_line_reads_as_the_record_it_is(tmp_path: Path) -> None:
    error = SampleError(Reason.MISSING_FILE, "caf\udce9\u2028.png\n: No such file")
    write_ledger(tmp_path / LEDGER_NAME, [Reject.of("数据", 3, None, error), Reject.of("d", 4, 0, error)])
    lines = (tmp_path / LEDGER_NAME).read_text().split("\n")
    assert lines == [
        '{"dataset": "\\u6570\\u636e", "index": 3, "reason": "missing_file", '
        '"detail": "caf\\udce9\\u2028.png\\n: No such file"}',
        '{"dataset": "d", "index": 4, "member": 0, "reason": "missing_file", '
        '"detail": "caf\\udce9\\u2028.png\\n: No such file"}',
        "",
    ]


def test_an_empty_ledger_is_an_empty_file(tmp_path: Path) -> None:
    write_ledger(tmp_path / LEDGER_NAME, [])
    assert (tmp_path / LEDGER_NAME).read_bytes() == b""
    assert list(read_ledger(tmp_path / LEDGER_NAME)) == []


def test_rejects_are_counted_by_dataset_and_reason() -> None:
    def reject(dataset: str, reason: Reason) -> Reject:
        return Reject.of(dataset, 0, None, SampleError(reason, ""))

    entries = [
        reject("b", Reason.TOO_LONG),
        reject("a", Reason.TOO_LONG),
        reject("b", Reason.BAD_JSON),
        reject("b", Reason.TOO_LONG),
    ]
    counts = count_by_dataset(entries)
    assert counts == {"b": {"bad_json": 1, "too_long": 2}, "a": {"too_long": 1}}
    assert list(counts["b"]) == ["bad_json", "too_long"]
    assert count_by_dataset([]) == {}
