"""Plan: measure every sample by headers and text, reject what can't be used, pack the rest, cut packs into shards.

No image is decoded, and of a video only its first frame. The plan is a pure function of configuration and data; `run`
writes what it says. Parts and tables are written atomically, and a finished one is not made again, so that planning
goes on where it was interrupted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from preprocess.config import RunConfig
from preprocess.jobs.executor import Executor
from preprocess.ledger import write_ledger
from preprocess.plan.inputs import Sources
from preprocess.plan.measure import PartSummary
from preprocess.plan.parts import measure
from preprocess.plan.sizes import PackedItems, SampleSizes, pack_samples
from preprocess.plan.summary import PlanSummary
from preprocess.plan.tables import write_packs, write_parts, write_tasks
from shards import PackCounts, PackMaxima
from shards.files.names import LEDGER_NAME
from shards.formats.kinds import check_row_fits
from shards.formats.mindrecord import largest_row_bytes


def make_plan(config: RunConfig, sources: Sources, folder: Path, executor: Executor) -> PlanSummary:
    """Plan into `folder`, or go on with the plan that was begun there."""
    return finish_plan(config, sources, folder, measure(config, sources, folder, executor))


def finish_plan(config: RunConfig, sources: Sources, folder: Path, num_parts: int) -> PlanSummary:
    """Gather the measured parts, pack, cut into shards; plan.json last. Raises ConfigError or shards.RowTooLarge."""
    tally = Tally.of_parts(sources, folder, num_parts)
    write_ledger(folder / LEDGER_NAME, chain.from_iterable(s.rejects for s in _part_summaries(folder, num_parts)))
    write_parts(folder, tally.part_datasets, tally.part_samples)
    sizes = SampleSizes.read(folder, tally.part_samples)
    packed = pack_samples(sizes, config, sources.constants)
    row_bytes = largest_row_bytes(largest_pack(sizes, packed), sources.constants)
    check_row_fits(config.format, row_bytes)
    write_packs(
        folder / "packs.arrow",
        packed.packs,
        packed.rows,
        packed.repeats,
        sizes.tokens[packed.rows],
        sizes.patches[packed.rows],
    )
    num_bytes = np.bincount(packed.packs, sizes.num_bytes(sources.constants)[packed.rows])
    tasks = write_tasks(folder / "tasks.arrow", num_bytes, config.shard_bytes)
    summary = PlanSummary(
        fingerprint=sources.fingerprint,
        inputs=sources.inputs,
        datasets=tally.datasets,
        rejects=tally.rejects,
        num_records=tally.num_records,
        ignored_keys=tally.ignored_keys,
        num_packs=packed.num_packs,
        num_shards=len(tasks),
        pack_length=config.pack_length,
        pack_patches=packed.pack_patches,
        largest_unit_patches=packed.largest_unit_patches,
        num_bytes=int(num_bytes.sum()),
        largest_row_bytes=row_bytes,
    )
    summary.write(folder)
    return summary


def largest_pack(sizes: SampleSizes, packed: PackedItems) -> PackMaxima:
    """Of what `largest_row_bytes` asks for; the rest stays 0."""
    columns = {name: getattr(sizes, name) for name in ("tokens", "image_patches", "video_patches", "patches")}
    return PackMaxima(
        **{
            name: int(np.bincount(packed.packs, numbers[packed.rows]).max(initial=0))
            for name, numbers in columns.items()
        }
    )


@dataclass(frozen=True, kw_only=True)
class Tally:
    """What the measured parts add up to; of the rejects only their numbers."""

    datasets: Mapping[str, PackCounts]
    rejects: Mapping[str, Mapping[str, int]]  # dataset -> reason -> samples
    ignored_keys: Mapping[str, int]
    part_datasets: Sequence[str]  # of each part
    part_samples: Sequence[int]

    @classmethod
    def of_parts(cls, sources: Sources, folder: Path, num_parts: int) -> Tally:
        datasets = {use.dataset.name: PackCounts() for use in sources.uses}
        rejects: dict[str, Counter[str]] = {}
        ignored_keys: Counter[str] = Counter()
        part_datasets, part_samples = [], []
        for summary in _part_summaries(folder, num_parts):
            datasets[summary.dataset] += summary.counts
            rejects.setdefault(summary.dataset, Counter()).update(reject.reason for reject in summary.rejects)
            ignored_keys.update(summary.ignored_keys)
            part_datasets.append(summary.dataset)
            part_samples.append(summary.num_samples)
        return cls(
            datasets=datasets,
            rejects={name: dict(sorted(reasons.items())) for name, reasons in rejects.items() if reasons},
            ignored_keys=dict(sorted(ignored_keys.items())),
            part_datasets=part_datasets,
            part_samples=part_samples,
        )

    @property
    def num_rejects(self) -> int:
        return sum(sum(reasons.values()) for reasons in self.rejects.values())

    @property
    def num_records(self) -> int:
        """Samples read, usable or not, each once."""
        return sum(self.part_samples) + self.num_rejects


def _part_summaries(folder: Path, num_parts: int) -> Iterator[PartSummary]:
    return (PartSummary.read(folder, part) for part in range(num_parts))
