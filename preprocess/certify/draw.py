"""Random samples of a finished run, each with its row in the shards: what training reads is what is certified."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from preprocess.plan.summary import PlanSummary
from preprocess.plan.tables import SamplesReader, read_table
from preprocess.sample import MeasuredSample
from shards import Pack, ShardSet
from shards.segments import alone, cut_segments

_SPARE = 8  # items drawn for each sample that is wanted: repeats and lost samples don't count


@dataclass(frozen=True, kw_only=True)
class Drawn:
    measured: MeasuredSample
    pack: Pack  # the sample alone, as it stands in the shards

    @property
    def key(self) -> str:
        return self.measured.sample.key()


def draw(shards: ShardSet, plan_folder: Path, plan: PlanSummary, num_samples: int, seed: int) -> Iterator[Drawn]:
    """`num_samples` different samples, or all where there are fewer; the same for the same seed.

    Samples that were lost while decoding are not drawn. Raises FatalError or ShardError where a file is damaged.
    """
    packs = read_table(plan_folder / "packs.arrow").combine_chunks()
    samples = SamplesReader(plan_folder, plan.fingerprint)
    rows, repeats = (packs[name].chunk(0).flatten() if len(packs) else [] for name in ("samples", "repeats"))
    ends = np.asarray(packs["samples"].chunk(0).offsets)[1:] if len(packs) else np.zeros(0, np.int32)
    num_lost_packs = len(packs) - len(shards)
    seen: set[int] = set()
    for item in random.Random(seed).sample(range(len(rows)), min(len(rows), _SPARE * num_samples)):
        if len(seen) == num_samples:
            return
        row = rows[item].as_py()
        if row in seen:
            continue
        measured = samples[row]
        planned = int(np.searchsorted(ends, item, side="right"))
        found = _find(shards, planned, num_lost_packs, measured.sample.key(repeats[item].as_py()))
        if found is not None:
            seen.add(row)
            yield Drawn(measured=measured, pack=found)


def _find(shards: ShardSet, planned: int, num_lost: int, key: str) -> Pack | None:
    """The sample with that key: in the pack of that number, or as many before as were lost."""
    for number in range(min(planned, len(shards) - 1), planned - num_lost - 1, -1):
        if number >= 0 and key in shards.outline(number).sample_keys:
            pack = shards[number]
            [segment] = [each for each in cut_segments(pack, shards.manifest.model) if each.key == key]
            return alone(pack, segment)
    return None
