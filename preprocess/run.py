"""The batch job: plan, materialise every task, publish."""

from __future__ import annotations

import multiprocessing
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from tqdm import tqdm

from preprocess.config import EncodingConfig, RunConfig
from preprocess.encode import SampleEncoder
from preprocess.errors import ConfigError
from preprocess.materialise import Materialiser
from preprocess.plan import PlanSummary, Sources, make_plan, open_sources
from preprocess.plan_tables import PLAN_DIR
from preprocess.publish import Published, publish
from shards.writer import TEMPORARY_DIR


def prepare(config: RunConfig) -> Sources:
    """Check everything that can be wrong before anything is written. Raises ConfigError, AnnotationError."""
    folder = config.output_dir
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        what = "holds another run" if (folder / PLAN_DIR).exists() else "is not an empty folder"
        raise ConfigError(f"output_dir {folder} {what}; name another folder, or remove it first")
    return open_sources(config)


def run(config: RunConfig, sources: Sources, plan: PlanSummary) -> Published | None:
    """Materialise and publish a plan that stands in `config.output_dir`. None where no sample was left."""
    tasks = range(plan.num_shards)
    with tqdm(total=plan.num_packs, desc="materialise", unit="pack", disable=None, leave=False) as progress:
        for num_packs in _materialise(config, tasks):
            progress.update(num_packs)
    shutil.rmtree(config.output_dir / TEMPORARY_DIR, ignore_errors=True)
    return publish(config, plan, sources.constants)


def plan_into_output(config: RunConfig, sources: Sources) -> PlanSummary:
    folder = config.output_dir / PLAN_DIR
    folder.mkdir(parents=True)
    return make_plan(config, sources, folder)


def _materialise(config: RunConfig, tasks: range) -> Iterator[int]:
    """Run every task on `workers` processes; yields the packs of each as it ends."""
    if config.workers == 1 or len(tasks) < 2:
        materialiser = Materialiser(config.output_dir, SampleEncoder.load(config.model, config))
        for task in tasks:
            yield _num_packs(materialiser, task)
        return
    with ProcessPoolExecutor(
        min(config.workers, len(tasks)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(config.output_dir, config.model, config),
    ) as pool:
        for future in as_completed([pool.submit(_run_in_worker, task) for task in tasks]):
            yield future.result()


_materialiser: Materialiser | None = None


def _start_worker(output_dir: Path, model: Path, config: EncodingConfig) -> None:
    global _materialiser
    _materialiser = Materialiser(output_dir, SampleEncoder.load(model, config))


def _run_in_worker(task: int) -> int:
    assert _materialiser is not None
    return _num_packs(_materialiser, task)


def _num_packs(materialiser: Materialiser, task: int) -> int:
    shard = materialiser.run_task(task).shard
    return shard.num_packs if shard else 0
