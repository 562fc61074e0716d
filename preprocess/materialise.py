"""Materialise: one task writes one shard. Tasks know nothing of each other, so any executor may run them.

A sample that fails here is left out of its pack and goes to the ledger; an emptied pack is dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from preprocess.errors import SampleError
from preprocess.ledger import Reject
from preprocess.plan_tables import PLAN_DIR, SamplesReader, read_table
from preprocess.sample import EncodedSample, MeasuredSample
from shards import ModelConstants, Pack, PackCounts
from shards.writer import ShardSidecar, write_shard, write_sidecar


@dataclass(frozen=True)
class Materialiser:
    """Reads the plan in `output_dir` and writes its shards."""

    output_dir: Path
    encode: Callable[[MeasuredSample], EncodedSample]
    constants: ModelConstants
    before_sample: Callable[[], None]  # called as each sample is taken up: a sign of life

    def run_task(self, task: int) -> ShardSidecar:
        """Write shard number `task` and its sidecar."""
        job = _Job(self, task)
        written = write_shard(self.output_dir, task, job.packs(), self.constants)
        sidecar = ShardSidecar(
            shard=written.entry,
            maxima=written.maxima,
            datasets=dict(sorted(job.counts.items())),
            rejects=tuple(reject.to_json() for reject in job.rejects),
        )
        write_sidecar(self.output_dir, task, sidecar)
        return sidecar


class _Job:
    """The packs of one task as they are encoded; afterwards, what was counted and rejected on the way."""

    def __init__(self, materialiser: Materialiser, task: int) -> None:
        plan = materialiser.output_dir / PLAN_DIR
        self.rejects: list[Reject] = []
        self.counts: dict[str, PackCounts] = {}
        self._materialiser = materialiser
        self._samples = SamplesReader(plan / "samples.arrow")
        [row] = read_table(plan / "tasks.arrow").slice(task, 1).to_pylist()
        self._packs = read_table(plan / "packs.arrow").slice(row["first_pack"], row["num_packs"])

    def packs(self) -> Iterator[Pack]:
        for number in range(len(self._packs)):
            [row] = self._packs.slice(number, 1).to_pylist()
            keys, samples = [], []
            for sample_row, repeat in zip(row["samples"], row["repeats"], strict=True):
                measured = self._samples[sample_row]
                sample = measured.sample
                self._materialiser.before_sample()
                try:
                    encoded = self._materialiser.encode(measured)
                except SampleError as error:
                    self.rejects.append(Reject.of(sample.dataset, sample.index, sample.member, error))
                    continue
                self.counts[sample.dataset] = self.counts.get(sample.dataset, PackCounts()) + measured.counts
                keys.append(sample.key(repeat))
                samples.append(encoded)
            if samples:
                yield join_samples(keys, samples)


def join_samples(keys: list[str], samples: list[EncodedSample]) -> Pack:
    """Samples one after another; positions restart in each."""
    return Pack(
        input_ids=np.concatenate([sample.input_ids for sample in samples]),
        labels=np.concatenate([sample.labels for sample in samples]),
        position_ids=np.concatenate([sample.position_ids for sample in samples], axis=1),
        cu_seqlens=np.cumsum([0] + [len(sample.input_ids) for sample in samples], dtype=np.int32),
        image_patches=np.concatenate([sample.image_patches for sample in samples]),
        image_grid_thw=np.concatenate([sample.image_grid_thw for sample in samples]),
        video_patches=np.concatenate([sample.video_patches for sample in samples]),
        video_grid_thw=np.concatenate([sample.video_grid_thw for sample in samples]),
        second_per_grid_ts=np.concatenate([sample.second_per_grid_ts for sample in samples]),
        sample_keys=tuple(keys),
    )
