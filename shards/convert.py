"""Convert a dataset to another file format, compressed or not: the same rows, dtypes and bytes, shard by shard.

What comes out is the folder that preprocessing with that format would have written, plan included, so that it can be
reported on, resumed and reused, and so that converting back gives the original, byte for byte. Interrupted, the same
call goes on: shards with a sidecar are kept. The manifest comes last.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from shards.errors import ConversionError, DamagedShard, InvalidPack, UnreadableShard
from shards.files.atomic import write_atomically
from shards.files.formats import SUFFIXES
from shards.files.hashing import sha256_of_own_file
from shards.files.names import INPUTS_NAME, LEDGER_NAME, MANIFEST_NAME, MODEL_DIR, PLAN_DIR
from shards.files.plain import copy_plain, copy_plain_tree, open_plain, plain_tree, read_own
from shards.files.records import Record
from shards.formats.kinds import check_row_fits
from shards.formats.mindrecord import largest_row_bytes
from shards.formats.writer import (
    DONE_DIR,
    TEMPORARY_DIR,
    ShardSidecar,
    is_finished,
    read_sidecar,
    shard_index,
    sidecar_path,
    write_shard,
    write_sidecar,
)
from shards.inputs import names_format, read_inputs, with_format, write_inputs
from shards.manifest import CONVERSION_NAME, Manifest, ShardEntry, fingerprint_of, write_manifest
from shards.model_constants import ModelConstants
from shards.pack import PackMaxima
from shards.reader import open_entry, open_shards


@dataclass(frozen=True, kw_only=True)
class _Conversion:
    """What a worker needs to know to convert any shard."""

    source: Path
    target: Path
    format: str
    constants: ModelConstants
    largest_row_bytes: int
    inputs: Mapping[str, Any]  # of the converted dataset
    fingerprint: str  # of the converted dataset
    source_fingerprint: str

    def convert(self, entry: ShardEntry) -> None:
        """One shard and its sidecar, which is written last. Raises DamagedShard or UnreadableShard."""
        for name, _, sha256 in entry.files():
            try:
                found = sha256_of_own_file(self.source / name)
            except OSError as error:
                raise UnreadableShard.of(self.source / name, error) from None
            if found != sha256:
                raise DamagedShard(f"{self.source / name} does not match the manifest; copy it again")
        shard = open_entry(self.source, entry, self.constants)
        index = shard_index(entry.name)
        try:
            written = write_shard(
                self.target,
                index,
                (shard[row] for row in range(len(shard))),
                self.constants,
                format=self.format,
                largest_row_bytes=self.largest_row_bytes,
            )
        except InvalidPack as error:
            raise DamagedShard(f"{self.source / entry.name}: {error}; preprocess again") from None
        sidecar = _sidecar_of(self.source, entry, self.source_fingerprint) or _NO_SIDECAR
        write_sidecar(self.target, index, replace(sidecar, fingerprint=self.fingerprint, shard=written.entry))


def _sidecar_of(source: Path, entry: ShardEntry, fingerprint: str) -> ShardSidecar | None:
    """The one that tells of this very shard, if it is there and whole."""
    sidecar = read_sidecar(source, shard_index(entry.name))
    is_ours = sidecar is not None and sidecar.fingerprint == fingerprint and sidecar.shard == entry
    return sidecar if is_ours else None


# Says that a shard is finished as long as the conversion lasts. It never stays: the next run would publish its sums.
_NO_SIDECAR = ShardSidecar(
    fingerprint="", shard=None, maxima=PackMaxima(), datasets={}, rejects=(), num_media=0, num_reused=0
)


def convert_shards(
    source: Path, target: Path, *, format: str, workers: int = 0, on_shard: Callable[[], None] = lambda: None
) -> Manifest:
    """Write the dataset in `source` to `target` as `format`, one of `shards.files.formats`.

    Works on `workers` processes (0: this one). `on_shard` is called after each shard, also after those that an
    interrupted call had finished. Returns the new manifest. Raises ConversionError where `target` holds something else
    or a process dies, RowTooLarge where the format can't hold the largest pack, and what `open_shards` raises where the
    source is damaged.
    """
    manifest = open_shards(source).manifest
    if format not in SUFFIXES:
        raise ConversionError(f"there is no format {format!r}; formats are {', '.join(SUFFIXES)}")
    if manifest.format == format:
        raise ConversionError(f"{source} has format {format} already")
    row_bytes = largest_row_bytes(manifest.maxima, manifest.model)
    check_row_fits(format, row_bytes)
    run_inputs = _read_inputs(source)
    _check_plain(source)
    _occupy(source, target, format)
    inputs = with_format(manifest.inputs, format) if names_format(manifest.inputs) else manifest.inputs
    conversion = _Conversion(
        source=source,
        target=target,
        format=format,
        constants=manifest.model,
        largest_row_bytes=row_bytes,
        inputs=inputs,
        fingerprint=manifest.fingerprint if inputs == manifest.inputs else fingerprint_of(inputs),
        source_fingerprint=manifest.fingerprint,
    )
    missing = [
        entry for entry in manifest.shards if not is_finished(target, shard_index(entry.name), conversion.fingerprint)
    ]
    for _ in range(len(manifest.shards) - len(missing)):
        on_shard()
    for _ in _convert_all(conversion, missing, workers):
        on_shard()
    return _publish(conversion, manifest, run_inputs)


def _read_inputs(source: Path) -> Mapping[str, Any] | None:
    """Those of the run that wrote `source`, if one did."""
    try:
        return read_inputs(source)
    except ValueError as error:
        raise ConversionError(f"{source / PLAN_DIR / INPUTS_NAME} is damaged ({error}); copy it again") from None


def _check_plain(source: Path) -> None:
    """What stands beside the shards is copied: refuse links, devices and the like before anything is written."""
    try:
        for folder in (source / PLAN_DIR, source / MODEL_DIR):
            if os.path.lexists(folder):
                deque(plain_tree(folder), maxlen=0)
        if os.path.lexists(source / LEDGER_NAME):
            open_plain(source / LEDGER_NAME, follow_links=False).close()
    except OSError as error:
        raise ConversionError(f"{error.filename} can't be copied: it is {error.strerror}") from None


def _occupy(source: Path, target: Path, format: str) -> None:
    """Begin in an empty folder, or go on in one that holds the same conversion."""
    state = {
        "source": str(source.resolve()),
        "format": format,
        "manifest_sha256": sha256_of_own_file(source / MANIFEST_NAME),
    }
    path = target / CONVERSION_NAME
    if os.path.lexists(path):
        try:
            before = Record.parse(read_own(path))
            began = {name: before.text(name) for name in state}
        except (OSError, ValueError) as error:
            raise ConversionError(f"{path} is damaged ({error}); remove {target}, or name another folder") from None
        if any(began[key] != state[key] for key in ("format", "manifest_sha256")):
            raise ConversionError(
                f"{target} holds an unfinished conversion of {began['source']} to {began['format']}; "
                "finish it, remove it, or name another folder"
            )
        return
    try:
        target.mkdir(parents=True, exist_ok=True)
        is_empty = all(entry.name.startswith(f".{CONVERSION_NAME}.") for entry in target.iterdir())  # a crash left it
    except (FileExistsError, NotADirectoryError):
        is_empty = False
    if not is_empty:
        raise ConversionError(f"{target} is not an empty folder; name another one")
    write_atomically(path, json.dumps(state, indent=1) + "\n")


def _convert_all(conversion: _Conversion, entries: Sequence[ShardEntry], workers: int) -> Iterator[None]:
    if workers == 0:
        yield from map(conversion.convert, entries)
        return
    # Not forked: MindSpore has threads. Few jobs are handed out ahead, because there may be 10^5.
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        waiting = iter(entries)
        running: set[Future[None]] = set()
        try:
            while True:
                running |= {
                    pool.submit(conversion.convert, entry) for entry in islice(waiting, 2 * workers - len(running))
                }
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        except BrokenProcessPool:
            raise ConversionError(
                f"a process that read {conversion.source} died (out of memory?); the same command goes on from here"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def _publish(conversion: _Conversion, manifest: Manifest, run_inputs: Mapping[str, Any] | None) -> Manifest:
    source, target = conversion.source, conversion.target
    entries = []
    for entry in manifest.shards:
        sidecar = read_sidecar(target, shard_index(entry.name))
        assert sidecar is not None and sidecar.shard is not None, f"{entry.name} was not converted"
        entries.append(sidecar.shard)
    converted = replace(
        manifest,
        format=conversion.format,
        inputs=conversion.inputs,
        fingerprint=conversion.fingerprint,
        shards=tuple(entries),
    )
    shutil.rmtree(target / TEMPORARY_DIR, ignore_errors=True)
    _copy_plan(source, target, manifest)
    if run_inputs is not None:
        write_inputs(target, with_format(run_inputs, conversion.format))
    if (source / MODEL_DIR).is_dir():
        copy_plain_tree(source / MODEL_DIR, target / MODEL_DIR)
    if (source / LEDGER_NAME).is_file():
        copy_plain(source / LEDGER_NAME, target / LEDGER_NAME)
    write_manifest(target, converted)
    if not (source / PLAN_DIR).is_dir():
        shutil.rmtree(target / PLAN_DIR, ignore_errors=True)  # nothing but our own sidecars
    (target / CONVERSION_NAME).unlink()
    return converted


def _copy_plan(source: Path, target: Path, manifest: Manifest) -> None:
    """All of it but the sidecars, which tell of the shards.

    Where the source lacks one, so does the copy: the next run makes that shard again, as it would in the source.
    """
    if not (source / PLAN_DIR).is_dir():
        return
    done = target / PLAN_DIR / DONE_DIR
    ours = {Path(DONE_DIR, sidecar_path(target, shard_index(entry.name)).name) for entry in manifest.shards}
    copy_plain_tree(source / PLAN_DIR, target / PLAN_DIR, skip=ours.__contains__)
    for entry in manifest.shards:
        if _sidecar_of(source, entry, manifest.fingerprint) is None:
            sidecar_path(target, shard_index(entry.name)).unlink(missing_ok=True)
    if not any(done.iterdir()):
        done.rmdir()
