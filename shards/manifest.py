"""manifest.json: what a folder of shards holds. Written last; a folder without it is not a dataset."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from shards.errors import DamagedShard, NotADataset, UnsupportedVersion
from shards.files.atomic import write_atomically
from shards.files.hashing import sha256_of_json
from shards.files.names import MANIFEST_HASH_NAME, MANIFEST_NAME, PLAN_DIR
from shards.model_constants import ModelConstants
from shards.pack import PackCounts, PackMaxima

FORMAT_VERSION = 1
FORMATS = ("arrow", "mindrecord")
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
    format: str  # of the shards: "arrow" or "mindrecord"
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
        """Parse. Raises UnsupportedVersion or DamagedShard naming `source`."""
        try:
            record = json.loads(text)
            version = record.pop("format_version")
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise DamagedShard(f"{source} is not a manifest ({error}); preprocess again") from None
        if version != FORMAT_VERSION:
            raise UnsupportedVersion(
                f"{source} has format version {version}, this code reads {FORMAT_VERSION}; "
                "install the version of this project that wrote it, or preprocess again"
            )
        if record.get("format", FORMATS[0]) not in FORMATS:
            raise UnsupportedVersion(
                f"{source}: its shards have format {record['format']!r}, this code reads {' and '.join(FORMATS)}; "
                "install the version of this project that wrote it, or preprocess again"
            )
        try:
            return cls(
                **{
                    **record,
                    "model": ModelConstants.from_json(record["model"]),
                    "maxima": PackMaxima(**record["maxima"]),
                    "totals": PackCounts(**record["totals"]),
                    "datasets": {
                        name: DatasetSummary(counts=PackCounts(**entry["counts"]), rejects=entry["rejects"])
                        for name, entry in record["datasets"].items()
                    },
                    "shards": tuple(ShardEntry(**entry) for entry in record["shards"]),
                }
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise DamagedShard(f"{source} lacks or misnames a field ({error}); preprocess again") from None


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
    """Read and check against its hash. Raises NotADataset, DamagedShard or UnsupportedVersion."""
    path = folder / MANIFEST_NAME
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise NotADataset(f"{folder} has no {MANIFEST_NAME}, so it is not a dataset: {_what_it_is(folder)}") from None
    hash_path = folder / MANIFEST_HASH_NAME
    hash_line = hash_path.read_bytes() if hash_path.is_file() else b""
    if not hash_line.strip():
        raise DamagedShard(f"{hash_path} is missing or empty; preprocess again")
    if hash_line != _hash_line(content).encode():
        raise DamagedShard(f"{path} does not match {hash_path.name}: one of them was changed; preprocess again")
    return Manifest.from_json(content.decode("utf-8", errors="replace"), source=path)


def _what_it_is(folder: Path) -> str:
    """A folder without a manifest, and what to do about it."""
    try:
        conversion = json.loads((folder / CONVERSION_NAME).read_text(encoding="utf-8"))
        words = (
            "python",
            "-m",
            "shards",
            "convert",
            conversion["source"],
            str(folder),
            "--format",
            conversion["format"],
        )
        return f"a conversion into it did not finish; go on with {shlex.join(words)}"
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError):
        has_plan = (folder / PLAN_DIR).is_dir()
        hint = "it holds a plan whose run did not finish" if has_plan else "is this the right folder?"
        return f"{hint} (python -m preprocess run writes one when it completes)"


INDEX_SUFFIX = ".db"


def index_name(name: str) -> str:
    """The file that stands beside shard `name`."""
    return name + INDEX_SUFFIX
