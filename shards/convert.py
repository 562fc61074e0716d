"""Convert a dataset to another file format: the same rows, dtypes and bytes, shard by shard.

What comes out is the folder that preprocessing with that format would have written, plan included, so that it can be
reported on, resumed and reused, and so that converting back gives the original, byte for byte. Interrupted, the same
call goes on: shards with a sidecar are kept. The manifest comes last.
"""

from __future__ import annotations

import json
import multiprocessing
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from shards.errors import ConversionError, DamagedShard
from shards.files.atomic import write_atomically
from shards.files.hashing import sha256_of_file
from shards.files.names import INPUTS_NAME, LEDGER_NAME, MANIFEST_NAME, MODEL_DIR, PLAN_DIR
from shards.formats.kinds import check_row_fits, open_shard
from shards.formats.mindrecord import largest_row_bytes
from shards.formats.writer import (
    DONE_DIR,
    TEMPORARY_DIR,
    ShardSidecar,
    is_finished,
    read_sidecar,
    shard_index,
    write_shard,
    write_sidecar,
)
from shards.inputs import names_format, read_inputs, with_format, write_inputs
from shards.manifest import CONVERSION_NAME, FORMATS, Manifest, ShardEntry, fingerprint_of, write_manifest
from shards.model_constants import ModelConstants
from shards.pack import PackMaxima
from shards.reader import open_shards


@dataclass(frozen=True, kw_only=True)
class _Conversion:
    """What a worker needs to know to convert any shard."""

    source: Path
    target: Path
    format: str
    constants: ModelConstants
    largest_row_bytes: int
    inputs: Mapping[str, Any]  # of the converted dataset
    fingerprint: str

    def convert(self, entry: ShardEntry) -> None:
        """One shard and its sidecar, which is written last. Raises DamagedShard."""
        for name, _, sha256 in entry.files():
            if sha256_of_file(self.source / name) != sha256:
                raise DamagedShard(f"{self.source / name} does not match the manifest; copy it again")
        shard = open_shard(self.source / entry.name, self.constants)
        index = shard_index(entry.name)
        written = write_shard(
            self.target,
            index,
            (shard[row] for row in range(len(shard))),
            self.constants,
            format=self.format,
            largest_row_bytes=self.largest_row_bytes,
        )
        sidecar = read_sidecar(self.source, index) or _NO_SIDECAR
        write_sidecar(self.target, index, replace(sidecar, fingerprint=self.fingerprint, shard=written.entry))


_NO_SIDECAR = ShardSidecar(
    fingerprint="", shard=None, maxima=PackMaxima(), datasets={}, rejects=(), num_media=0, num_reused=0
)


def convert_shards(
    source: Path, target: Path, *, format: str, workers: int = 0, on_shard: Callable[[], None] = lambda: None
) -> Manifest:
    """Write the dataset in `source` to `target` as `format`, on `workers` processes (0: this one).

    `on_shard` is called after each shard, also after those that an interrupted call had finished. Returns the new
    manifest. Raises ConversionError where `target` holds something else or a process dies, RowTooLarge where the
    format can't hold the largest pack, and what `open_shards` raises where the source is damaged.
    """
    manifest = open_shards(source).manifest
    if format not in FORMATS:
        raise ConversionError(f"there is no format {format!r}; formats are {' and '.join(FORMATS)}")
    if manifest.format == format:
        raise ConversionError(f"{source} has format {format} already")
    row_bytes = largest_row_bytes(manifest.maxima, manifest.model)
    check_row_fits(format, row_bytes)
    run_inputs = _read_inputs(source)
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


def _occupy(source: Path, target: Path, format: str) -> None:
    """Begin in an empty folder, or go on in one that holds the same conversion."""
    state = {
        "source": str(source.resolve()),
        "format": format,
        "manifest_sha256": sha256_of_file(source / MANIFEST_NAME),
    }
    path = target / CONVERSION_NAME
    if path.is_file():
        before = json.loads(path.read_text(encoding="utf-8"))
        if any(before.get(key) != state[key] for key in ("format", "manifest_sha256")):
            raise ConversionError(
                f"{target} holds an unfinished conversion of {before.get('source')} to {before.get('format')}; "
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
    if (source / PLAN_DIR).is_dir():
        _copy_plan(source / PLAN_DIR, target / PLAN_DIR)
    if run_inputs is not None:
        write_inputs(target, with_format(run_inputs, conversion.format))
    if (source / MODEL_DIR).is_dir():
        shutil.copytree(source / MODEL_DIR, target / MODEL_DIR, dirs_exist_ok=True)
    if (source / LEDGER_NAME).is_file():
        shutil.copyfile(source / LEDGER_NAME, target / LEDGER_NAME)
    write_manifest(target, converted)
    if not (source / PLAN_DIR).is_dir():
        shutil.rmtree(target / PLAN_DIR, ignore_errors=True)  # nothing but our own sidecars
    (target / CONVERSION_NAME).unlink()
    return converted


def _copy_plan(source: Path, target: Path) -> None:
    """All of it but the sidecars, which tell of the shards."""
    shutil.copytree(source, target, dirs_exist_ok=True, ignore=lambda folder, names: _converted(folder, names, target))


def _converted(folder: str, names: Sequence[str], target: Path) -> list[str]:
    if Path(folder).name != DONE_DIR:
        return []
    return [name for name in names if (target / DONE_DIR / name).exists()]
