"""Write one shard: under its final name in a temporary folder, synced, renamed into place, then its sidecar.

A shard without a sidecar is unfinished, whatever its size. Sidecars are all that publishing needs.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from shards.files.atomic import sync_folder, write_atomically
from shards.files.formats import SUFFIXES
from shards.files.hashing import sha256_of_own_file, sync_file
from shards.files.names import PLAN_DIR
from shards.files.plain import read_own
from shards.files.records import Record
from shards.formats.kinds import create_shard, files_of_shard
from shards.manifest import ShardEntry
from shards.model_constants import ModelConstants
from shards.pack import Pack, PackCounts, PackMaxima, check_pack, measure_pack

TEMPORARY_DIR = ".writing"
DONE_DIR = "done"  # of the plan
_WAITING_PACKS = 3  # made, but not written yet: they take memory
_Result = TypeVar("_Result")


@dataclass(frozen=True, kw_only=True)
class ShardSidecar:
    """What one task did: its shard (None where nothing was left to write), sums, and the samples it rejected."""

    fingerprint: str  # of the run; a process of an earlier one may still have been at work in the folder
    shard: ShardEntry | None
    maxima: PackMaxima
    datasets: dict[str, PackCounts]
    rejects: tuple[dict[str, Any], ...]  # ledger entries: dataset, index, reason, detail
    num_media: int  # images and videos in the shard
    num_reused: int  # of them, copied from an earlier run
    synced: bool = True  # the shard is on the disk; if not, a crash of the machine may have left anything in its place
    slowest: tuple[dict[str, Any], ...] = ()  # samples that took longest: seconds, sample, media
    notes: dict[str, dict[str, int]] = field(default_factory=dict)  # by dataset: what was counted while decoding

    def to_json(self) -> str:
        record = {**asdict(self), "shard": self.shard.to_json() if self.shard else None}
        return json.dumps(record, indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> ShardSidecar:
        """Raises ValueError."""
        record = Record.parse(text)
        datasets, notes = record.record("datasets"), record.record("notes")
        shard = None
        if record.value("shard") is not None:
            entry = record.record("shard")
            shard = ShardEntry.from_record(entry, entry.text("name").rpartition(".")[2])
        return cls(
            fingerprint=record.text("fingerprint"),
            shard=shard,
            maxima=record.record("maxima").counts(PackMaxima),
            datasets={name: datasets.record(name).counts(PackCounts) for name in datasets.values},
            rejects=tuple(dict(entry.values) for entry in record.records("rejects")),
            num_media=record.integer("num_media"),
            num_reused=record.integer("num_reused"),
            synced=record.values.get("synced", True) is True,
            slowest=tuple(dict(entry.values) for entry in record.records("slowest")),
            notes={name: _counts(notes.record(name)) for name in notes.values},
        )


def _counts(notes: Record) -> dict[str, int]:
    return {note: notes.integer(note) for note in notes.values}


def shard_name(index: int, format: str = "arrow") -> str:
    return f"shard-{index:06d}{SUFFIXES[format]}"


def shard_index(name: str) -> int:
    """The number that `shard_name` made `name` of."""
    return int(name.partition(".")[0].removeprefix("shard-"))


def remove_abandoned(folder: Path, fingerprint: str) -> None:
    """What processes of this machine were writing, of that run, when they died: on a full disk, room for going on."""
    for workspace in _workspaces(folder, fingerprint, _host()):
        if not Path("/proc", workspace.name.split(".")[1]).exists():
            shutil.rmtree(workspace, ignore_errors=True)


def remove_workspaces(folder: Path, fingerprint: str) -> None:
    """All of a run that has no use for them any more, and their folder where no other run has one in it."""
    for workspace in _workspaces(folder, fingerprint, "*"):
        shutil.rmtree(workspace, ignore_errors=True)
    with suppress(OSError):
        (folder / TEMPORARY_DIR).rmdir()


def _workspaces(folder: Path, fingerprint: str, host: str) -> Iterator[Path]:
    return (folder / TEMPORARY_DIR).glob(f"shard-*.*.{host}.{_of_run(fingerprint)}.*")


def _of_run(fingerprint: str) -> str:
    """What tells the workspaces of one run from those of others."""
    return fingerprint[:16] or "any"


def _host() -> str:
    return socket.gethostname().partition(".")[0]


def sidecar_path(folder: Path, index: int) -> Path:
    return folder / PLAN_DIR / DONE_DIR / f"shard-{index:06d}.json"


@dataclass(frozen=True, kw_only=True)
class WrittenShard:
    entry: ShardEntry | None
    maxima: PackMaxima


def write_shard(
    folder: Path,
    index: int,
    packs: Iterable[Pack],
    constants: ModelConstants,
    *,
    format: str = "arrow",
    largest_row_bytes: int = 0,
    fingerprint: str = "",
    syncs: bool = True,
    before_publishing: Callable[[], None] = lambda: None,
) -> WrittenShard:
    """Check and write every pack of `packs`; no file is left where there was none to write.

    `largest_row_bytes` is of all shards of the dataset, by `mindrecord.largest_row_bytes`; Arrow does not need it.
    `syncs` is False where `sync_shard` is called later. `fingerprint` is of the run; `before_publishing` is called
    before the shard gets its final name, and may raise.
    Raises InvalidPack (a bug) or OSError (disk); in both cases nothing stands under the final name.
    """
    name = shard_name(index, format)
    (folder / TEMPORARY_DIR).mkdir(exist_ok=True)
    prefix = f"shard-{index:06d}.{os.getpid()}.{_host()}.{_of_run(fingerprint)}."
    workspace = Path(tempfile.mkdtemp(prefix=prefix, dir=folder / TEMPORARY_DIR))
    maxima, num_packs = PackMaxima(), 0
    try:
        with create_shard(workspace / name, constants, format, largest_row_bytes, syncs=syncs) as writer:

            def check_and_write(pack: Pack) -> PackMaxima:
                check_pack(pack, constants)
                writer.write(pack)
                return measure_pack(pack, constants)

            for measured in _in_background(check_and_write, packs):
                maxima = maxima.merge(measured)
                num_packs += 1
        if num_packs:
            before_publishing()
        entry = _publish(workspace, folder, name, num_packs, writer.hashes) if num_packs else None
    finally:
        shutil.rmtree(workspace, ignore_errors=True)
    return WrittenShard(entry=entry, maxima=maxima)


def _in_background(work: Callable[[Pack], _Result], packs: Iterable[Pack]) -> Iterator[_Result]:
    """Results of `work`, in order, done by one thread while the caller's thread makes the next packs.

    Decoding, hashing and writing release the interpreter lock, so they overlap. Exceptions of both sides come out here.
    """
    with ThreadPoolExecutor(max_workers=1) as thread:
        begun: deque[Future[_Result]] = deque()
        for pack in packs:
            begun.append(thread.submit(work, pack))
            if len(begun) > _WAITING_PACKS:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()


def _publish(workspace: Path, folder: Path, name: str, num_packs: int, hashes: Sequence[str]) -> ShardEntry:
    names = files_of_shard(name)
    sizes = [(workspace / each).stat().st_size for each in names]
    for each in reversed(names):  # an index first: alone it is nothing
        os.replace(workspace / each, folder / each)
    sync_folder(folder)
    return ShardEntry(
        name=name,
        num_packs=num_packs,
        num_bytes=sizes[0],
        sha256=hashes[0],
        index_bytes=sizes[1] if len(names) > 1 else None,
        index_sha256=hashes[1] if len(names) > 1 else None,
    )


def write_sidecar(folder: Path, index: int, sidecar: ShardSidecar) -> None:
    path = sidecar_path(folder, index)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, sidecar.to_json())


def is_finished(folder: Path, index: int, fingerprint: str) -> bool:
    """Whether the sidecar of that run stands there and the shard that it describes is whole, and on the disk."""
    sidecar = read_sidecar(folder, index)
    if sidecar is None or sidecar.fingerprint != fingerprint or not sidecar.synced:
        return False
    if sidecar.shard is None:
        return True
    try:
        return all((folder / file.name).stat().st_size == file.num_bytes for file in sidecar.shard.files())
    except FileNotFoundError:
        return False


def sync_shard(folder: Path, index: int, fingerprint: str, *, verify: bool) -> None:
    """Bring a shard of that run to the disk, of which the sidecar says that it may not be there, and let it say so.

    Does nothing where there is none, or, with `verify`, where the shard is not what was written.
    """
    sidecar = read_sidecar(folder, index)
    if sidecar is None or sidecar.fingerprint != fingerprint or sidecar.synced:
        return
    files = sidecar.shard.files() if sidecar.shard else ()
    try:
        if verify and any(sha256_of_own_file(folder / file.name) != file.sha256 for file in files):
            return
    except FileNotFoundError:
        return
    for file in files:
        sync_file(folder / file.name)
    sync_folder(folder)
    write_sidecar(folder, index, replace(sidecar, synced=True))


def read_sidecar(folder: Path, index: int) -> ShardSidecar | None:
    """None where there is none, or a damaged one: its shard is then as good as unfinished."""
    try:
        return ShardSidecar.from_json(read_own(sidecar_path(folder, index)))
    except (FileNotFoundError, ValueError):
        return None
