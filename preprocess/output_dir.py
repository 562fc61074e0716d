"""The output folder of a run: whether it may be used, whose run it holds, and how one is removed."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from preprocess.config import RunConfig
from preprocess.errors import ConfigError, damaged
from preprocess.jobs.share import Share
from preprocess.media.row_groups import cost_line
from preprocess.plan.holding import Hold
from preprocess.plan.inputs import Sources, open_sources
from preprocess.plan.summary import PlanSummary
from preprocess.write.reuse import check_old_run
from shards.files.atomic import sync_folder
from shards.files.differences import Difference, differences
from shards.files.formats import SUFFIXES
from shards.files.names import (
    CERTIFICATE_NAME,
    CERTIFICATE_PAGE_NAME,
    INPUTS_NAME,
    LEDGER_NAME,
    MANIFEST_HASH_NAME,
    MANIFEST_NAME,
    MODEL_DIR,
    PLAN_DIR,
    PLAN_NAME,
)
from shards.files.text import shortened
from shards.formats.kinds import files_of_shard
from shards.formats.writer import TEMPORARY_DIR
from shards.inputs import read_inputs, write_inputs

_BEING_REMOVED = {"being_removed": True}  # the inputs of a run that is
_HASH = "_sha256"
_MOST_NAMED = 5  # sources, in a message
_BEGINNING = ".beginning-"  # first letters of folders that hold what a run begins with, or removes
_OWN_FOLDERS = (PLAN_DIR, MODEL_DIR, TEMPORARY_DIR)
_CERTIFICATES = (CERTIFICATE_NAME, CERTIFICATE_PAGE_NAME)
_OWN_NAMES = (*_OWN_FOLDERS, MANIFEST_NAME, MANIFEST_HASH_NAME, LEDGER_NAME, *_CERTIFICATES)


def prepare(config: RunConfig, share: Share, tell: Callable[[str], None] = lambda _: None) -> Sources:
    """Check everything that can be wrong before anything is written; then remove what `overwrite` allows, and take
    the folder: from now on it holds this run.

    Raises ConfigError, AnnotationError.
    """
    folder = config.output_dir
    sources = open_sources(config, share, tell)
    for name, paths in sources.paths.items():
        if paths[0].suffix == ".parquet" and (cost := cost_line(name, paths, config.media_cache_of_run)) is not None:
            tell(cost)
    if config.format == "mindrecord" and find_spec("mindspore") is None:
        raise ConfigError("--format mindrecord is written by MindSpore: pip install 'mindspore>=2.7,<2.8'")
    if config.reuse is not None:
        if config.reuse.resolve() == folder.resolve():
            raise ConfigError(f"--reuse {config.reuse} is output_dir itself; name another output_dir")
        check_old_run(config.reuse, config, sources.constants, sources.inputs["versions"])
    _refuse_odd_places(folder)
    before = _read_inputs(folder)
    if before is None and not _is_free(folder):
        raise ConfigError(f"output_dir {folder} is neither empty nor one of our runs; name another folder")
    if before == _BEING_REMOVED and not config.overwrite:
        raise ConfigError(
            f"output_dir {folder}: --overwrite was interrupted there; pass it again, or remove the folder"
        )
    inputs = run_inputs(config, sources)
    differing = list(differences(before, inputs)) if before is not None else []
    if differing and not config.overwrite:
        raise ConfigError(f"output_dir {folder} holds another run: {_differences_in_words(differing)}")
    if before is None or differing or finished_plan(config, sources) is None:
        sources.open_files()
    # A run that was requeued goes on, whatever its flags.
    if config.overwrite and (differing or (folder / MANIFEST_NAME).exists()):
        if share.of > 1:
            raise ConfigError(
                f"--overwrite of array jobs would remove what the others write; remove {folder}, then start the array"
            )
        if any(config.model.resolve().is_relative_to((folder / name).resolve()) for name in _OWN_FOLDERS):
            raise ConfigError(
                f"--overwrite would remove the model {config.model} too; name the folder it was copied from"
            )
    with beginning_in(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with _alone_in(folder):
            _take(folder, inputs, before, overwrite=config.overwrite)
    return sources


def _differences_in_words(differing: Sequence[Difference]) -> str:
    """What is another than it was, and what to do: hashes tell nobody anything, so sources are named instead."""
    sources = [name for name, old, new in differing if name.endswith(_HASH) and old is not None and new is not None]
    names = ", ".join(map(_source_named, sources[:_MOST_NAMED])) + (", ..." if len(sources) > _MOST_NAMED else "")
    plural = "s" if len(sources) > 1 else ""
    changes = [f"{len(sources)} source{plural} changed since the plan ({names})"] if sources else []
    gone_or_new = {f"locations.{name.removeprefix('datasets.')}" for name, *_ in differing}
    others = [each for each in differing if each.name not in gone_or_new.union(sources)]
    changes += [f"{name} was {_shown(old)}, is {_shown(new)}" for name, old, new in others]
    advice = "Name another folder, go back to that configuration, or pass --overwrite"
    return f"{'; '.join(changes)}. {advice if others else 'Pass --overwrite, or name a new folder'}"


def _source_named(name: str) -> str:
    """datasets.coco.annotations_sha256 -> annotations of coco"""
    *places, what = name.removesuffix(_HASH).split(".")
    return f"{what} of {'.'.join(places[1:])}" if len(places) > 1 else what


def _shown(value: Any) -> str:
    """A whole dataset, which was not there before, would be long, and has hashes."""
    if isinstance(value, dict):
        return "there"
    return "not there" if value is None else shortened(str(value), 100)


def _take(folder: Path, inputs: dict[str, Any], before: dict[str, Any] | None, *, overwrite: bool) -> None:
    """Make it the folder of the run with `inputs`, unless another run began since it held the run `before`.

    Raises ConfigError.
    """
    now = _read_inputs(folder)
    differing = now is not None and any(differences(now, inputs))
    if differing and now != before:
        raise _began_meanwhile(folder)
    removes = overwrite and now is not None and (differing or (folder / MANIFEST_NAME).exists())
    if removes:
        _remove_run(folder)
    begins = _begin(folder, inputs)
    if not begins and removes and _read_inputs(folder) is None:  # a process of the other run made its folders anew
        _put_away(folder, folder / PLAN_DIR)
        begins = _begin(folder, inputs)
    if not begins:
        found = _read_inputs(folder)
        if found is None or any(differences(found, inputs)):
            raise _began_meanwhile(folder)


def _began_meanwhile(folder: Path) -> ConfigError:
    return ConfigError(f"output_dir {folder}: another run began there at this moment; name another folder")


def _begin(folder: Path, inputs: dict[str, Any]) -> bool:
    """Whether the folder held no run, and holds this one now: a plan appears with its inputs in it, or not at all."""
    beginning = folder / f"{_BEGINNING}{uuid.uuid4().hex}"
    (beginning / PLAN_DIR).mkdir(parents=True)
    try:
        write_inputs(beginning, inputs)
        os.rename(beginning / PLAN_DIR, folder / PLAN_DIR)  # an empty folder is replaced, one with a run in it is not
        sync_folder(folder)
        return True
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    finally:
        shutil.rmtree(beginning, ignore_errors=True)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """One process at a time; on file systems without locks, comparing again has to do."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _refuse_odd_places(folder: Path) -> None:
    """Refuse a folder that lies in what a run removes, or in which our names are links. Raises ConfigError."""
    whole = folder.resolve()
    for inner in (whole, *whole.parents):
        if inner.name in _OWN_FOLDERS and (inner.parent / PLAN_DIR / INPUTS_NAME).exists():
            raise ConfigError(
                f"output_dir {folder} lies in the {inner.name}/ of another run, {inner.parent}; name another folder"
            )
    _refuse_links(folder, folder, lambda name: name in _OWN_NAMES or name.startswith("shard-"))
    _refuse_links(folder, folder / PLAN_DIR, lambda name: True)


def _refuse_links(folder: Path, parent: Path, is_ours: Callable[[str], bool]) -> None:
    """What a run reads, writes or removes by its name must be what is named, not what it points to."""
    if not parent.is_dir():
        return
    with os.scandir(parent) as entries:
        for entry in entries:
            if is_ours(entry.name) and not (
                entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False)
            ):
                what = "a link" if entry.is_symlink() else "neither a file nor a folder"
                raise ConfigError(
                    f"output_dir {folder}: {Path(entry.path).relative_to(folder)} is {what}, and a run keeps only "
                    "plain files and folders; put a plain one there, or name another folder"
                )


def run_inputs(config: RunConfig, sources: Sources) -> dict[str, Any]:
    """What a folder's run is recognised by: what determines its bytes, and what its plan knows of the media."""
    inputs = {**sources.inputs, "locations": sources.locations, "hash_media": config.hash_media}
    return json.loads(json.dumps(inputs))


def _read_inputs(folder: Path) -> dict[str, Any] | None:
    try:
        return read_inputs(folder)
    except ValueError as error:
        raise damaged(folder / PLAN_DIR / INPUTS_NAME, error) from None


def hold_of(config: RunConfig, sources: Sources) -> Hold:
    """The hold on the folder that `prepare` took."""
    return Hold(folder=config.output_dir, inputs=run_inputs(config, sources))


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
    """Whether nothing stands there, or only what starts at this moment, as another share of this run."""
    if not folder.exists():
        return True
    if not folder.is_dir():
        return False
    names = {entry.name for entry in folder.iterdir() if not entry.name.startswith(_BEGINNING)}
    plan = folder / PLAN_DIR
    return (plan / INPUTS_NAME).exists() or (names <= {PLAN_DIR} and not (plan.exists() and any(plan.iterdir())))


def _remove_run(folder: Path) -> None:
    """Shards, and our folders with all that is in them. What is left of an interrupted removal is neither a dataset nor
    an unfinished run, but known as ours.
    """
    write_inputs(folder, _BEING_REMOVED)
    remove_manifest(folder)
    (folder / LEDGER_NAME).unlink(missing_ok=True)
    for suffix in set(SUFFIXES.values()):
        for pattern in files_of_shard(f"shard-[0-9]*{suffix}"):
            for path in folder.glob(pattern):
                path.unlink()
    for abandoned in folder.glob(f"{_BEGINNING}*"):
        shutil.rmtree(abandoned)
    plan = folder / PLAN_DIR
    inner = sorted(plan.iterdir(), key=lambda path: path.name != PLAN_NAME)
    _put_away(folder, folder / MODEL_DIR, folder / TEMPORARY_DIR, *(path for path in inner if path.name != INPUTS_NAME))
    _put_away(folder, plan)


def _put_away(folder: Path, *paths: Path) -> None:
    """Remove what is ours in `folder`, each by one renaming: a folder emptied in place would be filled by a process
    that is still at work in it.
    """
    away = folder / f"{_BEGINNING}{uuid.uuid4().hex}"
    away.mkdir()
    for path in paths:
        with suppress(FileNotFoundError):
            os.rename(path, away / path.name)
    sync_folder(folder)
    shutil.rmtree(away, ignore_errors=True)  # what is open stays on some file systems; it is nobody's


def remove_manifest(folder: Path) -> None:
    for name in (MANIFEST_NAME, MANIFEST_HASH_NAME, *_CERTIFICATES):
        (folder / name).unlink(missing_ok=True)
