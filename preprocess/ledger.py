"""The reject ledger: one JSON line a rejected sample, in the order of the annotations."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

from preprocess.errors import Reason, SampleError, damaged
from preprocess.media.store import describe
from preprocess.sample import MediaSource, Sample, sample_key
from shards.files.atomic import open_atomically
from shards.files.names import LEDGER_NAME
from shards.files.records import Record
from shards.files.text import shortened

_LONG_TEXT = 1_000_000  # characters that take seconds to tokenize: then no medium is blamed
LONGEST_DETAIL, LONGEST_TEXT = 300, 300  # characters
LOST_NAME = "lost.jsonl"  # in the plan's folder: what was rejected while decoding


@dataclass(frozen=True, kw_only=True, slots=True)
class Reject:
    dataset: str
    index: int
    member: int | None  # position in a ready-made pack
    reason: str  # a value of errors.Reason
    detail: str
    source: MediaSource | None = None  # of the medium that is at fault, where one is known to be
    file: str | None = None  # of several of a dataset, the one that holds the record; None: there is one
    record: int | None = None  # its number in that file, from 0
    text: str | None = None  # the first characters of what it says

    @property
    def place(self) -> str:
        """What finds the record in the annotations."""
        return self.key if self.file is None else f"{self.key} ({self.file} record {self.record})"

    @property
    def key(self) -> str:
        """Of the sample, as in the shards."""
        return sample_key(self.dataset, self.index, self.member)

    @classmethod
    def of(cls, dataset: str, index: int, member: int | None, error: SampleError, text: str | None = None) -> Reject:
        """`detail` and `text` are cut: what annotations hold may be of any length."""
        return cls(
            dataset=dataset,
            index=index,
            member=member,
            reason=error.reason.value,
            detail=shortened(error.detail, LONGEST_DETAIL),
            text=text[:LONGEST_TEXT] if text else None,
        )

    @classmethod
    def of_record(cls, dataset: str, index: int, member: int | None, record: Any, error: SampleError) -> Reject:
        """Of a record that is no sample; one that does not parse is itself a SampleError, and has no text."""
        return cls.of(dataset, index, member, error, None if isinstance(record, SampleError) else _opening(record))

    @classmethod
    def of_sample(cls, sample: Sample, error: SampleError) -> Reject:
        media = {describe(source): source for source in (*sample.images, *sample.videos)}
        if error.reason in (Reason.CRASH, Reason.TIMEOUT):  # the process that knew which file it was is gone
            names, num_characters = [*media], sum(len(turn.text) for turn in sample.turns)
            if num_characters >= _LONG_TEXT:
                names.append(f"text of {num_characters:,} characters")
            detail = f"{', '.join(names) or 'text alone'}: {error.detail}"
            error = SampleError(error.reason, detail, names[0] if num_characters < _LONG_TEXT and names else None)
        source = media.get(error.medium) if error.medium is not None else None
        said = "\n".join(f"{turn.role}: {turn.text[:LONGEST_TEXT]}" for turn in sample.turns)
        return replace(cls.of(sample.dataset, sample.index, sample.member, error, said), source=source)

    def to_json(self) -> dict[str, Any]:
        """As it is published: for people, whom the detail tells which medium it is."""
        record = asdict(self)
        del record["source"]
        return {key: value for key, value in record.items() if value is not None}

    def to_plan_json(self) -> dict[str, Any]:
        """As a plan keeps it."""
        return self.to_json() if self.source is None else {**self.to_json(), "source": self.source.to_json()}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Reject:
        """Raises ValueError where a field is missing, unknown or of another type."""
        fields = Record(record)
        fields.only(cls.__slots__)
        return cls(
            dataset=fields.text("dataset"),
            index=fields.integer("index"),
            member=None if record.get("member") is None else fields.integer("member"),
            reason=fields.text("reason"),
            detail=fields.text("detail"),
            source=None if record.get("source") is None else MediaSource.from_record(fields.record("source")),
            file=None if record.get("file") is None else fields.text("file"),
            record=None if record.get("record") is None else fields.integer("record"),
            text=None if record.get("text") is None else fields.text("text"),
        )


def _opening(record: Any) -> str:
    """The first characters of a record as JSON, of which no more is written than that needs."""
    pieces, length = [], 0
    for piece in json.JSONEncoder(ensure_ascii=False, default=_describe_value).iterencode(record):
        pieces.append(piece[:LONGEST_TEXT])
        length += len(piece)
        if length >= LONGEST_TEXT:
            break
    return "".join(pieces)


def _describe_value(value: Any) -> str:
    """What JSON has no form for: media in the cells of a table, among others."""
    return describe(value) if isinstance(value, MediaSource) else str(value)


FilesOfDatasets = Mapping[str, Sequence[Sequence[Any]]]
"""Of each dataset of several files, [path, number of records] of each in their order."""


def with_places(rejects: Iterable[Reject], files: FilesOfDatasets) -> Iterator[Reject]:
    """With file and record, where their dataset has several files."""
    ends = {name: list(accumulate(number for _, number in of_dataset)) for name, of_dataset in files.items()}
    for reject in rejects:
        if reject.dataset in ends:
            number = bisect_right(ends[reject.dataset], reject.index)
            start = ends[reject.dataset][number - 1] if number else 0
            yield replace(reject, file=files[reject.dataset][number][0], record=reject.index - start)
        else:
            yield reject


def write_ledger(path: Path, rejects: Iterable[Reject]) -> None:
    """The one that is published."""
    _write_lines(path, (reject.to_json() for reject in rejects))


def write_plan_ledger(path: Path, rejects: Iterable[Reject]) -> None:
    """One in a plan, with the sources of media at fault."""
    _write_lines(path, (reject.to_plan_json() for reject in rejects))


def _write_lines(path: Path, records: Iterable[dict[str, Any]]) -> None:
    with open_atomically(path) as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=True).encode() + b"\n")


def with_sources(rejects: Sequence[Reject], plan: Path) -> list[Reject]:
    """Published rejects, with the sources of media that the plan's ledgers know."""
    wanted = set(rejects)
    paths = [path for path in (plan / LEDGER_NAME, plan / LOST_NAME) if path.exists()]
    planned = (reject for path in paths for reject in read_ledger(path))
    known = {bare: reject for reject in planned if (bare := replace(reject, source=None)) in wanted}
    return [known.get(reject, reject) for reject in rejects]


def read_ledger(path: Path) -> Iterator[Reject]:
    with open(path, "rb") as file:
        for line in file:
            try:
                yield Reject.from_json(Record.parse(line).values)
            except ValueError as error:
                raise damaged(path, error) from None


def count_by_dataset(rejects: Iterable[Reject]) -> dict[str, dict[str, int]]:
    """{dataset: {reason: number}}"""
    counts: dict[str, Counter[str]] = {}
    for reject in rejects:
        counts.setdefault(reject.dataset, Counter())[reject.reason] += 1
    return {dataset: dict(sorted(reasons.items())) for dataset, reasons in counts.items()}
