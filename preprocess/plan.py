"""Plan: measure every sample by headers and text, reject what can't be used, pack the rest, cut packs into shards.

No pixel is decoded. The plan is a pure function of configuration and data; `run` writes what it says.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import av
import decord
import numpy as np
import PIL
from tqdm import tqdm

import preprocess
from preprocess.annotations import AnnotationFile, open_annotations
from preprocess.config import RunConfig
from preprocess.encode import SampleEncoder
from preprocess.errors import AnnotationError, Reason, SampleError
from preprocess.ledger import LEDGER_NAME, Reject, count_by_dataset, write_ledger
from preprocess.packing import choose_patch_capacity, pack_units, shuffle_packs
from preprocess.plan_tables import SamplesWriter, write_packs, write_tasks
from preprocess.records import ignored_keys, parse_record, split_members
from preprocess.registry import DatasetUse, choose_datasets, read_registry
from preprocess.sample import MeasuredSample
from shards import ModelConstants, PackCounts

_TOKEN_BYTES = 20  # input_ids, labels and three rows of positions, int32 each


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
    def read(cls, folder: Path) -> PlanSummary:
        record = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
        record["datasets"] = {name: PackCounts(**counts) for name, counts in record["datasets"].items()}
        return cls(**record)

    def write(self, folder: Path) -> None:
        (folder / "plan.json").write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class Sources:
    """Everything outside of the configuration that a plan reads, opened and checked before anything is written."""

    uses: tuple[DatasetUse, ...]
    files: tuple[AnnotationFile, ...]
    encoder: SampleEncoder
    inputs: Mapping[str, Any]  # what determines the output, for the fingerprint

    @property
    def constants(self) -> ModelConstants:
        return self.encoder.constants


def open_sources(config: RunConfig) -> Sources:
    """Raises ConfigError, AnnotationError or shards.ModelFolderError; touches nothing."""
    encoder = SampleEncoder.load(config.model, config)
    uses = choose_datasets(read_registry(config.datasets), config.dataset_use)
    files = tuple(open_annotations(use.dataset.annotation_path) for use in uses)
    inputs = {
        "config": config.determining(),
        "datasets": {
            use.dataset.name: {
                "annotations_sha256": _sha256(use.dataset.annotation_path),
                "follow_links": use.dataset.follow_links,
            }
            for use in uses
        },
        "model": encoder.constants.to_json(),
        "tokenizer_sha256": _sha256(config.model / "tokenizer.json"),
        "versions": {
            "pillow": PIL.__version__,
            "decord": decord.__version__,
            "av": av.__version__,
            "preprocess": preprocess.__version__,
        },
    }
    return Sources(uses, files, encoder, inputs)


def make_plan(config: RunConfig, sources: Sources, folder: Path) -> PlanSummary:
    """Write the plan into the existing `folder`."""
    items = _Items(sources.constants)
    rejects: list[Reject] = []
    ignored: Counter[str] = Counter()
    counts: dict[str, PackCounts] = {use.dataset.name: PackCounts() for use in sources.uses}
    with SamplesWriter(folder / "samples.arrow", list(counts)) as writer:
        for use, file in zip(sources.uses, sources.files, strict=True):
            for index, record, copies in _chosen_records(use, file, config.seed):
                members, lost = _measure_record(record, use, index, sources.encoder, ignored)
                members, oversize = _keep_what_fits(members, config)
                rejects += lost + oversize
                for measured in members:
                    writer.append(measured, copies)
                    counts[use.dataset.name] += measured.counts * copies
                items.append(members, copies)
    write_ledger(folder / LEDGER_NAME, rejects)
    packed = _pack_and_cut(items, config, sources.constants, folder)
    summary = PlanSummary(
        fingerprint=fingerprint(sources.inputs),
        inputs=sources.inputs,
        datasets=counts,
        rejects=count_by_dataset(rejects),
        num_records=items.num_samples + len(rejects),
        ignored_keys=dict(sorted(ignored.items())),
        pack_length=config.pack_length,
        **asdict(packed),
    )
    summary.write(folder)
    return summary


def fingerprint(inputs: Mapping[str, Any]) -> str:
    """sha256 of everything that determines the bytes of the output."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def _chosen_records(use: DatasetUse, file: AnnotationFile, seed: int) -> Iterator[tuple[int, Any, int]]:
    """(index, raw record, copies) of the records that `dataset_use` takes."""
    copies = use.copies(len(file), seed)
    records = tqdm(file, desc=f"plan {use.dataset.name}", total=len(file), unit="rec", disable=None, leave=False)
    num_read = 0
    for index, record in enumerate(records):
        num_read += 1
        if num_read > len(copies):
            break
        if copies[index]:
            yield index, record, int(copies[index])
    if num_read != len(copies):
        raise AnnotationError(f"{use.dataset.annotation_path} changed while it was read; run again")


def _measure_record(
    record: Any, use: DatasetUse, index: int, encoder: SampleEncoder, ignored: Counter[str]
) -> tuple[list[MeasuredSample], list[Reject]]:
    """The usable members of a record (one, unless it is a ready-made pack), and the rejected ones."""
    measured, rejects = [], []
    members = list(split_members(record))
    if not members:
        error = SampleError(Reason.NO_TURNS, "a ready-made pack without samples")
        return [], [Reject.of(use.dataset.name, index, None, error)]
    for member, raw in members:
        try:
            sample = parse_record(raw, use.dataset, index, member)
            ignored.update(ignored_keys(raw))
            measured.append(encoder.measure(sample))
        except SampleError as error:
            rejects.append(Reject.of(use.dataset.name, index, member, error))
    return measured, rejects


def _keep_what_fits(members: list[MeasuredSample], config: RunConfig) -> tuple[list[MeasuredSample], list[Reject]]:
    """A single sample over capacity is rejected; so is a whole ready-made pack, where its samples stay together."""
    kept: list[MeasuredSample] = []
    rejects: list[Reject] = []
    for unit in [[member] for member in members] if config.packing == "none" else [members]:
        error = _over_capacity(unit, config)
        if error is None:
            kept += unit
        else:
            samples = [member.sample for member in unit]
            rejects += [Reject.of(sample.dataset, sample.index, sample.member, error) for sample in samples]
    return kept, rejects


def _over_capacity(unit: list[MeasuredSample], config: RunConfig) -> SampleError | None:
    tokens = sum(member.num_tokens for member in unit)
    patches = sum(member.num_image_patches + member.num_video_patches for member in unit)
    together = f"{len(unit)} samples of a ready-made pack have " if len(unit) > 1 else ""
    if tokens > config.pack_length:
        detail = f"{together}{tokens} tokens, pack_length is {config.pack_length}; raise it, or lower the pixel limits"
        return SampleError(Reason.TOO_LONG, detail)
    if config.patch_capacity is not None and patches > config.patch_capacity:
        detail = f"{together}{patches} patches, pack_patches is {config.patch_capacity}; raise it, or lower max_pixels"
        return SampleError(Reason.TOO_MANY_PATCHES, detail)
    return None


class _Items:
    """Uses of samples, in columns: row in samples.arrow, repeat, unit (what packing may not tear apart), sizes."""

    def __init__(self, constants: ModelConstants) -> None:
        self.num_samples = 0
        self._constants = constants
        self._num_units = 0
        self._columns = {name: array("q") for name in ("row", "repeat", "unit", "tokens", "patches", "bytes")}

    def append(self, members: list[MeasuredSample], copies: int) -> None:
        if not members:
            return
        for repeat in range(copies):
            for offset, member in enumerate(members):
                patches = member.num_image_patches + member.num_video_patches
                num_bytes = (
                    member.num_tokens * _TOKEN_BYTES
                    + member.num_image_patches * self._constants.image_patch_bytes
                    + member.num_video_patches * self._constants.video_patch_bytes
                )
                values = (self.num_samples + offset, repeat, self._num_units, member.num_tokens, patches, num_bytes)
                for column, value in zip(self._columns.values(), values, strict=True):
                    column.append(value)
            self._num_units += 1
        self.num_samples += len(members)

    def column(self, name: str) -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.frombuffer(self._columns[name], np.int64)


@dataclass(frozen=True, kw_only=True)
class _Packed:
    num_packs: int
    num_shards: int
    num_bytes: int  # of all shards, about
    pack_patches: int
    largest_unit_patches: int


def _pack_and_cut(items: _Items, config: RunConfig, constants: ModelConstants, folder: Path) -> _Packed:
    """Write packs.arrow and tasks.arrow."""
    tokens, patches, num_bytes = items.column("tokens"), items.column("patches"), items.column("bytes")
    unit = items.column("unit") if config.packing == "global" else np.arange(len(tokens))
    unit_tokens = np.bincount(unit, tokens).astype(np.int64)
    unit_patches = np.bincount(unit, patches).astype(np.int64)
    largest = int(unit_patches.max(initial=0))
    if config.packing == "none":
        pack_patches = config.patch_capacity or largest
        pack_of_unit = unit
    else:
        pack_patches = config.patch_capacity or choose_patch_capacity(
            unit_tokens, unit_patches, config.pack_length, constants.merge_size**2
        )
        pack_of_unit = pack_units(unit_tokens, unit_patches, config.pack_length, pack_patches)
    pack_of_item = shuffle_packs(pack_of_unit, config.seed)[unit]
    packs = write_packs(
        folder / "packs.arrow", pack_of_item, items.column("row"), items.column("repeat"), tokens, patches
    )
    tasks = write_tasks(folder / "tasks.arrow", np.bincount(pack_of_item, num_bytes), config.shard_bytes)
    return _Packed(
        num_packs=len(packs),
        num_shards=len(tasks),
        num_bytes=int(num_bytes.sum()),
        pack_patches=pack_patches,
        largest_unit_patches=largest,
    )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
