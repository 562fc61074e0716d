"""The batch job: plan, materialise every task, publish. Interrupted anywhere, the same command goes on from there."""

from __future__ import annotations

import errno
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from preprocess.config import RunConfig
from preprocess.errors import ConfigError
from preprocess.executor import Executor, ThisProcess, WorkerPool
from preprocess.ledger import LEDGER_NAME
from preprocess.materialise import ShardStage
from preprocess.plan import PlanSummary, Sources, finish_plan, measure_all, open_sources
from preprocess.plan_tables import PLAN_DIR
from preprocess.progress import Progress
from preprocess.ray_executor import RayExecutor
from preprocess.reuse import build_index, check_old_run
from shards import ModelConstants
from shards.formats import SUFFIXES, files_of_shard
from shards.manifest import MANIFEST_HASH_NAME, MANIFEST_NAME, MODEL_DIR, write_atomically
from shards.writer import TEMPORARY_DIR, is_finished

_INPUTS_NAME = "inputs.json"


@dataclass(frozen=True, kw_only=True)
class Share:
    """Which tasks this process does, of `of` equal shares; array jobs have one each."""

    index: int = 0
    of: int = 1

    def __contains__(self, number: int) -> bool:
        return number % self.of == self.index

    @classmethod
    def of_job(cls, task: str | None, environment: Mapping[str, str]) -> Share:
        """From `--task i/N`, else from the variables of a Slurm array job, else everything. Raises ConfigError."""
        if task is None and "SLURM_ARRAY_TASK_ID" in environment:
            first = int(environment.get("SLURM_ARRAY_TASK_MIN", 0))
            step = int(environment.get("SLURM_ARRAY_TASK_STEP", 1))
            index = (int(environment["SLURM_ARRAY_TASK_ID"]) - first) // step
            return cls(index=index, of=int(environment["SLURM_ARRAY_TASK_COUNT"]))
        if task is None:
            return cls()
        match = re.fullmatch(r"(\d+)/(\d+)", task)
        if match is None or int(match[1]) >= int(match[2]):
            raise ConfigError(f"--task {task}: say i/N with i from 0 to N - 1, for example 0/8 to 7/8")
        return cls(index=int(match[1]), of=int(match[2]))


def prepare(config: RunConfig) -> Sources:
    """Check everything that can be wrong before anything is written. Raises ConfigError, AnnotationError."""
    folder = config.output_dir
    sources = open_sources(config)
    if config.format == "mindrecord" and find_spec("mindspore") is None:
        raise ConfigError("--format mindrecord is written by MindSpore: pip install 'mindspore>=2.7,<2.8'")
    if config.reuse is not None:
        check_old_run(config.reuse, sources.constants, sources.inputs["versions"])
        if config.reuse.resolve() == folder.resolve():
            raise ConfigError(f"--reuse {config.reuse} is output_dir itself; name another output_dir")
    inputs_path = folder / PLAN_DIR / _INPUTS_NAME
    if not inputs_path.is_file():
        if not _is_free(folder):
            raise ConfigError(f"output_dir {folder} is neither empty nor one of our runs; name another folder")
        return sources
    if config.overwrite:
        with _beginning_in(folder):
            _remove_run(folder)
        return sources
    before = json.loads(inputs_path.read_text(encoding="utf-8"))
    if before != json.loads(json.dumps(sources.inputs)):
        raise ConfigError(
            f"output_dir {folder} holds another run: {'; '.join(_differences(before, sources.inputs))}. "
            "Name another folder, go back to that configuration, or pass --overwrite"
        )
    return sources


def plan_into_output(config: RunConfig, sources: Sources, executor: Executor, share: Share) -> PlanSummary:
    """The plan in `config.output_dir`: read where it is finished, made where it is not."""
    folder = config.output_dir / PLAN_DIR
    with _beginning_in(config.output_dir):
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / _INPUTS_NAME, json.dumps(sources.inputs, indent=1, sort_keys=True) + "\n")
    return PlanSummary.read(folder) or make_plan(config, sources, folder, executor, share)


def make_plan(
    config: RunConfig, sources: Sources, folder: Path, executor: Executor, share: Share = Share()
) -> PlanSummary:
    """Plan into `folder`, or go on with the plan that was begun there."""
    return finish_plan(config, sources, folder, measure(config, sources, folder, executor, share))


def measure(config: RunConfig, sources: Sources, folder: Path, executor: Executor, share: Share = Share()) -> int:
    """Measure the parts that are not measured yet, and return the number of all parts.

    A share measures its own parts first and then whatever is missing, so that it never waits for another share.
    """
    with Progress("plan", sources.num_records(config.seed)) as progress:
        measure_parts = partial(measure_all, config, sources, folder, executor, progress.take_up)
        if share.of > 1:
            measure_parts(lambda part: part in share)
        return measure_parts(lambda part: True)


def choose_executor(config: RunConfig) -> Executor:
    """One for all stages of a run, because starting processes takes as long as decoding some twenty photos."""
    if config.executor == "ray":
        return RayExecutor(config.sample_timeout)
    return WorkerPool(config.workers, config.sample_timeout) if config.workers else ThisProcess()


def materialise(
    config: RunConfig, plan: PlanSummary, constants: ModelConstants, executor: Executor, share: Share
) -> int:
    """Write the shards of this share that are not finished; return how many of other shares are not."""
    folder, all_tasks = config.output_dir, range(plan.num_shards)
    missing = [task for task in all_tasks if task in share and not is_finished(folder, task)]
    if config.reuse is not None and missing:
        build_index(config.reuse, folder / PLAN_DIR, constants, plan.inputs["versions"])
    with Progress("materialise", plan.totals.num_samples * len(missing) // max(plan.num_shards, 1)) as progress:
        for _, sidecar in executor.run(ShardStage(config=config), missing, progress.take_up):
            num_bytes = sidecar.shard.num_bytes if sidecar.shard else 0
            progress.finish_job(num_bytes=num_bytes, rejects=len(sidecar.rejects))
    return sum(not is_finished(folder, task) for task in all_tasks)


@contextmanager
def _beginning_in(folder: Path) -> Iterator[None]:
    """A folder that can't be written at all is a wrong one. Raises ConfigError; a full disk may have room later."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise ConfigError(f"output_dir {folder}: {error.strerror}; name another folder") from None


def _is_free(folder: Path) -> bool:
    """Whether nothing stands there, or only the plan of another share of this run, which starts at this moment."""
    if not folder.exists():
        return True
    if not folder.is_dir() or any(entry.name != PLAN_DIR or not entry.is_dir() for entry in folder.iterdir()):
        return False
    names = {entry.name for plan in folder.iterdir() for entry in plan.iterdir()}
    return _INPUTS_NAME in names or all(name.startswith(f".{_INPUTS_NAME}.") for name in names)


def _remove_run(folder: Path) -> None:
    """Nothing that we did not write. The manifest goes first, so that what is left is never taken for a dataset, the
    plan last, so that it is still known as ours.
    """
    for name in (MANIFEST_NAME, MANIFEST_HASH_NAME, LEDGER_NAME):
        (folder / name).unlink(missing_ok=True)
    for suffix in SUFFIXES.values():
        for pattern in files_of_shard(f"shard-[0-9]*{suffix}"):
            for path in folder.glob(pattern):
                path.unlink()
    for name in (MODEL_DIR, TEMPORARY_DIR, PLAN_DIR):
        shutil.rmtree(folder / name, ignore_errors=True)


def _differences(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Each value that differs, named by its path."""
    lines = []
    for key in sorted({*before, *now}):
        old, new = before.get(key), now.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            lines += _differences(old, new, f"{prefix}{key}.")
        elif old != new:
            lines.append(f"{prefix}{key} was {old}, is {new}")
    return lines
