"""Is a dataset still what was written? Hashes of all files first, then the invariants and sums of all rows.

A file whose hash is wrong is not decoded: damaged metadata can crash a decoder.
"""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from shards.errors import DamagedShard, InvalidPack, ShardError, UnreadableShard, reading_advice
from shards.families import read_model_constants
from shards.files.hashing import sha256_of_own_file
from shards.files.names import MANIFEST_NAME, MODEL_DIR, TOKENIZER_NAME
from shards.formats.kinds import Shard
from shards.manifest import Manifest, PayloadFile, ShardEntry, read_manifest
from shards.model_folder import ModelFolderError, model_files
from shards.pack import Pack, PackCounts, PackMaxima, check_pack, measure_pack
from shards.reader import open_entry
from shards.segments import cut_segments

_REWRITE = "copy the file again, or preprocess again"
_BUG = "whatever wrote it has a bug: report it, and preprocess again"


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something that is not as it was written, and what to do about it."""

    file: str  # below the dataset's folder
    row: int | None = None  # of the file
    what: str
    advice: str

    @classmethod
    def of(cls, file: str, row: int | None, error: Exception) -> Problem:
        """An error of reading whose file has the right hash."""
        advice = "then verify again" if isinstance(error, UnreadableShard) else _BUG
        return cls(file=file, row=row, what=str(error), advice=advice)

    def __str__(self) -> str:
        where = self.file if self.row is None else f"{self.file}, row {self.row}"
        return f"{where}: {self.what}; {self.advice}"


@dataclass(frozen=True, kw_only=True)
class ShardFindings:
    """What one shard holds, recomputed from its rows; nothing of that where it was not decoded."""

    problems: tuple[Problem, ...] = ()
    maxima: PackMaxima = field(default_factory=PackMaxima)
    datasets: dict[str, PackCounts] = field(default_factory=dict)


def verify(folder: Path, *, quick: bool, workers: int, on_shard: Callable[[int], None]) -> list[Problem]:
    """Every problem of the dataset in `folder`; none where it is whole. `quick`: hashes only, no row is decoded.

    `workers`: processes, 0: this one. `on_shard` gets the number of all shards each time one is done. Raises
    NotADataset or UnsupportedVersion where there is nothing to verify, ChildProcessError where a worker dies.
    """
    try:
        manifest = read_manifest(folder)
    except DamagedShard as error:
        what, _, advice = str(error).rpartition("; ")
        return [Problem(file=MANIFEST_NAME, what=what, advice=advice)]
    problems = list(_model_problems(folder, manifest))
    maxima, datasets, all_decoded = PackMaxima(), dict[str, PackCounts](), not quick
    with _mapping(folder, manifest, quick, workers) as mapped:
        for found in mapped(manifest.shards):
            problems += found.problems
            all_decoded &= not found.problems
            maxima = maxima.merge(found.maxima)
            _add(datasets, found.datasets)
            on_shard(len(manifest.shards))
    if all_decoded:
        problems += _sum_problems(manifest, maxima, datasets)
    return problems


def _add(sums: dict[str, PackCounts], more: Mapping[str, PackCounts]) -> None:
    for name, counts in more.items():
        sums[name] = sums.get(name, PackCounts()) + counts


def _model_problems(folder: Path, manifest: Manifest) -> Iterator[Problem]:
    """The tokenizer by its hash, the other two files by the constants that the manifest took from them."""
    model = folder / MODEL_DIR
    missing = [name for name in model_files(model) if not (model / name).is_file()]
    for name in missing:
        yield Problem(file=f"{MODEL_DIR}/{name}", what="it is missing", advice="copy it from the model folder")
    if missing:
        return
    expected = manifest.inputs.get("tokenizer_sha256")
    found = sha256_of_own_file(model / TOKENIZER_NAME)
    if expected is not None and found != expected:
        yield _other_hash(f"{MODEL_DIR}/{TOKENIZER_NAME}", found, expected)
        return
    try:
        read_model_constants(model).require_equal(manifest.model, mine=f"{MODEL_DIR}/", theirs=MANIFEST_NAME)
    except (ModelFolderError, ShardError) as error:
        yield Problem(file=MODEL_DIR, what=str(error), advice="copy its files from the model folder again")


def _other_hash(name: str, found: str, expected: Any) -> Problem:
    return Problem(file=name, what=f"its sha256 is {found}, the manifest says {expected}", advice=_REWRITE)


@dataclass(frozen=True, kw_only=True)
class _ShardVerifier:
    """Verifies single shards of one dataset, in whatever process."""

    folder: Path
    manifest: Manifest  # without its shards and inputs, of which there may be a lot
    quick: bool

    def __call__(self, entry: ShardEntry) -> ShardFindings:
        problems = [problem for file in entry.files() for problem in _file_problems(self.folder, file)]
        if problems or self.quick:
            return ShardFindings(problems=tuple(problems))
        try:
            shard = open_entry(self.folder, entry, self.manifest.model)
        except ShardError as error:
            return ShardFindings(problems=(Problem.of(entry.name, None, error),))
        return self._check_rows(entry.name, shard)

    def _check_rows(self, name: str, shard: Shard) -> ShardFindings:
        model = self.manifest.model
        problems: list[Problem] = []
        maxima, datasets = PackMaxima(), dict[str, PackCounts]()
        for row in range(len(shard)):
            try:
                pack = shard[row]
                check_pack(pack, model)
                for segment in cut_segments(pack, model):
                    _add(datasets, {segment.dataset: segment.counts})
                _check_capacity(pack, self.manifest)
                maxima = maxima.merge(measure_pack(pack, model))
            except (InvalidPack, ShardError) as error:
                problems.append(Problem.of(name, row, error))
        return ShardFindings(problems=tuple(problems), maxima=maxima, datasets=datasets)


def _file_problems(folder: Path, file: PayloadFile) -> Iterator[Problem]:
    path = folder / file.name
    try:
        found, num_bytes = sha256_of_own_file(path), path.stat().st_size
    except OSError as error:
        advice = _REWRITE if isinstance(error, FileNotFoundError) else reading_advice(error)
        yield Problem(file=file.name, what=f"it can't be read ({error.strerror})", advice=advice)
        return
    if found != file.sha256:
        yield _other_hash(file.name, found, file.sha256)
    elif num_bytes != file.num_bytes:
        what = f"it has {num_bytes:,} bytes, the manifest says {file.num_bytes:,}"
        yield Problem(file=file.name, what=what, advice=_REWRITE)


def _check_capacity(pack: Pack, manifest: Manifest) -> None:
    patches = len(pack.image_patches) + len(pack.video_patches)
    for number, capacity, name in (
        (pack.num_tokens, manifest.pack_length, "pack_length"),
        (patches, manifest.pack_patches, "pack_patches"),
    ):
        if number > capacity:
            raise InvalidPack(f"pack starting with {pack.sample_keys[0]}: {number} is over {name}, {capacity}")


def _sum_problems(manifest: Manifest, maxima: PackMaxima, datasets: Mapping[str, PackCounts]) -> Iterator[Problem]:
    """What the rows add up to against what the manifest says."""
    compared: list[tuple[str, PackCounts | PackMaxima, PackCounts | PackMaxima]] = [
        ("maxima", manifest.maxima, maxima),
        ("totals", manifest.totals, sum(datasets.values(), PackCounts())),
    ]
    said = {name: dataset.counts for name, dataset in manifest.datasets.items()}
    for name in sorted({*said, *datasets}):
        compared.append((f"dataset {name!r}", said.get(name, PackCounts()), datasets.get(name, PackCounts())))
    for name, in_manifest, in_rows in compared:
        rows = asdict(in_rows)
        for key, number in asdict(in_manifest).items():
            if number != rows[key]:
                what = f"{name}: {key} is {number:,}, the rows give {rows[key]:,}"
                yield Problem(file=MANIFEST_NAME, what=what, advice=_BUG)


_verifier: _ShardVerifier | None = None  # of a worker process


def _start_worker(verifier: _ShardVerifier) -> None:
    global _verifier
    _verifier = verifier


def _verify_shard(entry: ShardEntry) -> ShardFindings:
    assert _verifier is not None
    return _verifier(entry)


@contextmanager
def _mapping(
    folder: Path, manifest: Manifest, quick: bool, workers: int
) -> Iterator[Callable[[Iterable[ShardEntry]], Iterator[ShardFindings]]]:
    """A `map` over shards, in order, on processes or in this one."""
    verifier = _ShardVerifier(folder=folder, manifest=replace(manifest, shards=(), inputs={}), quick=quick)
    if workers == 0:
        yield lambda entries: map(verifier, entries)
        return
    with ProcessPoolExecutor(
        max_workers=min(workers, max(len(manifest.shards), 1)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(verifier,),
    ) as pool:
        try:
            yield lambda entries: _map_ahead(pool, entries, 4 * workers)
        except BrokenProcessPool:
            raise ChildProcessError("a worker died; is memory short? Verify again with fewer --workers") from None
        finally:
            pool.shutdown(cancel_futures=True)


def _map_ahead(pool: Executor, entries: Iterable[ShardEntry], num_ahead: int) -> Iterator[ShardFindings]:
    """Findings in order; few shards are handed out ahead, because there may be 10^5."""
    begun: deque[Future[ShardFindings]] = deque()
    for entry in entries:
        begun.append(pool.submit(_verify_shard, entry))
        if len(begun) >= num_ahead:
            yield begun.popleft().result()
    while begun:
        yield begun.popleft().result()
