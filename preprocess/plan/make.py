"""Plan: measure every sample by headers and text, reject what can't be used, pack the rest, cut packs into shards.

No image is decoded, and of a video only its first frame. The plan is a pure function of configuration and data; `run`
writes what it says. Parts and tables are written atomically, and a finished one is not made again, so that planning
goes on where it was interrupted.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from preprocess.config import RunConfig
from preprocess.jobs.executor import Executor
from preprocess.ledger import with_places, write_plan_ledger
from preprocess.plan.gather import MeasuredTotals, gather
from preprocess.plan.holding import Hold
from preprocess.plan.inputs import Sources
from preprocess.plan.parts import measure
from preprocess.plan.sizes import PackedItems, SampleSizes, SizeColumns, pack_samples
from preprocess.plan.summary import PlanSummary
from preprocess.plan.tables import cut_into_shards, write_packs, write_parts
from shards import PackMaxima
from shards.files.names import LEDGER_NAME
from shards.formats.kinds import check_row_fits
from shards.formats.mindrecord import largest_row_bytes


def make_plan(
    config: RunConfig, sources: Sources, folder: Path, executor: Executor, hold: Hold | None = None
) -> PlanSummary:
    """Plan into `folder`, or go on with the plan that was begun there. `hold`: where it is of a run."""
    return finish_plan(config, sources, folder, measure(config, sources, folder, executor, hold), hold)


def finish_plan(
    config: RunConfig, sources: Sources, folder: Path, num_parts: int, hold: Hold | None = None
) -> PlanSummary:
    """Gather the measured parts, pack, cut into shards; plan.json last. Raises ConfigError or shards.RowTooLarge."""
    totals, columns = MeasuredTotals(use.dataset.name for use in sources.uses), SizeColumns()
    rejects = gather(folder, num_parts, sources.plan_fingerprint, totals, columns)
    write_plan_ledger(folder / LEDGER_NAME, with_places(rejects, sources.several_files))
    write_parts(folder, totals.part_datasets, totals.part_samples)
    sizes = columns.sizes()
    packed = pack_samples(sizes, config, sources.constants)
    row_bytes = largest_row_bytes(largest_pack(sizes, packed), sources.constants)
    check_row_fits(config.shard_format, row_bytes)
    write_packs(
        folder / "packs.arrow",
        packed.packs,
        packed.rows,
        packed.repeats,
        sizes.tokens[packed.rows],
        sizes.patches[packed.rows],
    )
    num_bytes = np.bincount(packed.packs, sizes.num_bytes(sources.constants)[packed.rows])
    shard_table = cut_into_shards(folder / "tasks.arrow", num_bytes, config.shard_bytes)
    summary = PlanSummary(
        fingerprint=sources.plan_fingerprint,
        inputs=sources.plan_inputs,
        datasets=totals.datasets,
        rejects=totals.rejects,
        num_records=totals.num_records,
        ignored_keys=totals.ignored_keys,
        notes=totals.notes,
        files=sources.several_files,
        num_packs=packed.num_packs,
        num_shards=len(shard_table),
        pack_length=config.pack_length,
        pack_patches=packed.pack_patches,
        largest_unit_patches=packed.largest_unit_patches,
        num_bytes=int(num_bytes.sum()),
        largest_row_bytes=row_bytes,
    )
    if hold is not None:
        hold.check()
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
