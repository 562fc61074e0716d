"""Plan: measure every sample by headers and text, reject what can't be used, pack the rest, cut packs into shards.

No pixel is decoded. The plan is a pure function of configuration and data; `run` writes what it says. Everything in the
plan's folder is written atomically and never twice, so planning goes on where it was interrupted.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import av
import decord
import numpy as np
import numpy.typing as npt
import PIL

import preprocess
from preprocess.annotations import AnnotationFile, open_annotations
from preprocess.config import RunConfig
from preprocess.encode import SampleEncoder
from preprocess.executor import Executor, Signal
from preprocess.ledger import LEDGER_NAME, Reject, count_by_dataset, write_ledger
from preprocess.measure import MeasureJob, MeasureStage, PartSidecar, cut_into_jobs, is_measured
from preprocess.packing import choose_patch_capacity, pack_units, shuffle_packs
from preprocess.plan_tables import SAMPLES_DIR, part_path, read_table, write_packs, write_parts, write_tasks
from preprocess.registry import DatasetUse, choose_datasets, read_registry
from shards import ModelConstants, PackCounts
from shards.hashing import sha256_of_file
from shards.manifest import write_atomically

_TOKEN_BYTES = 20  # input_ids, labels and three rows of positions, int32 each
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class PlanSummary:
    """What `plan` prints. Counts are of uses: a repeated sample counts each time; rejects count once."""

    fingerprint: str
    inputs: Mapping[str, Any]
    datasets: Mapping[str, PackCounts]
    rejects: Mapping[str, Mapping[str, int]]  # dataset -> reason -> samples
    num_records: int  # samples read, usable or not, each once
    ignored_keys: Mapping[str, int]
    num_packs: int
    num_shards: int
    pack_length: int
    pack_patches: int  # capacity; chosen from the data where the configuration says auto
    largest_unit_patches: int  # of a sample, or of a ready-made pack
    num_bytes: int  # of all shards, about

    @property
    def totals(self) -> PackCounts:
        return sum(self.datasets.values(), PackCounts())

    @property
    def num_rejects(self) -> int:
        return sum(sum(reasons.values()) for reasons in self.rejects.values())

    @classmethod
    def read(cls, folder: Path) -> PlanSummary | None:
        """None where the plan in `folder` is unfinished."""
        try:
            record = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        record["datasets"] = {name: PackCounts(**counts) for name, counts in record["datasets"].items()}
        return cls(**record)

    def write(self, folder: Path) -> None:
        write_atomically(folder / "plan.json", json.dumps(asdict(self), indent=1) + "\n")


@dataclass(frozen=True)
class Sources:
    """Everything outside of the configuration that a plan reads, opened and checked before anything is written."""

    uses: tuple[DatasetUse, ...]
    files: tuple[AnnotationFile, ...]
    constants: ModelConstants
    inputs: Mapping[str, Any]  # what determines the output, for the fingerprint

    @property
    def fingerprint(self) -> str:
        """sha256 of everything that determines the bytes of the output."""
        return hashlib.sha256(json.dumps(self.inputs, sort_keys=True).encode()).hexdigest()

    def num_records(self, seed: int) -> int:
        """Records that will be measured, each once."""
        return sum(
            int(np.count_nonzero(use.copies(len(file), seed))) for use, file in zip(self.uses, self.files, strict=True)
        )


def open_sources(config: RunConfig) -> Sources:
    """Raises ConfigError, AnnotationError or shards.ModelFolderError; touches nothing."""
    constants = SampleEncoder.load(config.model, config).constants
    uses = choose_datasets(read_registry(config.datasets), config.dataset_use)
    files = tuple(open_annotations(use.dataset.annotation_path) for use in uses)
    inputs = {
        "config": config.determining(),
        "datasets": {
            use.dataset.name: {
                "annotations_sha256": sha256_of_file(use.dataset.annotation_path),
                "follow_links": use.dataset.follow_links,
            }
            for use in uses
        },
        "model": constants.to_json(),
        "tokenizer_sha256": sha256_of_file(config.model / "tokenizer.json"),
        "versions": {
            "pillow": PIL.__version__,
            "decord": decord.__version__,
            "av": av.__version__,
            "preprocess": preprocess.__version__,
        },
    }
    return Sources(uses, files, constants, inputs)


def measure_all(
    config: RunConfig,
    sources: Sources,
    folder: Path,
    executor: Executor,
    on_item: Signal,
    is_mine: Callable[[int], bool],
) -> int:
    """Measure every part that `is_mine` takes and that is not measured yet; return the number of all parts."""
    (folder / SAMPLES_DIR).mkdir(parents=True, exist_ok=True)
    num_parts = 0

    def missing_parts() -> Iterator[MeasureJob]:
        nonlocal num_parts
        for use, file in zip(sources.uses, sources.files, strict=True):
            for job in cut_into_jobs(use, file, config.seed, num_parts):
                num_parts = job.part + 1
                if is_mine(job.part) and not is_measured(folder, job.part):
                    yield job

    for _ in executor.run(MeasureStage(config=config, folder=folder), missing_parts(), on_item):
        pass
    return num_parts


def finish_plan(config: RunConfig, sources: Sources, folder: Path, num_parts: int) -> PlanSummary:
    """Gather the measured parts, pack, cut into shards; plan.json last."""
    counts = {use.dataset.name: PackCounts() for use in sources.uses}
    rejects: list[Reject] = []
    ignored: Counter[str] = Counter()
    sidecars = [PartSidecar.read(folder, part) for part in range(num_parts)]
    for sidecar in sidecars:
        counts[sidecar.dataset] += sidecar.counts
        rejects += sidecar.rejects
        ignored.update(sidecar.ignored_keys)
    write_ledger(folder / LEDGER_NAME, rejects)
    write_parts(folder, [s.dataset for s in sidecars], [s.num_samples for s in sidecars])
    packed = _pack_and_cut(_Items.gather(folder, num_parts, sources.constants), config, sources.constants, folder)
    summary = PlanSummary(
        fingerprint=sources.fingerprint,
        inputs=sources.inputs,
        datasets=counts,
        rejects=count_by_dataset(rejects),
        num_records=sum(sidecar.num_samples for sidecar in sidecars) + len(rejects),
        ignored_keys=dict(sorted(ignored.items())),
        pack_length=config.pack_length,
        **asdict(packed),
    )
    summary.write(folder)
    return summary


@dataclass(frozen=True, kw_only=True)
class _Items:
    """Uses of samples, in columns of shape (num_items,)."""

    rows: Integers  # over all parts
    repeats: Integers
    units: Integers  # what packing may not tear apart: a use of a record, or of a ready-made pack
    tokens: Integers
    patches: Integers
    num_bytes: Integers  # in a shard, about

    @classmethod
    def gather(cls, folder: Path, num_parts: int, constants: ModelConstants) -> _Items:
        columns = [_read_sizes(folder, part, constants) for part in range(num_parts)]
        record, copies, tokens, patches, num_bytes = (
            np.concatenate([part[number] for part in columns]) if columns else np.zeros(0, np.int64)
            for number in range(5)
        )
        # `record` numbers records within a part; a change of it, or of the part, starts a new record.
        part_sizes = [len(part[0]) for part in columns]
        part_of_row = np.repeat(np.arange(len(columns)), part_sizes)
        is_first = np.ones(len(record), bool)
        is_first[1:] = (record[1:] != record[:-1]) | (part_of_row[1:] != part_of_row[:-1])
        first_unit = np.cumsum(np.where(is_first, copies, 0)) - copies
        rows = np.repeat(np.arange(len(record)), copies)
        repeats = np.arange(len(rows)) - np.repeat(np.cumsum(copies) - copies, copies)
        return cls(
            rows=rows,
            repeats=repeats,
            units=first_unit[rows] + repeats,
            tokens=tokens[rows],
            patches=patches[rows],
            num_bytes=num_bytes[rows],
        )


def _read_sizes(folder: Path, part: int, constants: ModelConstants) -> tuple[Integers, ...]:
    """Columns of a part: record index, copies, tokens, patches, bytes in a shard."""
    table = read_table(part_path(folder, part))
    index, copies, tokens, image_patches, video_patches = (
        table[name].to_numpy().astype(np.int64)
        for name in ("index", "copies", "num_tokens", "num_image_patches", "num_video_patches")
    )
    num_bytes = (
        tokens * _TOKEN_BYTES
        + image_patches * constants.image_patch_bytes
        + video_patches * constants.video_patch_bytes
    )
    return index, copies, tokens, image_patches + video_patches, num_bytes


@dataclass(frozen=True, kw_only=True)
class _Packed:
    num_packs: int
    num_shards: int
    num_bytes: int  # of all shards, about
    pack_patches: int
    largest_unit_patches: int


def _pack_and_cut(items: _Items, config: RunConfig, constants: ModelConstants, folder: Path) -> _Packed:
    """Write packs.arrow and tasks.arrow."""
    units = items.units if config.packing == "global" else np.arange(len(items.units))
    unit_tokens = np.bincount(units, items.tokens).astype(np.int64)
    unit_patches = np.bincount(units, items.patches).astype(np.int64)
    largest = int(unit_patches.max(initial=0))
    if config.packing == "none":
        pack_patches = config.patch_capacity or largest
        pack_of_unit = units
    else:
        pack_patches = config.patch_capacity or choose_patch_capacity(
            unit_tokens, unit_patches, config.pack_length, constants.merge_size**2
        )
        pack_of_unit = pack_units(unit_tokens, unit_patches, config.pack_length, pack_patches)
    pack_of_item = shuffle_packs(pack_of_unit, config.seed)[units]
    packs = write_packs(folder / "packs.arrow", pack_of_item, items.rows, items.repeats, items.tokens, items.patches)
    tasks = write_tasks(folder / "tasks.arrow", np.bincount(pack_of_item, items.num_bytes), config.shard_bytes)
    return _Packed(
        num_packs=len(packs),
        num_shards=len(tasks),
        num_bytes=int(items.num_bytes.sum()),
        pack_patches=pack_patches,
        largest_unit_patches=largest,
    )
