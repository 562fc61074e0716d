"""One record on its way into a row: what it was taken for, what was found, and what the model learns of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from preprocess.config import RunConfig
from preprocess.encode import SampleEncoder
from preprocess.errors import SampleError
from preprocess.jobs.stage import Signal
from preprocess.media.cache import use as use_cache
from preprocess.plan.measure import over_capacity
from preprocess.read.columns import renamed
from preprocess.read.forms.table import form_of
from preprocess.read.records import ReadRecord, read_record, split_members
from preprocess.read.registry import Dataset
from preprocess.sample import EncodedSample, MeasuredSample, Sample, sample_key
from preprocess.write.materialise import join_samples
from shards import Pack


@dataclass(frozen=True, kw_only=True)
class Trial:
    """How far a record came."""

    key: str
    keys: tuple[str, ...]  # of the record
    form: str  # "": none recognised it
    read: ReadRecord | None = None
    measured: MeasuredSample | None = None
    pack: Pack | None = None  # of this sample alone
    error: SampleError | None = None  # what ended it


@dataclass(frozen=True, kw_only=True)
class TrialJob:
    dataset: Dataset
    index: int
    record: Any
    member: int | None = None  # of a ready-made pack; None: all of them


@dataclass(frozen=True, kw_only=True)
class TrialStage:
    """A job is one record; its result a Trial for each sample in it. A decoder that dies ends nothing else."""

    config: RunConfig
    load_encoder: Callable[[Path, RunConfig], SampleEncoder] = SampleEncoder.load

    def load(self) -> LoadedTrialStage:
        use_cache(replace(self.config.media_cache_of_run, keeps_cells=False))
        encoder = self.load_encoder(self.config.model, self.config)
        return LoadedTrialStage(self.config, replace(encoder, most_text_tokens=self.config.pack_length))


@dataclass(frozen=True)
class LoadedTrialStage:
    config: RunConfig
    encoder: SampleEncoder

    def do_item(self, item: Sample | MeasuredSample) -> MeasuredSample | EncodedSample:
        return self.encoder.measure(item) if isinstance(item, Sample) else self.encoder.encode(item)

    def do_job(self, job: TrialJob, do_item: Callable[[Any], Any], before_item: Signal) -> list[Trial]:
        return [
            self._try(record, job, member, do_item, before_item)
            for member, record in split_members(job.record)
            if job.member is None or job.member == member
        ]

    def _try(
        self, record: Any, job: TrialJob, member: int | None, do_item: Callable[[Any], Any], before_item: Signal
    ) -> Trial:
        named = renamed(record, job.dataset.columns) if isinstance(record, dict) else {}
        form = form_of(named)
        trial = Trial(
            key=sample_key(job.dataset.name, job.index, member),
            keys=tuple(record) if isinstance(record, dict) else (),
            form=form.name if form else "",
        )
        try:
            read = read_record(record, job.dataset, job.index, member)
            trial = replace(trial, read=read)
            before_item()
            measured: MeasuredSample = do_item(read.sample)
            trial = replace(trial, measured=measured)
            too_large = over_capacity([measured], self.config)
            if too_large is not None:
                raise too_large
            before_item()
            encoded: EncodedSample = do_item(measured)
        except SampleError as error:
            return replace(trial, error=error)
        return replace(trial, pack=join_samples([trial.key], [encoded]))
