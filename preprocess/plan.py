"""Plan: measure every sample by headers and text, reject what can't be used, pack the rest, cut packs into shards.

No image is decoded, and of a video only its first frame. The plan is a pure function of configuration and data; `run`
writes what it says. Parts and tables are written atomically, and a finished one is not made again, so that planning
goes on where it was interrupted.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from PIL import features

import preprocess
from preprocess.annotations import AnnotationFile, open_annotations
from preprocess.config import RunConfig
from preprocess.encode import SampleEncoder
from preprocess.errors import AnnotationError
from preprocess.executor import Executor
from preprocess.ledger import LEDGER_NAME, write_ledger
from preprocess.measure import MeasureJob, MeasureStage, PartSummary, cut_into_jobs, is_measured
from preprocess.plan_tables import SAMPLES_DIR, damaged, write_packs, write_parts, write_tasks
from preprocess.progress import Progress
from preprocess.registry import Dataset, DatasetUse, choose_datasets, read_registry
from preprocess.sizes import PackedItems, SampleSizes, pack_samples
from shards import ModelConstants, PackCounts, PackMaxima
from shards.formats import check_row_fits
from shards.hashing import sha256_of_file
from shards.manifest import fingerprint_of, write_atomically
from shards.mindrecord import largest_row_bytes

PLAN_NAME = "plan.json"  # in the plan's folder
_SAMPLES_WORTH_A_PROCESS = 10  # photos that are decoded while one starts


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
            record = json.loads((folder / PLAN_NAME).read_text(encoding="utf-8"))
            record["datasets"] = {name: PackCounts(**counts) for name, counts in record["datasets"].items()}
            return cls(**record)
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise damaged(folder / PLAN_NAME, error) from None

    def write(self, folder: Path) -> None:
        write_atomically(folder / PLAN_NAME, json.dumps(asdict(self), indent=1) + "\n")


@dataclass(frozen=True)
class Sources:
    """Everything outside of the configuration that a plan reads."""

    uses: tuple[DatasetUse, ...]
    constants: ModelConstants
    inputs: Mapping[str, Any]  # what determines the output, for the fingerprint

    @cached_property
    def files(self) -> tuple[AnnotationFile, ...]:
        """Opened and checked when first asked for: a finished plan needs none. Raises AnnotationError."""
        return tuple(open_annotations(use.dataset.annotation_path) for use in self.uses)

    @property
    def fingerprint(self) -> str:
        """sha256 of everything that determines the bytes of the output."""
        return fingerprint_of(self.inputs)

    def open_files(self) -> None:
        """Open and check the annotations now. Raises AnnotationError."""
        _ = self.files

    @property
    def locations(self) -> Mapping[str, Any]:
        """Where the datasets stand. No byte depends on it, but measured samples and rejects do."""
        return {
            use.dataset.name: {
                "annotation_path": str(use.dataset.annotation_path),
                "data_path": None if use.dataset.data_path is None else str(use.dataset.data_path),
            }
            for use in self.uses
        }

    @property
    def num_records(self) -> int:
        """Records that will be measured, each once."""
        return sum(use.num_chosen(len(file)) for use, file in zip(self.uses, self.files, strict=True))


def open_sources(config: RunConfig) -> Sources:
    """Raises ConfigError, AnnotationError or shards.ModelFolderError; touches nothing."""
    constants = SampleEncoder.load(config.model, config).constants
    uses = choose_datasets(read_registry(config.datasets), config.dataset_use)
    inputs = {
        "config": config.determining(),
        "datasets": {
            use.dataset.name: {
                "annotations_sha256": _hash_annotations(use.dataset),
                "follow_links": use.dataset.follow_links,
                "boxes": use.dataset.boxes,
            }
            for use in uses
        },
        "model": constants.to_json(),
        "tokenizer_sha256": sha256_of_file(config.model / "tokenizer.json"),
        "versions": {
            "pillow": PIL.__version__,
            "libjpeg_turbo": features.version("libjpeg_turbo"),  # Pillow may be built with another one, or with none
            "decord": version("decord2"),
            "av": version("av"),
            "preprocess": preprocess.__version__,
        },
    }
    return Sources(uses, constants, inputs)


def _hash_annotations(dataset: Dataset) -> str:
    try:
        return sha256_of_file(dataset.annotation_path)
    except OSError as error:
        raise AnnotationError(
            f"{dataset.annotation_path}: {error.strerror}; check annotation_path in the registry"
        ) from None


def measure_parts(
    config: RunConfig,
    sources: Sources,
    folder: Path,
    executor: Executor,
    progress: Progress,
    take: Callable[[int], bool] = lambda part: True,
    done: Callable[[int], None] = lambda part: None,
) -> tuple[int, list[int]]:
    """Measure every part that is not measured yet and that `take` agrees to; then it is `done`.

    The number of all parts, and those that `take` left.
    """
    (folder / SAMPLES_DIR).mkdir(parents=True, exist_ok=True)
    num_parts, left = 0, []

    def missing_parts() -> Iterator[MeasureJob]:
        nonlocal num_parts
        for use, file in zip(sources.uses, sources.files, strict=True):
            for job in cut_into_jobs(use, file, config.seed, num_parts):
                num_parts = job.part + 1
                if is_measured(folder, job.part, sources.fingerprint):
                    progress.skip(len(job.records))
                elif take(job.part):
                    yield job
                else:
                    left.append(job.part)

    stage = MeasureStage(config=config, folder=folder, fingerprint=sources.fingerprint)
    num_expected = sources.num_records // _SAMPLES_WORTH_A_PROCESS
    for job, num_rejects in executor.run(stage, missing_parts(), progress.take_up, num_expected):
        done(job.part)
        progress.finish_job(rejects=num_rejects)
    return num_parts, left


def make_plan(config: RunConfig, sources: Sources, folder: Path, executor: Executor) -> PlanSummary:
    """Plan into `folder`, or go on with the plan that was begun there."""
    return finish_plan(config, sources, folder, measure(config, sources, folder, executor))


def measure(config: RunConfig, sources: Sources, folder: Path, executor: Executor) -> int:
    """Measure the parts that are not measured yet; the number of all parts."""
    with Progress("plan", sources.num_records) as progress:
        num_parts, _ = measure_parts(config, sources, folder, executor, progress)
    return num_parts


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
