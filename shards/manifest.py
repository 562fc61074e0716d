"""manifest.json: what a folder of shards holds. Written last; a folder without it is not a dataset."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from shards.errors import DamagedShard, NotADataset, UnreadableShard, UnsupportedVersion
from shards.files.atomic import write_atomically
from shards.files.formats import ARROW_ZSTD, MINDRECORD, SUFFIXES, flags_of
from shards.files.hashing import sha256_of_json
from shards.files.names import MANIFEST_HASH_NAME, MANIFEST_NAME, PLAN_DIR
from shards.files.plain import read_own
from shards.files.records import FieldError, Record, shown
from shards.model_constants import ModelConstants
from shards.pack import PackCounts, PackMaxima

FORMAT_VERSION = 1
MOST_TOKENS = MOST_PATCHES = 1 << 24  # of a row
_MOST_TIMES_SMALLER = 1 << 15  # than its bytes can a compressed file be: zstd writes 128 KiB of equal bytes in four
_MOST_PACKS = (1 << 31) - 1  # of a shard
_SHARD_NAME = re.compile(r"shard-[0-9]{6,18}\.[a-z]+")
CONVERSION_NAME = ".converting.json"  # stands in a folder while another dataset is converted into it


@dataclass(frozen=True, kw_only=True, slots=True)  # slots: a dataset has up to 10^5 of them
class ShardEntry:
    name: str  # file name, in the folder of the manifest
    num_packs: int
    num_bytes: int
    sha256: str
    index_bytes: int | None = None  # of the index file beside it: MindRecord only
    index_sha256: str | None = None

    def files(self) -> tuple[PayloadFile, ...]:
        """Every file of this shard, its own first."""
        own = PayloadFile(self.name, self.num_bytes, self.sha256)
        if self.index_bytes is None or self.index_sha256 is None:
            return (own,)
        return (own, PayloadFile(index_name(self.name), self.index_bytes, self.index_sha256))

    @classmethod
    def from_record(cls, record: Record, format: str) -> ShardEntry:
        """Raises FieldError."""
        record.only(cls.__slots__)
        name = record.text("name")
        suffix = SUFFIXES[format]
        if not _SHARD_NAME.fullmatch(name) or not name.endswith(suffix):
            record.refuse("name", f"a file name like shard-000000{suffix}")
        has_index = format == MINDRECORD
        if not has_index and len(record.values) > 4:
            raise FieldError(f"{record.name} has an index, which shards of format {format} have not")
        return cls(
            name=name,
            num_packs=record.integer("num_packs", 0, _MOST_PACKS),
            num_bytes=record.integer("num_bytes"),
            sha256=record.text("sha256"),
            index_bytes=record.integer("index_bytes") if has_index else None,
            index_sha256=record.text("index_sha256") if has_index else None,
        )

    def to_json(self) -> dict[str, Any]:
        values = ((name, getattr(self, name)) for name in self.__slots__)
        return {name: value for name, value in values if value is not None}


class PayloadFile(NamedTuple):
    name: str  # in the folder of the manifest
    num_bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class DatasetSummary:
    """What one dataset of the mixture contributed, repeats counted each time."""

    counts: PackCounts = field(default_factory=PackCounts)
    rejects: Mapping[str, int] = field(default_factory=dict)  # by reason


@dataclass(frozen=True, kw_only=True)
class Manifest:
    format: str  # of the shards: one of shards.files.formats.SUFFIXES
    fingerprint: str  # sha256 of everything that determines the bytes
    inputs: Mapping[str, Any]  # what the fingerprint was taken of, for people and for error messages
    model: ModelConstants
    pack_length: int  # capacity of a row in tokens
    pack_patches: int  # capacity of a row in patches, images and videos together
    maxima: PackMaxima  # reached
    totals: PackCounts
    datasets: Mapping[str, DatasetSummary]
    shards: tuple[ShardEntry, ...]

    @property
    def num_packs(self) -> int:
        return sum(shard.num_packs for shard in self.shards)

    @property
    def num_rejects(self) -> int:
        return sum(sum(dataset.rejects.values()) for dataset in self.datasets.values())

    def to_json(self) -> str:
        """Deterministic text: equal content gives equal bytes."""
        record = asdict(replace(self, shards=()))
        record["shards"] = [entry.to_json() for entry in self.shards]
        record["model"] = self.model.to_json()
        return json.dumps({"format_version": FORMAT_VERSION, **record}, indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str, *, source: Path) -> Manifest:
        """Parse; every value is of its type and within its range. Raises UnsupportedVersion or DamagedShard naming
        `source` and the field."""
        try:
            record = Record.parse(text)
            version = record.value("format_version")
        except ValueError as error:
            raise DamagedShard(f"{source} is not a manifest ({error}); preprocess again") from None
        if type(version) is not int or version != FORMAT_VERSION:
            raise UnsupportedVersion(
                f"{source} has format version {shown(version)}, this code reads {FORMAT_VERSION}; "
                "install the version of this project that wrote it, or preprocess again"
            )
        try:
            format = record.text("format")
            if format not in SUFFIXES:
                raise UnsupportedVersion(
                    f"{source}: its shards have format {shown(format)}, this code reads {', '.join(SUFFIXES)}; "
                    "install the version of this project that wrote it, or preprocess again"
                )
            return _manifest(record, format)
        except FieldError as error:
            raise DamagedShard(f"{source}: {error}; preprocess again, or copy the whole folder") from None


def _manifest(record: Record, format: str) -> Manifest:
    """Raises FieldError."""
    record.only(["format_version", *(each.name for each in fields(Manifest))])
    inputs = record.tree("inputs")
    if "config" in inputs:
        record.record("inputs").record("config")
    datasets = record.record("datasets")
    manifest = Manifest(
        format=format,
        fingerprint=record.text("fingerprint"),
        inputs=inputs,
        model=ModelConstants.from_record(record.record("model")),
        pack_length=record.integer("pack_length", 1, MOST_TOKENS),
        pack_patches=record.integer("pack_patches", 0, MOST_PATCHES),
        maxima=record.record("maxima").counts(PackMaxima),
        totals=record.record("totals").counts(PackCounts),
        datasets={name: _dataset(datasets.record(name)) for name in datasets.values},
        shards=tuple(ShardEntry.from_record(entry, format) for entry in record.records("shards")),
    )
    if len({entry.name for entry in manifest.shards}) < len(manifest.shards):
        raise FieldError("shards names a file twice")
    _check_maxima(manifest)
    return manifest


def _dataset(record: Record) -> DatasetSummary:
    record.only(["counts", "rejects"])
    rejects = record.record("rejects")
    return DatasetSummary(
        counts=record.record("counts").counts(PackCounts),
        rejects={reason: rejects.integer(reason) for reason in rejects.values},
    )


def _check_maxima(manifest: Manifest) -> None:
    """Batches have room for the maxima: refuse those that no row of these files can reach, before memory is taken."""
    maxima, model = manifest.maxima, manifest.model
    of_tokens = ("tokens", "label_tokens", "segments", "segment_tokens", "images", "videos")
    limits = dict.fromkeys(of_tokens, (manifest.pack_length, "pack_length"))
    of_patches = ("patches", "image_patches", "video_patches", "temporal_slices", "windows")
    limits |= dict.fromkeys(of_patches, (manifest.pack_patches, "pack_patches"))
    for name, (limit, of) in limits.items():
        if getattr(maxima, name) > limit:
            raise FieldError(f"maxima.{name} is {getattr(maxima, name)}, more than {of}, {limit}")
    largest = max((entry.num_bytes for entry in manifest.shards), default=0)
    expanded = largest * _MOST_TIMES_SMALLER if manifest.format == ARROW_ZSTD else largest
    for name, num_bytes in (
        ("image_patches", maxima.image_patches * model.image_patch_bytes),
        ("video_patches", maxima.video_patches * model.video_patch_bytes),
    ):
        if num_bytes > expanded:
            raise FieldError(f"maxima.{name} is {getattr(maxima, name)}: the largest shard has {largest} bytes only")
    for name in ("temporal_slices", "windows"):  # a visual token is the least that they hold
        if getattr(maxima, name) * model.merge_unit > maxima.patches:
            raise FieldError(f"maxima.{name} is {getattr(maxima, name)}, too many for {maxima.patches} patches")


def fingerprint_of(inputs: Mapping[str, Any]) -> str:
    """sha256 of everything that determines the bytes of a dataset."""
    return sha256_of_json(inputs)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Publish: the hash first, then the manifest, each atomically; the manifest's name appears last."""
    text = manifest.to_json()
    write_atomically(folder / MANIFEST_HASH_NAME, _hash_line(text.encode()))
    write_atomically(folder / MANIFEST_NAME, text)


def _hash_line(manifest: bytes) -> str:
    """As sha256sum writes it."""
    return f"{hashlib.sha256(manifest).hexdigest()}  {MANIFEST_NAME}\n"


def read_manifest(folder: Path) -> Manifest:
    """Read and check against its hash. Raises NotADataset, DamagedShard, UnreadableShard or UnsupportedVersion."""
    path = folder / MANIFEST_NAME
    try:
        content = read_own(path)
    except (FileNotFoundError, NotADirectoryError):
        raise NotADataset(f"{folder} has no {MANIFEST_NAME}, so it is not a dataset: {_what_it_is(folder)}") from None
    except OSError as error:
        raise UnreadableShard.of(path, error) from None
    hash_path = folder / MANIFEST_HASH_NAME
    try:
        hash_line = read_own(hash_path)
    except FileNotFoundError:
        hash_line = b""
    except OSError as error:
        raise UnreadableShard.of(hash_path, error) from None
    if not hash_line.strip():
        raise DamagedShard(f"{hash_path} is missing or empty; preprocess again")
    if hash_line != _hash_line(content).encode():
        raise DamagedShard(f"{path} does not match {hash_path.name}: one of them was changed; preprocess again")
    return Manifest.from_json(content.decode("utf-8", errors="replace"), source=path)


def _what_it_is(folder: Path) -> str:
    """A folder without a manifest, and what to do about it."""
    try:
        conversion = Record.parse(read_own(folder / CONVERSION_NAME))
        source, format = conversion.text("source"), conversion.text("format")
        words = ("python", "-m", "shards", "convert", source, str(folder), *flags_of(format))
        return f"a conversion into it did not finish; go on with {shlex.join(words)}"
    except (OSError, ValueError):
        has_plan = (folder / PLAN_DIR).is_dir()
        hint = "it holds a plan whose run did not finish" if has_plan else "is this the right folder?"
        return f"{hint} (python -m preprocess run writes one when it completes)"


INDEX_SUFFIX = ".db"


def index_name(name: str) -> str:
    """The file that stands beside shard `name`."""
    return name + INDEX_SUFFIX
