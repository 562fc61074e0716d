"""The batch job: plan, materialise every task, publish. Interrupted anywhere, the same command goes on from there."""

from __future__ import annotations

import errno
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from preprocess.config import RunConfig
from preprocess.errors import ConfigError
from preprocess.executor import Executor, ThisProcess, WorkerPool
from preprocess.ledger import LEDGER_NAME
from preprocess.materialise import ShardStage
from preprocess.measure import is_measured
from preprocess.plan import PLAN_NAME, PlanSummary, Sources, finish_plan, make_plan, measure_parts, open_sources
from preprocess.plan_tables import CLAIMS_DIR, INPUTS_NAME, PLAN_DIR, damaged
from preprocess.progress import Progress
from preprocess.ray_executor import RayExecutor
from preprocess.reuse import build_index, check_old_run
from preprocess.share import Claims, Share
from shards.formats import SUFFIXES, files_of_shard
from shards.manifest import MANIFEST_HASH_NAME, MANIFEST_NAME, MODEL_DIR, write_atomically
from shards.writer import TEMPORARY_DIR, is_finished, remove_abandoned

_POLL_SECONDS = 5.0  # between looks at what other jobs are at
_BEING_REMOVED = {"being_removed": True}  # the inputs of a run that is


def prepare(config: RunConfig, share: Share) -> Sources:
    """Check everything that can be wrong before anything is written; then remove what `overwrite` allows.

    Raises ConfigError, AnnotationError.
    """
    folder = config.output_dir
    sources = open_sources(config)
    if config.format == "mindrecord" and find_spec("mindspore") is None:
        raise ConfigError("--format mindrecord is written by MindSpore: pip install 'mindspore>=2.7,<2.8'")
    if config.reuse is not None:
        if config.reuse.resolve() == folder.resolve():
            raise ConfigError(f"--reuse {config.reuse} is output_dir itself; name another output_dir")
        check_old_run(config.reuse, sources.constants, sources.inputs["versions"])
    before = _read_inputs(folder)
    if before is None and not _is_free(folder):
        raise ConfigError(f"output_dir {folder} is neither empty nor one of our runs; name another folder")
    if before == _BEING_REMOVED and not config.overwrite:
        raise ConfigError(
            f"output_dir {folder}: --overwrite was interrupted there; pass it again, or remove the folder"
        )
    differences = _differences(before, _inputs(config, sources)) if before is not None else []
    if differences and not config.overwrite:
        raise ConfigError(
            f"output_dir {folder} holds another run: {'; '.join(differences)}. "
            "Name another folder, go back to that configuration, or pass --overwrite"
        )
    if before is None or differences or _finished_plan(config, sources) is None:
        sources.open_files()
    # A run that was requeued goes on, whatever its flags.
    if config.overwrite and (differences or (folder / MANIFEST_NAME).exists()):
        if share.of > 1:
            raise ConfigError(
                f"--overwrite of array jobs would remove what the others write; remove {folder}, then start the array"
            )
        if config.model.resolve() == (folder / MODEL_DIR).resolve():
            raise ConfigError(
                f"--overwrite would remove the model {config.model} too; name the folder it was copied from"
            )
        with _beginning_in(folder):
            _remove_run(folder)
    return sources


def _inputs(config: RunConfig, sources: Sources) -> dict[str, Any]:
    """What a folder's run is recognised by: what determines its bytes, and what its plan knows of the media."""
    inputs = {**sources.inputs, "locations": sources.locations, "hash_media": config.hash_media}
    return json.loads(json.dumps(inputs))


def _read_inputs(folder: Path) -> dict[str, Any] | None:
    try:
        return json.loads((folder / PLAN_DIR / INPUTS_NAME).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise damaged(folder / PLAN_DIR / INPUTS_NAME, error) from None


def _finished_plan(config: RunConfig, sources: Sources) -> PlanSummary | None:
    plan = PlanSummary.read(config.output_dir / PLAN_DIR)
    return plan if plan is not None and plan.fingerprint == sources.fingerprint else None


def plan_into_output(config: RunConfig, sources: Sources, executor: Executor, share: Share) -> PlanSummary:
    """The plan in `config.output_dir`: read where it is finished, made where it is not."""
    folder = config.output_dir / PLAN_DIR
    with _beginning_in(config.output_dir):
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / INPUTS_NAME, json.dumps(_inputs(config, sources), indent=1, sort_keys=True) + "\n")
    if (plan := _finished_plan(config, sources)) is not None:
        return plan
    if share.of == 1:
        return make_plan(config, sources, folder, executor)
    with Claims(folder / CLAIMS_DIR, share) as claims:
        num_parts = _measure_with_others(config, sources, executor, share, claims)
        while not claims.take("plan"):
            time.sleep(_POLL_SECONDS)
            if (plan := _finished_plan(config, sources)) is not None:
                return plan
        return _finished_plan(config, sources) or finish_plan(config, sources, folder, num_parts)


def _measure_with_others(config: RunConfig, sources: Sources, executor: Executor, share: Share, claims: Claims) -> int:
    """Measure together with other jobs: the parts of this share, then whatever no other job is at; the number of parts.

    Each pass reads the annotations once.
    """
    folder = config.output_dir / PLAN_DIR

    def claim(part: int) -> str:
        return f"part-{part:06d}"

    def measure_those(stage: str, wanted: Callable[[int], bool]) -> tuple[int, list[int]]:
        def take(part: int) -> bool:
            return wanted(part) and claims.take(claim(part))

        def done(part: int) -> None:
            claims.release(claim(part))

        with Progress(stage, sources.num_records) as progress:
            return measure_parts(config, sources, folder, executor, progress, take, done)

    measure_those(f"plan, share {share}", lambda part: part in share)
    while True:
        num_parts, left = measure_those("plan, other shares", lambda part: True)
        while left and not any(claims.is_free(claim(part)) for part in left):
            print(f"plan: waiting for {len(left)} parts that other jobs are measuring", file=sys.stderr, flush=True)
            time.sleep(_POLL_SECONDS)
            left = [part for part in left if not is_measured(folder, part, sources.fingerprint)]
        if not left:
            return num_parts


def choose_executor(config: RunConfig) -> Executor:
    """One for all stages of a run, because starting processes takes long."""
    if config.executor == "ray":
        return RayExecutor(config.sample_timeout)
    return WorkerPool(config.workers, config.sample_timeout) if config.workers else ThisProcess()


def materialise(config: RunConfig, plan: PlanSummary, executor: Executor, share: Share) -> int:
    """Write the shards of this share that are not finished; return how many of other shares are not."""
    folder, all_tasks = config.output_dir, range(plan.num_shards)
    missing = [task for task in all_tasks if task in share and not is_finished(folder, task, plan.fingerprint)]
    if missing:
        _remove_manifest(folder)  # what is written now may differ from it: another decoder may crash
        remove_abandoned(folder)
        if config.reuse is not None:
            build_index(config.reuse, folder / PLAN_DIR)
    with Progress("materialise", plan.totals.num_samples * len(missing) // max(plan.num_shards, 1)) as progress:
        for _, sidecar in executor.run(ShardStage(config=config), missing, progress.take_up):
            num_bytes = sidecar.shard.num_bytes if sidecar.shard else 0
            progress.finish_job(num_bytes=num_bytes, rejects=len(sidecar.rejects))
    return sum(not is_finished(folder, task, plan.fingerprint) for task in all_tasks if task not in share)


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
    return INPUTS_NAME in names or all(name.startswith(f".{INPUTS_NAME}.") for name in names)


def _remove_run(folder: Path) -> None:
    """Shards, and our folders with all that is in them. What is left of an interrupted removal is neither a dataset nor
    an unfinished run, but known as ours.
    """
    write_atomically(folder / PLAN_DIR / INPUTS_NAME, json.dumps(_BEING_REMOVED))
    _remove_manifest(folder)
    (folder / LEDGER_NAME).unlink(missing_ok=True)
    for suffix in SUFFIXES.values():
        for pattern in files_of_shard(f"shard-[0-9]*{suffix}"):
            for path in folder.glob(pattern):
                path.unlink()
    for path in (folder / MODEL_DIR, folder / TEMPORARY_DIR):
        if path.exists():
            shutil.rmtree(path)
    plan = folder / PLAN_DIR
    for path in sorted(plan.iterdir(), key=lambda path: (path.name != PLAN_NAME, path.name == INPUTS_NAME)):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    plan.rmdir()


def _remove_manifest(folder: Path) -> None:
    for name in (MANIFEST_NAME, MANIFEST_HASH_NAME):
        (folder / name).unlink(missing_ok=True)


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
