"""MindRecord backend: files that `mindspore.dataset.MindDataset` reads, and that we read without MindSpore.

MindSpore's FileWriter writes them, two files a shard: NAME, and NAME.db, a SQLite table of where each row stands.
Reading maps NAME into memory and takes rows straight from their pages: MindDataset has no cheap way to get one row
(4.7 ms through a sampler), and importing MindSpore takes three seconds. FORMAT.md draws the layout.

Row: the columns of `shards.formats.arrow`, but patches and keys are bytes. MindRecord gives back uninitialised memory
for empty arrays, so none is ever stored: a single zero stands in its place, and the row's counts say what is real.
"""

from __future__ import annotations

import errno
import json
import math
import mmap
import sqlite3
import stat
import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from shards.errors import DamagedShard, RowTooLarge
from shards.files.hashing import sha256_of_file, sync_file
from shards.formats.mapped import check_size, opened
from shards.manifest import index_name
from shards.model_constants import ModelConstants
from shards.pack import Pack, PackCounts, PackMaxima, PatchColumn, count_pack

SUFFIX = ".mindrecord"

MAX_PAGE_BYTES = 256 << 20  # FileWriter takes no more
_USUAL_PAGE_BYTES = 32 << 20
_MIN_PAGE_BYTES = 1 << 20
_HEADER_BYTES = 2 << 20  # FileWriter lists every page in it, about 250 bytes each
MAX_SHARD_BYTES = 4 << 30  # with the smallest pages, half filled, that list still fits

COLUMNS: dict[str, dict[str, Any]] = {
    "input_ids": {"type": "int32", "shape": [-1]},
    "labels": {"type": "int32", "shape": [-1]},
    "position_ids": {"type": "int32", "shape": [3, -1]},
    "cu_seqlens": {"type": "int32", "shape": [-1]},
    "image_patches": {"type": "bytes"},
    "image_grid_thw": {"type": "int32", "shape": [-1, 3]},
    "video_patches": {"type": "bytes"},
    "video_grid_thw": {"type": "int32", "shape": [-1, 3]},
    "second_per_grid_ts": {"type": "float64", "shape": [-1]},
    "sample_keys": {"type": "bytes"},  # UTF-8 of a JSON array of strings
    **{name: {"type": "int32"} for name in vars(PackCounts())},
}

Integers = npt.NDArray[np.int64]
_COUNTS = tuple(vars(PackCounts()))
_ARRAYS = tuple(name for name in COLUMNS if name not in _COUNTS)


# --- writing -------------------------------------------------------------------------------------------------------


def largest_row_bytes(maxima: PackMaxima, constants: ModelConstants) -> int:
    """The most that a row takes in a page, where no row is over `maxima` (tokens and the three counts of patches).

    An integer takes 4.25 bytes at most, and a token has five of them; it may be a segment with a boundary, a key and
    a grid of its own (keys are short).
    """
    image_bytes = maxima.image_patches * constants.image_patch_bytes
    video_bytes = maxima.video_patches * constants.video_patch_bytes
    widest = max(constants.image_patch_bytes, constants.video_patch_bytes)
    return min(image_bytes + video_bytes, maxima.patches * widest) + maxima.tokens * 64 + 4096


def page_bytes(row_bytes: int) -> int:
    """The page size of all files of a dataset: a power of two that holds four of the largest row, up to 32 MiB.

    A row never spans two pages, so that larger pages leave smaller gaps at their ends. MindDataset wants the same size
    in all files. Raises RowTooLarge where no page holds the row.
    """
    if row_bytes > MAX_PAGE_BYTES:
        raise RowTooLarge(
            f"the largest pack takes {row_bytes:,} bytes and a MindRecord page holds {MAX_PAGE_BYTES:,}; "
            "lower pack_patches (or pack_length), or use format arrow"
        )
    wanted = max(min(4 * row_bytes, _USUAL_PAGE_BYTES), row_bytes, _MIN_PAGE_BYTES)
    return 1 << (wanted - 1).bit_length()


def pack_to_row(pack: Pack) -> dict[str, Any]:
    row = {name: np.ascontiguousarray(getattr(pack, name)) for name in _ARRAYS if name != "sample_keys"}
    for name in ("image_grid_thw", "video_grid_thw"):
        row[name] = row[name] if len(row[name]) else np.zeros((1, 3), np.int32)
    if not len(pack.second_per_grid_ts):
        row["second_per_grid_ts"] = np.zeros(1)
    return {
        **row,
        "image_patches": pack.image_patches.tobytes() or b"\0",
        "video_patches": pack.video_patches.tobytes() or b"\0",
        "sample_keys": json.dumps(pack.sample_keys, ensure_ascii=False).encode(),
        **vars(count_pack(pack)),
    }


class MindRecordShardWriter:
    """Appends packs to one file, and writes its index when done; a context manager.

    A file knows its own name, so `path` must end in the final one.
    """

    def __init__(self, path: Path, constants: ModelConstants, page_bytes: int, *, syncs: bool = True) -> None:
        from mindspore.mindrecord import FileWriter  # takes seconds, and only this format needs it

        self._path = path
        self._constants = constants
        self._syncs = syncs
        self._num_packs = 0
        self.hashes: tuple[str, ...] = ()  # sha256 of both files, once they are written
        self._writer = FileWriter(str(path), shard_num=1)
        self._writer.set_header_size(_HEADER_BYTES)
        self._writer.set_page_size(page_bytes)
        self._writer.add_schema(COLUMNS, "packs")
        self._writer.add_index(list(_COUNTS))

    def write(self, pack: Pack) -> None:
        with self._errors_of_mindspore():
            self._writer.write_raw_data([pack_to_row(pack)])
        self._num_packs += 1

    def __enter__(self) -> MindRecordShardWriter:
        return self

    def __exit__(self, kind: object, *rest: object) -> None:
        if kind is None and self._num_packs:
            with self._errors_of_mindspore():
                self._writer.commit()
                self._check_whole()
            files = self._path, self._path.with_name(index_name(self._path.name))
            _follow_umask(*files)
            for file in files if self._syncs else ():
                sync_file(file)
            self.hashes = tuple(map(sha256_of_file, files))

    @contextmanager
    def _errors_of_mindspore(self) -> Iterator[None]:
        """A failure to write is an OSError here, though MindSpore does not say which."""
        from mindspore.mindrecord.common.exceptions import MindRecordException

        try:
            yield
        except (RuntimeError, MindRecordException, DamagedShard) as error:
            lines = str(error).strip().splitlines()
            reason = next((line for line in lines if line.startswith("[ERROR]")), lines[0] if lines else repr(error))
            raise OSError(errno.EIO, f"MindSpore could not write: {reason}", str(self._path)) from None

    def _check_whole(self) -> None:
        """FileWriter does not always notice that a disk is full."""
        shard = MindRecordShard(self._path, self._constants)
        if len(shard) != self._num_packs:
            raise DamagedShard(f"{len(shard)} of {self._num_packs} packs were written")


def _follow_umask(*paths: Path) -> None:
    """FileWriter makes files that only their owner can read."""
    fresh = paths[0].with_name("mode")
    fresh.touch()
    mode = stat.S_IMODE(fresh.stat().st_mode)
    fresh.unlink()
    for path in paths:
        path.chmod(mode)


# --- reading -------------------------------------------------------------------------------------------------------

_PLACES = "PAGE_ID_RAW, PAGE_OFFSET_RAW_END, PAGE_ID_BLOB, PAGE_OFFSET_BLOB, PAGE_OFFSET_BLOB_END"


class _Header(NamedTuple):
    columns: tuple[str, ...]  # with arrays, in the order in which they stand in a row
    num_bytes: int
    page_bytes: int


class MindRecordShard:
    """Random access to the packs of one memory-mapped file. Threads may share it."""

    def __init__(self, path: Path, constants: ModelConstants, num_bytes: int | None = None) -> None:
        """Raises DamagedShard where file or index are missing, renamed, cut, or hold other columns than packs.

        `num_bytes`: the size that the file, without its index, must have.
        """
        self._path = path
        self._constants = constants
        try:
            with opened(path, num_bytes) as file:
                self._content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError as error:  # it is empty
            raise self._damaged(f"can't be mapped ({error})") from None
        header = self._read_header()
        self._fields = header.columns
        self._first_byte, self._row_bytes, self._counts = self._read_index(header)

    def __len__(self) -> int:
        return len(self._first_byte)

    def __getitem__(self, row: int) -> Pack:
        if not 0 <= row < len(self):
            raise IndexError(f"pack {row} of {len(self)} in {self._path}")
        check_size(self._path, len(self._content))
        try:
            return self._pack(row)
        except (struct.error, ValueError, LookupError, TypeError, RecursionError) as error:
            raise self._damaged(f"is damaged in pack {row} ({error})") from None

    def patches(self, row: int, name: PatchColumn, first: int, number: int) -> npt.NDArray[np.uint8]:
        """Some of the patches of a pack: (number, bytes), a view."""
        patches: npt.NDArray[np.uint8] = getattr(self[row], name)
        return patches[first : first + number]

    def _pack(self, row: int) -> Pack:
        counts = dict(zip(_COUNTS, self._counts[row].tolist(), strict=True))
        columns = dict(zip(self._fields, self._split_row(row), strict=True))

        def integers(name: str, shape: tuple[int, ...]) -> npt.NDArray[np.int32]:
            return unpack_integers(columns[name])[: math.prod(shape)].reshape(shape)

        def patches(name: str, num_patches: int, width: int) -> npt.NDArray[np.uint8]:
            return np.frombuffer(columns[name], np.uint8)[: num_patches * width].reshape(num_patches, width)

        tokens, num_videos = counts["num_tokens"], counts["num_videos"]
        return Pack(
            input_ids=integers("input_ids", (tokens,)),
            labels=integers("labels", (tokens,)),
            position_ids=integers("position_ids", (3, tokens)),
            cu_seqlens=integers("cu_seqlens", (counts["num_samples"] + 1,)),
            image_patches=patches("image_patches", counts["num_image_patches"], self._constants.image_patch_bytes),
            image_grid_thw=integers("image_grid_thw", (counts["num_images"], 3)),
            video_patches=patches("video_patches", counts["num_video_patches"], self._constants.video_patch_bytes),
            video_grid_thw=integers("video_grid_thw", (num_videos, 3)),
            second_per_grid_ts=np.frombuffer(columns["second_per_grid_ts"], "<f8")[:num_videos].astype(np.float64),
            sample_keys=tuple(json.loads(bytes(columns["sample_keys"]))),
        )

    def _split_row(self, row: int) -> Iterator[memoryview]:
        """The columns of a row, each preceded by its length; the row is preceded by its own."""
        first, num_bytes = int(self._first_byte[row]), int(self._row_bytes[row])
        content = memoryview(self._content)[first : first + num_bytes]
        (length,) = struct.unpack_from("<Q", content)
        if length != num_bytes - 8:
            raise ValueError(f"a row of {length} bytes where the index says {num_bytes - 8}")
        position = 8
        for _ in self._fields:
            (length,) = struct.unpack_from(">Q", content, position)
            position += 8
            if position + length > num_bytes:
                raise ValueError("a column reaches beyond its row")
            yield content[position : position + length]
            position += length

    def _read_header(self) -> _Header:
        try:
            (length,) = struct.unpack_from("<Q", self._content)
            record = json.loads(self._content[8 : 8 + length])
            [schema], [name] = record["schema"], record["shard_addresses"]
            columns, order = schema["schema"], tuple(schema["blob_fields"])
            header = _Header(order, int(record["header_size"]), int(record["page_size"]))
        except (struct.error, ValueError, LookupError, TypeError, OverflowError, RecursionError) as error:
            raise self._damaged(f"is not a MindRecord file ({error})") from None
        if name != self._path.name:
            raise DamagedShard(f"{self._path} was renamed, or changed places: it is {name}; give it its name back")
        if not (0 <= header.num_bytes <= len(self._content) and 0 < header.page_bytes <= MAX_PAGE_BYTES):
            raise self._damaged("has a header of other sizes than its own")
        if columns != COLUMNS or sorted(order) != sorted(_ARRAYS):
            raise self._damaged("has other columns than the packs of a dataset")
        return header

    def _read_index(self, header: _Header) -> tuple[Integers, Integers, Integers]:
        """Of each row: its first byte, its size in bytes, its counts."""
        path = self._path.with_name(index_name(self._path.name))
        with opened(path):
            pass  # SQLite says of every failure only that it can't
        counts = ", ".join(f"{name}_0" for name in _COUNTS)
        query = f"SELECT {_PLACES}, {counts} FROM INDEXES ORDER BY ROW_ID"
        try:
            with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro&immutable=1", uri=True)) as database:
                if database.execute("SELECT type FROM sqlite_master WHERE name = 'INDEXES'").fetchall() != [("table",)]:
                    raise ValueError("it has no table INDEXES")  # a view could go on for ever
                rows = np.array(database.execute(query).fetchall(), np.int64).reshape(-1, 5 + len(_COUNTS))
        except (sqlite3.Error, ValueError, TypeError, OverflowError) as error:
            raise self._damaged(f"has a damaged index, {path.name} ({error})") from None
        scalar_pages, scalar_ends, pages, starts, ends = rows[:, :5].T
        first_byte = header.num_bytes + pages * header.page_bytes + starts
        sizes = ends - starts
        last_bytes = np.maximum(first_byte + sizes, header.num_bytes + scalar_pages * header.page_bytes + scalar_ends)
        if np.any(sizes < 8) or np.any(first_byte < 0) or np.any(last_bytes > len(self._content)) or np.any(rows < 0):
            raise self._damaged(f"is shorter than its index says, {path.name}")
        return first_byte, sizes, rows[:, 5:]

    def _damaged(self, what: str) -> DamagedShard:
        return DamagedShard(f"{self._path} {what}; preprocess again")


def unpack_integers(column: memoryview) -> npt.NDArray[np.int32]:
    """Undo the packing of an integer column, which keeps only the low bytes that a number needs.

    A count (4 bytes, big-endian), two bits a number that say how many bytes it has (1, 2, 4 or 8; the first number in
    the highest bits), then the numbers (little-endian, signed). Raises ValueError or struct.error where this is not so.
    """
    (count,) = struct.unpack_from(">I", column)
    codes = np.frombuffer(column, np.uint8, -(-count // 4), 4)
    sizes = _SIZES_BY_CODE[codes].reshape(-1)[:count]
    content = bytes(column[4 + len(codes) :]) + bytes(4)
    starts = np.cumsum(sizes, dtype=np.int64) - sizes
    if (count and starts[-1] + sizes[-1] != len(content) - 4) or np.any(sizes > 4):
        raise ValueError(f"{len(content) - 4} bytes can't be {count} integers of 32 bits")
    four_bytes_anywhere: npt.NDArray[np.int32] = np.ndarray(len(content) - 3, "<i4", content, strides=(1,))
    unused_bits = 32 - 8 * sizes.astype(np.int32)
    return (four_bytes_anywhere[starts] << unused_bits) >> unused_bits


_SIZES_BY_CODE = np.array([[1 << (code >> shift & 3) for shift in (6, 4, 2, 0)] for code in range(256)], np.uint8)
