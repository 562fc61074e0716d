"""An index of an annotation file: its hash, how many records it has, and where in it some of them begin.

Whoever has it neither hashes nor counts, and reads what stands between two records without what stands before. It is
of one version of the file, told by size and time: of another one it is no index.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from preprocess.errors import FatalError
from preprocess.read.formats.detect import Format
from shards.files.atomic import open_atomically

RECORDS_APART = 128  # a hundred million records take 12 MB
_READ_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class FileVersion:
    num_bytes: int
    mtime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> FileVersion:
        return cls(num_bytes=status.st_size, mtime_ns=status.st_mtime_ns)


@dataclass(frozen=True, kw_only=True)
class Checkpoints:
    """Records 0, RECORDS_APART, 2 * RECORDS_APART...: at which byte each begins, and how many lines stand before it.

    `lines` is empty but for JSON Lines and CSV, where messages name lines; both are for Parquet, which has row groups.
    """

    num_records: int
    offsets: npt.NDArray[np.int64]
    lines: npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class AnnotationIndex:
    path: Path
    version: FileVersion
    sha256: str
    format: Format
    checkpoints: Checkpoints

    def check(self) -> None:
        """Raises FatalError where the file is not of this version any more."""
        if FileVersion.of(os.stat(self.path)) != self.version:
            raise changed(self.path)

    def write(self, path: Path) -> None:
        record = {
            "path": str(self.path),
            "version": asdict(self.version),
            "sha256": self.sha256,
            "format": self.format,
            "num_records": self.checkpoints.num_records,
        }
        columns = {"offset": self.checkpoints.offsets, "lines": self.checkpoints.lines}
        table = pa.table({name: pa.array([column], pa.list_(pa.int64())) for name, column in columns.items()})
        table = table.replace_schema_metadata({"index": json.dumps(record)})
        with open_atomically(path) as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)


def read_index(path: Path, of: Path, version: FileVersion) -> AnnotationIndex | None:
    """The index that stands in `path`, if it is that of this version of the file `of`."""
    try:
        with pa.memory_map(str(path)) as file:
            table = pa.ipc.open_file(file).read_all()
            record: dict[str, Any] = json.loads(table.schema.metadata[b"index"])
            offsets, lines = (np.array(column[0].values, np.int64) for column in table.columns)
    except FileNotFoundError:
        return None
    if record["path"] != str(of) or "format" not in record or FileVersion(**record["version"]) != version:
        return None
    return AnnotationIndex(
        path=of,
        version=version,
        sha256=record["sha256"],
        format=record["format"],
        checkpoints=Checkpoints(num_records=record["num_records"], offsets=offsets, lines=lines),
    )


def changed(path: Path) -> FatalError:
    return FatalError(f"{path} changed while it was read; run again with --overwrite")


class HashingReader(io.RawIOBase):
    """A file that is read once, from front to back, and hashed on the way."""

    def __init__(self, path: Path) -> None:
        self._file = io.FileIO(path)
        self._digest = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        num_read = self._file.readinto(buffer) or 0
        self._digest.update(memoryview(buffer)[:num_read])
        return num_read

    def close(self) -> None:
        self._file.close()
        super().close()

    def buffered(self) -> io.BufferedReader:
        return io.BufferedReader(self, _READ_BYTES)

    @property
    def sha256(self) -> str:
        """Hexadecimal, of what was read so far."""
        return self._digest.hexdigest()
