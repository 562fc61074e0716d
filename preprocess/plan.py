"""Plan: measure every sample by headers and text, reject what can't be used, pack the rest, cut packs into shards.

No pixel is decoded. The plan is a pure function of configuration and data; `run` writes what it says. Everything in the
plan's folder is written atomically and never twice, so planning goes on where it was interrupted.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import av
import decord
import numpy as np
import PIL

import preprocess
from preprocess.annotations import AnnotationFile, open_annotations
from preprocess.config import RunConfig
from preprocess.encode import SampleEncoder
from preprocess.executor import Executor, Signal
from preprocess.ledger import LEDGER_NAME, write_ledger
from preprocess.measure import MeasureJob, MeasureStage, PartSidecar, cut_into_jobs, is_measured
from preprocess.plan_tables import SAMPLES_DIR, write_packs, write_parts, write_tasks
from preprocess.registry import DatasetUse, choose_datasets, read_registry
from preprocess.sizes import PackedItems, SampleSizes, pack_samples
from shards import ModelConstants, PackCounts, PackMaxima
from shards.formats import check_row_fits
from shards.hashing import sha256_of_file
from shards.manifest import fingerprint_of, write_atomically
from shards.mindrecord import largest_row_bytes


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
    largest_row_bytes: int  # the most that any pack takes in a MindRecord page

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
        return fingerprint_of(self.inputs)

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
                "boxes": use.dataset.boxes,
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
    """Gather the measured parts, pack, cut into shards; plan.json last. Raises ConfigError or shards.RowTooLarge."""
    tally = Tally.of_parts(sources, folder, num_parts)
    write_ledger(folder / LEDGER_NAME, chain.from_iterable(s.rejects for s in _sidecars(folder, num_parts)))
    write_parts(folder, tally.part_datasets, tally.part_samples)
    sizes = SampleSizes.read(folder, tally.part_samples)
    packed = pack_samples(sizes, config, sources.constants)
    row_bytes = largest_row_bytes(_largest_pack(sizes, packed), sources.constants)
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


def _largest_pack(sizes: SampleSizes, packed: PackedItems) -> PackMaxima:
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
    """What the sidecars of the measured parts add up to; of the rejects only their numbers."""

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
        for sidecar in _sidecars(folder, num_parts):
            datasets[sidecar.dataset] += sidecar.counts
            rejects.setdefault(sidecar.dataset, Counter()).update(reject.reason for reject in sidecar.rejects)
            ignored_keys.update(sidecar.ignored_keys)
            part_datasets.append(sidecar.dataset)
            part_samples.append(sidecar.num_samples)
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


def _sidecars(folder: Path, num_parts: int) -> Iterator[PartSidecar]:
    return (PartSidecar.read(folder, part) for part in range(num_parts))
