"""Publish: gather the sidecars of all shards into the manifest, which is written last."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from preprocess.config import RunConfig
from preprocess.errors import FatalError
from preprocess.ledger import (
    LOST_NAME,
    Reject,
    count_by_dataset,
    read_ledger,
    with_places,
    write_ledger,
    write_plan_ledger,
)
from preprocess.plan.holding import Hold
from preprocess.plan.summary import PlanSummary
from preprocess.timing import Timing, slowest_of_all, write_slowest
from preprocess.write.notes import write_decoding_notes
from shards import DatasetSummary, Manifest, ModelConstants, PackCounts, PackMaxima, write_manifest
from shards.files.atomic import write_atomically
from shards.files.names import LEDGER_NAME, MODEL_DIR, PLAN_DIR, TOKENIZER_NAME
from shards.formats.writer import read_sidecar, remove_workspaces, sidecar_path
from shards.model_folder import model_files, read_tokenizer


@dataclass(frozen=True, kw_only=True)
class Published:
    manifest: Manifest
    lost: PackCounts  # planned, but rejected while decoding; uses of repeated samples count each time
    num_media: int = 0  # written; uses of repeated samples count each time
    num_reused: int = 0  # of them, copied from an earlier run
    notes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # by dataset: what was counted while decoding


def publish(
    config: RunConfig, plan: PlanSummary, constants: ModelConstants, hold: Hold | None = None
) -> Published | None:
    """Write the ledger, the model files and the manifest. None, and no manifest, where no sample was left.

    Raises FatalError where the folder is not `hold`'s any more, or holds what another run wrote.
    """
    folder, fingerprint = config.output_dir, plan.run_fingerprint(config.shard_format)
    remove_workspaces(folder, fingerprint)  # all shards are finished: nobody needs what is there
    datasets = {name: number for number, name in enumerate(plan.datasets)}
    rejects: list[Reject] = []  # of the shards; those of the plan may be many more
    counts = {name: PackCounts() for name in plan.datasets}
    maxima, shards, num_media, num_reused = PackMaxima(), [], 0, 0
    slowest: list[Timing] = []
    notes: dict[str, Counter[str]] = {}
    for index in range(plan.num_shards):
        sidecar = read_sidecar(folder, index)
        if sidecar is None or sidecar.fingerprint != fingerprint:
            raise FatalError(
                f"{sidecar_path(folder, index)} is missing, damaged or of another run, though it was whole a moment "
                "ago; run the same command again, and no other in that folder"
            )
        for name, more in sidecar.datasets.items():
            counts[name] += more
        maxima = maxima.merge(sidecar.maxima)
        num_media += sidecar.num_media
        num_reused += sidecar.num_reused
        for name, counted in sidecar.notes.items():
            notes.setdefault(name, Counter()).update(counted)
        shards += [sidecar.shard] if sidecar.shard else []
        try:
            slowest = slowest_of_all([*slowest, *map(Timing.from_json, sidecar.slowest)])
            rejects += map(Reject.from_json, sidecar.rejects)
        except ValueError as error:
            path = sidecar_path(folder, index)
            raise FatalError(f"{path} is damaged ({error}); remove it, and run the same command again") from None
    check_hold: Callable[[], None] = (lambda: None) if hold is None else hold.check
    check_hold()
    rejects = list(with_places(_one_a_sample(rejects, datasets), plan.files))
    if rejects:
        write_plan_ledger(folder / PLAN_DIR / LOST_NAME, rejects)
    ledger = folder / LEDGER_NAME
    planned = _planned_rejects(folder / PLAN_DIR / LEDGER_NAME, plan)
    write_ledger(ledger, heapq.merge(planned, rejects, key=partial(_place, datasets)))
    if not shards:
        return None
    write_slowest(folder / PLAN_DIR, slowest)
    write_decoding_notes(folder / PLAN_DIR, notes)
    by_dataset = count_by_dataset(read_ledger(ledger))
    totals = sum(counts.values(), PackCounts())
    manifest = Manifest(
        format=config.shard_format,
        fingerprint=fingerprint,
        inputs=plan.run_inputs(config.shard_format),
        model=constants,
        pack_length=plan.pack_length,
        pack_patches=plan.pack_patches,
        maxima=maxima,
        totals=totals,
        datasets={name: DatasetSummary(counts=counts[name], rejects=by_dataset.get(name, {})) for name in counts},
        shards=tuple(shards),
    )
    _copy_model_files(config.model, folder / MODEL_DIR)
    check_hold()
    write_manifest(folder, manifest)
    check_hold()
    return Published(
        manifest=manifest, lost=plan.totals - totals, num_media=num_media, num_reused=num_reused, notes=notes
    )


def _planned_rejects(path: Path, plan: PlanSummary) -> Iterator[Reject]:
    """Those of the plan, in the order of the annotations. Raises FatalError where some are missing."""
    num_read = 0
    for reject in read_ledger(path):
        yield reject
        num_read += 1
    if num_read != plan.num_rejects:
        raise FatalError(
            f"{path} lists {num_read:,} rejects, the plan has {plan.num_rejects:,}: the file was changed; remove "
            f"{path.parent.parent} and run again"
        )


def _one_a_sample(of_shards: Iterable[Reject], datasets: Mapping[str, int]) -> list[Reject]:
    """One entry a sample, though each use of a repeated sample fails; in the order of the annotations."""
    unique = {_place(datasets, reject): reject for reject in of_shards}
    return [unique[place] for place in sorted(unique)]


def _place(datasets: Mapping[str, int], reject: Reject) -> tuple[int, int, int]:
    """What the order of the annotations goes by; `datasets` gives the number of each."""
    return datasets[reject.dataset], reject.index, -1 if reject.member is None else reject.member


def _copy_model_files(model: Path, target: Path) -> None:
    target.mkdir(exist_ok=True)
    for name in model_files(model):
        content = read_tokenizer(model) if name == TOKENIZER_NAME else (model / name).read_bytes()
        write_atomically(target / name, content)
