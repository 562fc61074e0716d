"""Checkpoints: everything that a run needs to go on exactly, in a folder that is whole or absent.

    OUTPUT_DIR/checkpoint-500/
      config.json, tokenizer.json, model.safetensors, ...    a Hugging Face model folder
      optimizer.safetensors                                  the optimizer's arrays, float32
      trainer_state.json                                     where the run stood, and the hash of every file

A checkpoint is written as .checkpoint-500.partial and renamed when all of it is on disk; one is deleted after it was
renamed to .checkpoint-500.deleted. So whatever is called checkpoint-N was complete once, and what a crash leaves behind
is recognised and removed by the next run. Nothing here depends on MindSpore, and nothing is pickled.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from shards.files.atomic import sync_folder
from shards.files.hashing import sha256_of_own_file, sync_file
from train.checkpoints.trainer_state import StoredFile, TrainerState, read_state, write_state
from train.errors import DamagedCheckpoint
from train.weights.companions import STATE_NAME
from train.weights.writer import ALONE, Writer

OPTIMIZER_NAME = "optimizer.safetensors"
_NAME = re.compile(r"checkpoint-(\d+)")
_LEFT_BEHIND = re.compile(r"\.checkpoint-\d+\.(partial|deleted)")


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint whose files were all found as they were written."""

    folder: Path
    state: TrainerState


def write_checkpoint(
    output_dir: Path, state: TrainerState, write_contents: Callable[[Path], None], writer: Writer = ALONE
) -> Path:
    """Save output_dir/checkpoint-{state.step}; `write_contents(folder)` writes everything but the state.

    All ranks call this at once. Whatever goes wrong, no partial folder stays and earlier checkpoints are untouched; the
    error is the caller's.
    """
    final = output_dir / f"checkpoint-{state.step}"
    partial = output_dir / f".{final.name}.partial"
    try:
        writer.once(partial.mkdir)
        write_contents(partial)
        writer.once(lambda: _complete(partial, final, state))
    except BaseException:
        if writer.is_first:
            shutil.rmtree(partial, ignore_errors=True)
        raise
    return final


def _complete(partial: Path, final: Path, state: TrainerState) -> None:
    files = {path.name: _describe_and_sync(path) for path in sorted(partial.iterdir())}
    write_state(partial / STATE_NAME, state, files)
    if final.exists():  # a damaged one, which this run did not start from
        delete_checkpoint(final)
    partial.rename(final)
    sync_folder(final.parent)


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read the state and check every file against it. Raises DamagedCheckpoint naming the first that is wrong."""
    state, files = read_state(folder / STATE_NAME)
    if _NAME.fullmatch(folder.name) and step_of(folder) != state.step:
        raise DamagedCheckpoint(f"{folder / STATE_NAME} is that of step {state.step}; the folder was renamed, or mixed")
    for name, expected in files.items():
        path = folder / name
        try:
            num_bytes = path.stat().st_size
            intact = num_bytes == expected.num_bytes and sha256_of_own_file(path) == expected.sha256
        except OSError as error:
            raise DamagedCheckpoint(f"{path} can't be read ({error.strerror})") from None
        if not intact:
            raise DamagedCheckpoint(
                f"{path} is not what was saved ({num_bytes:,} bytes, {expected.num_bytes:,} were written)"
            )
    return Checkpoint(folder=folder, state=state)


def find_checkpoints(output_dir: Path) -> list[Path]:
    """Folders called checkpoint-N, the largest N first, valid or not."""
    if not output_dir.is_dir():
        return []
    found = [path for path in output_dir.iterdir() if _NAME.fullmatch(path.name) and path.is_dir()]
    return sorted(found, key=step_of, reverse=True)


def step_of(checkpoint: Path) -> int:
    match = _NAME.fullmatch(checkpoint.name)
    if match is None:
        raise ValueError(f"{checkpoint} is not called checkpoint-N")
    return int(match[1])


def delete_older(newest: Path, *, keep: int) -> list[Path]:
    """Delete all but `keep` checkpoints beside `newest`, itself included, the oldest; returns what was deleted."""
    older = [path for path in find_checkpoints(newest.parent) if step_of(path) < step_of(newest)]
    for path in older[keep - 1 :]:
        delete_checkpoint(path)
    return older[keep - 1 :]


def delete_checkpoint(folder: Path) -> None:
    """Rename, then delete: a crash in between leaves nothing that looks like a checkpoint."""
    renamed = folder.with_name(f".{folder.name}.deleted")
    folder.rename(renamed)
    sync_folder(folder.parent)
    shutil.rmtree(renamed)


def remove_left_behind(output_dir: Path) -> None:
    """Remove what a crash while saving or deleting left."""
    for path in output_dir.iterdir():
        if _LEFT_BEHIND.fullmatch(path.name):
            shutil.rmtree(path)


def _describe_and_sync(path: Path) -> StoredFile:
    described = StoredFile(num_bytes=path.stat().st_size, sha256=sha256_of_own_file(path))
    sync_file(path)  # last: it leaves nothing in memory to read again
    return described
