"""The output folder of a run: whether it may be used, whose run it holds, and how one is removed."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from preprocess.config import RunConfig
from preprocess.errors import ConfigError, damaged
from preprocess.jobs.share import Share
from preprocess.plan.inputs import Sources, open_sources
from preprocess.plan.summary import PlanSummary
from preprocess.write.reuse import check_old_run
from shards.files.differences import differences
from shards.files.names import (
    INPUTS_NAME,
    LEDGER_NAME,
    MANIFEST_HASH_NAME,
    MANIFEST_NAME,
    MODEL_DIR,
    PLAN_DIR,
    PLAN_NAME,
)
from shards.formats.kinds import SUFFIXES, files_of_shard
from shards.formats.writer import TEMPORARY_DIR
from shards.inputs import read_inputs, write_inputs

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
    differing = list(differences(before, run_inputs(config, sources))) if before is not None else []
    if differing and not config.overwrite:
        changes = (f"{name} was {old}, is {new}" for name, old, new in differing)
        raise ConfigError(
            f"output_dir {folder} holds another run: {'; '.join(changes)}. "
            "Name another folder, go back to that configuration, or pass --overwrite"
        )
    if before is None or differing or finished_plan(config, sources) is None:
        sources.open_files()
    # A run that was requeued goes on, whatever its flags.
    if config.overwrite and (differing or (folder / MANIFEST_NAME).exists()):
        if share.of > 1:
            raise ConfigError(
                f"--overwrite of array jobs would remove what the others write; remove {folder}, then start the array"
            )
        if config.model.resolve() == (folder / MODEL_DIR).resolve():
            raise ConfigError(
                f"--overwrite would remove the model {config.model} too; name the folder it was copied from"
            )
        with beginning_in(folder):
            _remove_run(folder)
    return sources


def run_inputs(config: RunConfig, sources: Sources) -> dict[str, Any]:
    """What a folder's run is recognised by: what determines its bytes, and what its plan knows of the media."""
    inputs = {**sources.inputs, "locations": sources.locations, "hash_media": config.hash_media}
    return json.loads(json.dumps(inputs))


def _read_inputs(folder: Path) -> dict[str, Any] | None:
    try:
        return read_inputs(folder)
    except ValueError as error:
        raise damaged(folder / PLAN_DIR / INPUTS_NAME, error) from None


def finished_plan(config: RunConfig, sources: Sources) -> PlanSummary | None:
    plan = PlanSummary.read(config.output_dir / PLAN_DIR)
    return plan if plan is not None and plan.fingerprint == sources.plan_fingerprint else None


@contextmanager
def beginning_in(folder: Path) -> Iterator[None]:
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
    write_inputs(folder, _BEING_REMOVED)
    remove_manifest(folder)
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


def remove_manifest(folder: Path) -> None:
    for name in (MANIFEST_NAME, MANIFEST_HASH_NAME):
        (folder / name).unlink(missing_ok=True)
