"""Publish: gather the sidecars of all shards into the manifest, which is written last."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from preprocess.config import RunConfig
from preprocess.ledger import LEDGER_NAME, Reject, count_by_dataset, read_ledger, write_ledger
from preprocess.plan import PlanSummary
from preprocess.plan_tables import PLAN_DIR
from preprocess.timing import fold_slowest
from shards import DatasetSummary, Manifest, ModelConstants, PackCounts, PackMaxima, write_manifest
from shards.manifest import MODEL_DIR, MODEL_FILES
from shards.writer import TEMPORARY_DIR, read_sidecar


@dataclass(frozen=True, kw_only=True)
class Published:
    manifest: Manifest
    lost: PackCounts  # planned, but rejected while decoding; uses of repeated samples count each time
    num_media: int = 0  # written; uses of repeated samples count each time
    num_reused: int = 0  # of them, copied from an earlier run


def publish(config: RunConfig, plan: PlanSummary, constants: ModelConstants) -> Published | None:
    """Write the ledger, the model files and the manifest. None, and no manifest, where no sample was left."""
    folder = config.output_dir
    shutil.rmtree(folder / TEMPORARY_DIR, ignore_errors=True)
    rejects = list(read_ledger(folder / PLAN_DIR / LEDGER_NAME))
    counts = {name: PackCounts() for name in plan.datasets}
    maxima, shards, num_media, num_reused = PackMaxima(), [], 0, 0
    for task in range(plan.num_shards):
        sidecar = read_sidecar(folder, task)
        assert sidecar is not None, f"shard {task} has no sidecar"
        for name, more in sidecar.datasets.items():
            counts[name] += more
        maxima = maxima.merge(sidecar.maxima)
        num_media += sidecar.num_media
        num_reused += sidecar.num_reused
        shards += [sidecar.shard] if sidecar.shard else []
        rejects += map(Reject.from_json, sidecar.rejects)
    rejects = _once_each(rejects, list(plan.datasets))
    write_ledger(folder / LEDGER_NAME, rejects)
    if not shards:
        return None
    fold_slowest(folder / PLAN_DIR)
    by_dataset = count_by_dataset(rejects)
    totals = sum(counts.values(), PackCounts())
    manifest = Manifest(
        format=config.format,
        fingerprint=plan.fingerprint,
        inputs=plan.inputs,
        model=constants,
        pack_length=plan.pack_length,
        pack_patches=plan.pack_patches,
        maxima=maxima,
        totals=totals,
        datasets={name: DatasetSummary(counts=counts[name], rejects=by_dataset.get(name, {})) for name in counts},
        shards=tuple(shards),
    )
    _copy_model_files(config.model, folder / MODEL_DIR)
    write_manifest(folder, manifest)
    return Published(manifest=manifest, lost=plan.totals - totals, num_media=num_media, num_reused=num_reused)


def _once_each(rejects: list[Reject], datasets: list[str]) -> list[Reject]:
    """One entry a sample, though each use of a repeated sample fails; in the order of the annotations."""
    unique = {(datasets.index(r.dataset), r.index, -1 if r.member is None else r.member): r for r in rejects}
    return [unique[key] for key in sorted(unique)]


def _copy_model_files(model: Path, target: Path) -> None:
    target.mkdir(exist_ok=True)
    for name in MODEL_FILES:
        shutil.copyfile(model / name, target / name)
