"""Materialise: one index writes one shard. Tasks know nothing of each other, so any executor may run them.

A sample that fails here is left out of its pack and goes to the ledger; an emptied pack is dropped.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from preprocess.config import RunConfig
from preprocess.encode import SampleEncoder
from preprocess.errors import SampleError
from preprocess.jobs.stage import Signal
from preprocess.ledger import Reject
from preprocess.media.cache import use as use_cache
from preprocess.plan.holding import Hold
from preprocess.plan.summary import PlanSummary
from preprocess.plan.tables import SamplesReader, read_table
from preprocess.sample import EncodedSample, MeasuredSample, Note
from preprocess.timing import Timing, slowest_of_shard
from preprocess.write.places import Medium, write_media
from preprocess.write.reuse import OldPatches
from shards import Pack, PackCounts
from shards.files.names import PLAN_DIR
from shards.formats.kinds import load_format
from shards.formats.writer import ShardSidecar, write_shard, write_sidecar


@dataclass(frozen=True, kw_only=True)
class ShardStage:
    """Writes the shards of the plan in `config.output_dir`; a job is the number of a index."""

    config: RunConfig
    hold: Hold | None = None  # on the output folder
    load_encoder: Callable[[Path, RunConfig], SampleEncoder] = SampleEncoder.load

    def load(self) -> LoadedShardStage:
        use_cache(self.config.media_cache_of_run)
        encoder = self.load_encoder(self.config.model, self.config)
        if self.config.reuse is not None:
            old_patches = OldPatches(self.config.reuse, self.config.output_dir / PLAN_DIR)
            encoder = replace(encoder, old_patches=old_patches)
        load_format(self.config.shard_format)  # here, where starting may take its time
        return LoadedShardStage(self.config, encoder, self.hold)


class LoadedShardStage:
    def __init__(self, config: RunConfig, encoder: SampleEncoder, hold: Hold | None = None) -> None:
        plan = config.output_dir / PLAN_DIR
        summary = PlanSummary.read(plan)
        assert summary is not None, f"{plan} is unfinished"
        self._output_dir = config.output_dir
        self._fingerprint = summary.run_fingerprint(config.shard_format)
        self._plan_fingerprint = summary.fingerprint
        self._syncs = config.durability == "shard"
        self._check_hold = (lambda: None) if hold is None else hold.check
        self._write_shard = partial(
            write_shard,
            format=config.shard_format,
            largest_row_bytes=summary.largest_row_bytes,
            fingerprint=self._fingerprint,
            syncs=self._syncs,
            before_publishing=self._check_hold,
        )
        self._encoder = encoder
        self._samples = SamplesReader(plan, summary.fingerprint)
        self._shards = read_table(plan / "tasks.arrow")
        self._packs = read_table(plan / "packs.arrow")

    def do_item(self, measured: MeasuredSample) -> EncodedSample:
        return self._encoder.encode(measured)

    def do_job(
        self, index: int, do_item: Callable[[MeasuredSample], EncodedSample], before_item: Signal
    ) -> ShardSidecar:
        """Write shard number `index` and its sidecar."""
        job = _Job(self._packs_of(index), self._samples, do_item, before_item)
        written = self._write_shard(self._output_dir, index, job.packs(), self._encoder.constants)
        write_media(self._output_dir / PLAN_DIR, index, job.media, self._plan_fingerprint)
        sidecar = ShardSidecar(
            fingerprint=self._fingerprint,
            shard=written.entry,
            maxima=written.maxima,
            datasets=dict(sorted(job.counts.items())),
            rejects=tuple(reject.to_plan_json() for reject in job.rejects),
            num_media=len(job.media),
            num_reused=job.num_reused,
            synced=self._syncs or written.entry is None,
            slowest=slowest_of_shard(job.timings),
            notes={name: dict(sorted(notes.items())) for name, notes in sorted(job.notes.items())},
        )
        self._check_hold()
        write_sidecar(self._output_dir, index, sidecar)
        return sidecar

    def _packs_of(self, index: int) -> pa.Table:
        [row] = self._shards.slice(index, 1).to_pylist()
        return self._packs.slice(row["first_pack"], row["num_packs"])


class _Job:
    """The packs of one index as they are encoded; afterwards, what was counted and rejected on the way."""

    def __init__(
        self,
        packs: pa.Table,
        samples: SamplesReader,
        do_item: Callable[[MeasuredSample], EncodedSample],
        before_item: Signal,
    ) -> None:
        self.rejects: list[Reject] = []
        self.counts: dict[str, PackCounts] = {}
        self.media: list[tuple[Medium, int, int]] = []  # with row in the shard, and first patch in the row
        self.timings: list[Timing] = []
        self.notes: dict[str, Counter[Note]] = {}
        self.num_reused = 0
        self._num_rows = 0
        self._packs = packs
        self._samples = samples
        self._do_item = do_item
        self._before_item = before_item

    def packs(self) -> Iterator[Pack]:
        for number in range(len(self._packs)):
            [row] = self._packs.slice(number, 1).to_pylist()
            keys, samples, used = [], [], []
            for sample_row, repeat in zip(row["samples"], row["repeats"], strict=True):
                measured = self._samples[sample_row]
                sample = measured.sample
                self._before_item()
                started = time.perf_counter()
                try:
                    encoded = self._do_item(measured)
                except SampleError as error:
                    self.rejects.append(Reject.of_sample(sample, error))
                    continue
                self.timings.append(Timing.of(sample, time.perf_counter() - started))
                self.counts[sample.dataset] = self.counts.get(sample.dataset, PackCounts()) + measured.counts
                keys.append(sample.key(repeat))
                samples.append(encoded)
                used.append(measured)
                self.num_reused += encoded.num_reused
                if encoded.notes:
                    self.notes.setdefault(sample.dataset, Counter()).update(encoded.notes)
            if samples:
                self._note_places(used)
                yield join_samples(keys, samples)

    def _note_places(self, used: list[MeasuredSample]) -> None:
        """Where the media of the next row stand among its image and its video patches."""
        for media in ([m for s in used for m in s.images], [m for s in used for m in s.videos]):
            first = 0
            for medium in media:
                self.media.append((medium, self._num_rows, first))
                first += int(np.prod(medium.grid_thw))
        self._num_rows += 1


def join_samples(keys: list[str], samples: list[EncodedSample]) -> Pack:
    """Samples one after another; positions restart in each."""

    def joined(name: str, axis: int = 0) -> npt.NDArray[Any]:
        arrays = [getattr(sample, name) for sample in samples]
        return arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis=axis)  # one alone is not copied

    return Pack(
        input_ids=joined("input_ids"),
        labels=joined("labels"),
        position_ids=joined("position_ids", axis=1),
        cu_seqlens=np.cumsum([0] + [len(sample.input_ids) for sample in samples], dtype=np.int32),
        image_patches=joined("image_patches"),
        image_grid_thw=joined("image_grid_thw"),
        video_patches=joined("video_patches"),
        video_grid_thw=joined("video_grid_thw"),
        second_per_grid_ts=joined("second_per_grid_ts"),
        sample_keys=tuple(keys),
    )
