"""Measure: the stage that turns raw records into parts of the plan, on all workers.

A job is a run of consecutive records of one dataset. What it writes, `plan/samples/part-N.arrow`, depends on nothing
else, so a finished part is never measured again.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from preprocess.arithmetic.boxes import box_notes
from preprocess.config import RunConfig
from preprocess.encode import SampleEncoder
from preprocess.errors import Reason, SampleError
from preprocess.jobs.stage import Signal
from preprocess.ledger import Reject
from preprocess.media.cache import use as use_cache
from preprocess.plan.holding import Hold
from preprocess.plan.tables import decode_metadata, part_metadata, write_part
from preprocess.read.records import ReadRecord, read_record, split_members
from preprocess.read.registry import Dataset
from preprocess.sample import MeasuredSample, Sample
from shards import PackCounts


@dataclass(frozen=True, kw_only=True)
class PartSummary:
    """What was counted and rejected in a part. It stands in the file of its samples, so that both are of one job."""

    fingerprint: str  # of the plan; a process of an earlier one may still have been at work in the folder
    dataset: str
    num_samples: int
    counts: PackCounts  # repeated samples count each time
    rejects: tuple[Reject, ...]
    ignored_keys: Mapping[str, int]
    notes: Mapping[str, int] = field(default_factory=dict)

    def to_metadata(self) -> dict[str, str]:
        record = {**asdict(self), "rejects": [reject.to_plan_json() for reject in self.rejects]}
        return {"fingerprint": record.pop("fingerprint"), "summary": json.dumps(record, sort_keys=True)}

    @classmethod
    def of(cls, samples: pa.Table) -> PartSummary:
        """That of a part with these `samples`."""
        metadata = decode_metadata(samples.schema)
        record = json.loads(metadata["summary"])
        return cls(
            **{
                **record,
                "fingerprint": metadata["fingerprint"],
                "counts": PackCounts(**record["counts"]),
                "rejects": tuple(map(Reject.from_json, record["rejects"])),
            }
        )


def is_measured(folder: Path, part: int, fingerprint: str) -> bool:
    """Whether the part of that run stands there."""
    try:
        return part_metadata(folder, part).get("fingerprint") == fingerprint
    except (FileNotFoundError, pa.ArrowInvalid):
        return False


@dataclass(frozen=True, kw_only=True)
class MeasureStage:
    config: RunConfig
    folder: Path  # of the plan
    fingerprint: str
    hold: Hold | None = None  # on the output folder; None where the plan is in none
    most_text_tokens: int | None = None  # None: pack_length
    load_encoder: Callable[[Path, RunConfig], SampleEncoder] = SampleEncoder.load

    def load(self) -> LoadedMeasureStage:
        use_cache(replace(self.config.media_cache_of_run, keeps_cells=self.hold is not None))
        encoder = self.load_encoder(self.config.model, self.config)
        most = self.config.pack_length if self.most_text_tokens is None else self.most_text_tokens
        return LoadedMeasureStage(self, replace(encoder, most_text_tokens=most))


@dataclass(frozen=True)
class LoadedMeasureStage:
    stage: MeasureStage
    encoder: SampleEncoder

    def do_item(self, sample: Sample) -> MeasuredSample:
        return self.encoder.measure(sample)

    def do_job(self, job: MeasureJob, do_item: Callable[[Sample], MeasuredSample], before_item: Signal) -> int:
        """Write a part; the number of its rejects."""
        config = self.stage.config
        rows: list[tuple[MeasuredSample, int]] = []
        rejects: list[Reject] = []
        tally = _Tally(self.encoder)
        for index, record, copies in job.records:
            members, lost = _measure_members(record, job.dataset, index, do_item, before_item, tally)
            too_long = next((reject for reject in lost if reject.reason == Reason.TOO_LONG.value), None)
            if too_long is not None and config.packing == "global":  # what stays together is too long together
                error = SampleError(Reason.TOO_LONG, f"{too_long.key}, of the same ready-made pack, is too long")
                lost += [Reject.of_sample(member.sample, error) for member in members]
                members = []
            members, oversize = _keep_what_fits(members, config)
            rejects += sorted(lost + oversize, key=lambda reject: reject.member or 0)
            rows += ((measured, copies) for measured in members)
        summary = PartSummary(
            fingerprint=self.stage.fingerprint,
            dataset=job.dataset.name,
            num_samples=len(rows),
            counts=_count(rows),
            rejects=tuple(rejects),
            ignored_keys=dict(sorted(tally.ignored.items())),
            notes=dict(sorted(tally.notes.items())),
        )
        if self.stage.hold is not None:
            self.stage.hold.check()
        write_part(self.stage.folder, job.part, rows, summary.to_metadata())
        return len(rejects)


class _Tally:
    """What is counted of the records of a part beside their sizes; notes are about samples that could be measured."""

    def __init__(self, encoder: SampleEncoder) -> None:
        self._encoder = encoder
        self.ignored: Counter[str] = Counter()
        self.notes: Counter[str] = Counter()

    def add(self, read: ReadRecord) -> None:
        sample = read.sample
        self.notes.update(read.notes)
        self.notes.update(box_notes(sample.turns, sample.boxes, len(sample.placed)))
        if num_special := self._encoder.num_special_as_text(sample):
            self.notes["special_as_text"] += num_special


def _count(rows: Sequence[tuple[MeasuredSample, int]]) -> PackCounts:
    """Sums over the samples, each as often as it has copies."""
    counts = [(vars(measured.counts), copies) for measured, copies in rows]
    return PackCounts(**{name: sum(each[name] * copies for each, copies in counts) for name in vars(PackCounts())})


def _measure_members(
    record: Any,
    dataset: Dataset,
    index: int,
    do_item: Callable[[Sample], MeasuredSample],
    before_item: Signal,
    tally: _Tally,
) -> tuple[list[MeasuredSample], list[Reject]]:
    """The usable members of a record (one, unless it is a ready-made pack), and the rejected ones."""
    measured: list[MeasuredSample] = []
    rejects: list[Reject] = []
    members = list(split_members(record))
    if not members:
        error = SampleError(Reason.NO_TURNS, "a ready-made pack without samples")
        return [], [Reject.of(dataset.name, index, None, error)]
    for member, raw in members:
        before_item()
        try:
            read = read_record(raw, dataset, index, member)
        except SampleError as error:
            rejects.append(Reject.of_record(dataset.name, index, member, raw, error))
            continue
        tally.ignored.update(read.ignored_keys)
        try:
            measured.append(do_item(read.sample))
        except SampleError as error:
            rejects.append(Reject.of_sample(read.sample, error))
        else:
            tally.add(read)
    return measured, rejects


def _keep_what_fits(members: list[MeasuredSample], config: RunConfig) -> tuple[list[MeasuredSample], list[Reject]]:
    """A single sample over capacity is rejected; so is a whole ready-made pack, where its samples stay together."""
    kept: list[MeasuredSample] = []
    rejects: list[Reject] = []
    for unit in [[member] for member in members] if config.packing == "none" else [members]:
        error = over_capacity(unit, config)
        if error is None:
            kept += unit
        else:
            rejects += [Reject.of_sample(member.sample, error) for member in unit]
    return kept, rejects


def over_capacity(unit: list[MeasuredSample], config: RunConfig) -> SampleError | None:
    """What is wrong with samples that must stand in one pack and have no room there; None where they have."""
    tokens = sum(member.num_tokens for member in unit)
    patches = sum(member.num_patches for member in unit)
    together = f"{len(unit)} samples of a ready-made pack have " if len(unit) > 1 else ""
    if tokens > config.pack_length:
        advice = "lower the pixel limits" if patches else "split the conversation"
        detail = f"{together}{tokens} tokens, pack_length is {config.pack_length}; raise it, or {advice}"
        return SampleError(Reason.TOO_LONG, detail)
    if config.patch_capacity is not None and patches > config.patch_capacity:
        detail = f"{together}{patches} patches, pack_patches is {config.patch_capacity}; raise it, or lower max_pixels"
        return SampleError(Reason.TOO_MANY_PATCHES, detail)
    return None


@dataclass(frozen=True, kw_only=True)
class MeasureJob:
    part: int
    dataset: Dataset
    records: tuple[tuple[int, Any, int], ...]  # (index, raw record, copies)
