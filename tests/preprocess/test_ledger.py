"""The ledger keeps what was rejected in lines of plain ASCII, whatever stands in the annotations."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocess.errors import Reason, SampleError
from preprocess.ledger import (
    LONGEST_DETAIL,
    LONGEST_TEXT,
    LOST_NAME,
    Reject,
    count_by_dataset,
    read_ledger,
    with_sources,
    write_ledger,
    write_plan_ledger,
)
from preprocess.sample import MediaSource, Sample, Turn
from shards.files.names import LEDGER_NAME

any_text = st.text(alphabet=st.characters(), max_size=20)  # half surrogate pairs and line separators included
rejects = st.builds(
    Reject,
    dataset=any_text,
    index=st.integers(0, 2**62),
    member=st.none() | st.integers(0, 1000),
    reason=st.sampled_from([reason.value for reason in Reason]),
    detail=any_text,
    source=st.none()
    | st.builds(MediaSource, path=any_text, row=st.integers(-1, 5), column=any_text, item=st.integers(0, 5)),
    text=st.none() | any_text,
)


@given(st.lists(rejects, max_size=5))
def test_rejects_come_back_as_written(tmp_path_factory, entries: list[Reject]) -> None:  # type: ignore[no-untyped-def]
    plan = tmp_path_factory.mktemp("ledger")
    path = plan / "published.jsonl"
    write_plan_ledger(plan / LEDGER_NAME, entries[::2])
    write_plan_ledger(plan / LOST_NAME, entries[1::2])
    assert [*read_ledger(plan / LEDGER_NAME), *read_ledger(plan / LOST_NAME)] == entries[::2] + entries[1::2]
    write_ledger(path, entries)
    published = list(read_ledger(path))
    assert published == [replace(entry, source=None) for entry in entries]
    if len(set(published)) == len(published):
        assert with_sources(published, plan) == entries
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


FIRST, SECOND = MediaSource(path="/a.png"), MediaSource(path="/d.parquet", row=4, column="video", item=0)
SAMPLE = Sample(dataset="d", index=7, member=None, turns=(), images=(FIRST,), videos=(SECOND,))


@pytest.mark.parametrize("reason", [Reason.CRASH, Reason.TIMEOUT])
def test_where_the_process_is_gone_all_media_of_the_sample_are_named(reason: Reason) -> None:
    reject = Reject.of_sample(SAMPLE, SampleError(reason, "it died"))
    assert reject.detail == "/a.png, /d.parquet (row 4, video[0]): it died"
    assert reject.source == FIRST
    alone = Reject.of_sample(replace(SAMPLE, images=(), videos=()), SampleError(reason, "it died"))
    assert (alone.detail, alone.source) == ("text alone: it died", None)


def test_a_long_text_is_named_where_the_process_is_gone_and_no_medium_blamed() -> None:
    turns = (Turn(role="user", text="<image>"), Turn(role="assistant", text="x" * 999_993))
    reject = Reject.of_sample(replace(SAMPLE, turns=turns), SampleError(Reason.TIMEOUT, "too slow"))
    assert reject.detail == "/a.png, /d.parquet (row 4, video[0]), text of 1,000,000 characters: too slow"
    assert reject.source is None


def test_details_are_cut_whatever_annotations_hold() -> None:
    error = SampleError(Reason.UNKNOWN_KEYS, f"key {'x' * 1_000_000!r} means nothing; rename it")
    for reject in (Reject.of_sample(SAMPLE, error), Reject.of("d", 0, None, error)):
        assert len(reject.detail) == LONGEST_DETAIL
        assert reject.detail.startswith("key 'xxx")
        assert reject.detail.endswith("; rename it")


def test_the_medium_at_fault_stands_in_the_line_of_a_plan() -> None:
    error = SampleError(Reason.UNDECODABLE, "it is broken", "/d.parquet (row 4, video[0])")
    record = Reject.of_sample(SAMPLE, error).to_plan_json()
    assert record["source"] == {"path": "/d.parquet", "row": 4, "column": "video"}
    assert "source" not in Reject.of_sample(SAMPLE, SampleError(Reason.TOO_LONG, "9 tokens")).to_plan_json()


def test_an_error_keeps_its_medium_on_its_way_out_of_a_worker() -> None:
    error = pickle.loads(pickle.dumps(SampleError(Reason.UNDECODABLE, "it is broken", "/a.png")))
    assert (error.reason, error.detail, error.medium) == (Reason.UNDECODABLE, "it is broken", "/a.png")


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


@pytest.mark.parametrize(
    ("record", "text"),
    [
        ({"a": [1, None, float("nan"), "é"]}, '{"a": [1, null, NaN, "é"]}'),
        (
            {"image": MediaSource(path="/t.parquet", row=3, column="image")},
            '{"image": "/t.parquet (row 3, image[0])"}',
        ),
        ("text", '"text"'),
        (SampleError(Reason.BAD_JSON, "line 3"), None),
    ],
)
def test_a_reject_says_how_its_record_begins(record: object, text: str | None) -> None:
    reject = Reject.of_record("d", 0, None, record, SampleError(Reason.NO_TURNS, "none"))
    assert reject.text == text
    assert Reject.from_json(reject.to_plan_json()) == reject


def test_of_a_long_record_no_more_than_its_beginning_is_kept_or_written_out() -> None:
    class Watched(dict[str, str]):
        taken = 0

        def items(self):  # type: ignore[no-untyped-def]
            for number in range(10_000):
                Watched.taken = number
                yield f"key {number}", "x"

    reject = Reject.of_record("d", 0, None, Watched(a="b"), SampleError(Reason.NO_TURNS, "none"))
    assert reject.text is not None and len(reject.text) == LONGEST_TEXT
    assert Watched.taken < 100


def test_of_a_sample_the_turns_are_told() -> None:
    turns = (Turn(role="user", text="Why?"), Turn(role="assistant", text="Because" * 1000))
    sample = Sample(dataset="d", index=0, member=None, turns=turns, images=(), videos=())
    reject = Reject.of_sample(sample, SampleError(Reason.TOO_LONG, "long"))
    assert reject.text is not None and len(reject.text) == LONGEST_TEXT
    assert reject.text.startswith("user: Why?\nassistant: BecauseBecause")
