"""Arrow IPC backend: one record batch a pack, memory-mapped, zero-copy.

Every array of a pack is the values buffer of a (nested) list column with one entry, so reading is pointer arithmetic.
In compressed shards the two columns of patches are lists of blocks (`patch_blocks.py`), which are expanded when they
are read; the schema of a file says which it is.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from shards.errors import DamagedShard
from shards.files.hashing import HashedFile
from shards.formats.mapped import check_size, opened
from shards.formats.patch_blocks import BLOCK_PATCHES, compress_patches, expand_patches, num_blocks
from shards.model_constants import ModelConstants
from shards.pack import Pack, PatchColumn, count_pack

SUFFIX = ".arrow"
_BUFFER_BYTES = 1 << 20


def arrow_schema(constants: ModelConstants, *, compress: bool = False) -> pa.Schema:
    def patches(num_bytes: int) -> pa.DataType:
        return pa.list_(pa.large_binary() if compress else pa.list_(pa.uint8(), num_bytes))

    grid = pa.list_(pa.list_(pa.int32(), 3))
    return pa.schema(
        [
            ("input_ids", pa.list_(pa.int32())),
            ("labels", pa.list_(pa.int32())),
            ("position_ids", pa.list_(pa.list_(pa.int32()), 3)),
            ("cu_seqlens", pa.list_(pa.int32())),
            ("image_patches", patches(constants.image_patch_bytes)),
            ("image_grid_thw", grid),
            ("video_patches", patches(constants.video_patch_bytes)),
            ("video_grid_thw", grid),
            ("second_per_grid_ts", pa.list_(pa.float64())),
            ("sample_keys", pa.list_(pa.string())),
            ("num_samples", pa.int32()),
            ("num_tokens", pa.int32()),
            ("num_label_tokens", pa.int32()),
            ("num_images", pa.int32()),
            ("num_videos", pa.int32()),
            ("num_image_patches", pa.int32()),
            ("num_video_patches", pa.int32()),
        ]
    )


def _one_list(values: pa.Array) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), values)


def _rows(array: npt.NDArray[Any]) -> pa.Array:
    """(N, width) -> one list of N fixed-size lists."""
    flat = pa.array(np.ascontiguousarray(array).reshape(-1))
    return _one_list(pa.FixedSizeListArray.from_arrays(flat, array.shape[1]))


def pack_to_batch(pack: Pack, schema: pa.Schema, constants: ModelConstants) -> pa.RecordBatch:
    def patches(name: PatchColumn) -> pa.Array:
        if not _is_compressed(schema):
            return _rows(getattr(pack, name))
        return _one_list(pa.array(compress_patches(getattr(pack, name), constants.patch_size), pa.large_binary()))

    tokens = pack.num_tokens
    rows_of_positions = pa.ListArray.from_arrays(
        pa.array([0, tokens, 2 * tokens, 3 * tokens], pa.int32()),
        pa.array(np.ascontiguousarray(pack.position_ids).reshape(-1)),
    )
    columns: dict[str, pa.Array] = {
        "input_ids": _one_list(pa.array(pack.input_ids)),
        "labels": _one_list(pa.array(pack.labels)),
        "position_ids": pa.FixedSizeListArray.from_arrays(rows_of_positions, 3),
        "cu_seqlens": _one_list(pa.array(pack.cu_seqlens)),
        "image_patches": patches("image_patches"),
        "image_grid_thw": _rows(pack.image_grid_thw),
        "video_patches": patches("video_patches"),
        "video_grid_thw": _rows(pack.video_grid_thw),
        "second_per_grid_ts": _one_list(pa.array(pack.second_per_grid_ts)),
        "sample_keys": _one_list(pa.array(pack.sample_keys, pa.string())),
    }
    for name, value in vars(count_pack(pack)).items():
        columns[name] = pa.array([value], pa.int32())
    return pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)


def _is_compressed(schema: pa.Schema) -> bool:
    return bool(pa.types.is_large_binary(schema.field("image_patches").type.value_type))


def batch_to_pack(batch: pa.RecordBatch, constants: ModelConstants) -> Pack:
    """Views into the batch's buffers; no payload byte is copied, unless patches are compressed.

    A column is one list over all of its values: `values` takes them as they are, fifty times faster than `flatten`.
    """

    def flat(name: str) -> npt.NDArray[Any]:
        return batch.column(name).values.to_numpy(zero_copy_only=True)

    def grid(name: str) -> npt.NDArray[Any]:
        return _unlisted(batch.column(name).values)

    return Pack(
        input_ids=flat("input_ids"),
        labels=flat("labels"),
        position_ids=batch.column("position_ids").values.values.to_numpy(zero_copy_only=True).reshape(3, -1),
        cu_seqlens=flat("cu_seqlens"),
        image_patches=batch_patches(batch, "image_patches", constants),
        image_grid_thw=grid("image_grid_thw"),
        video_patches=batch_patches(batch, "video_patches", constants),
        video_grid_thw=grid("video_grid_thw"),
        second_per_grid_ts=flat("second_per_grid_ts"),
        sample_keys=tuple(batch.column("sample_keys").values.to_pylist()),
    )


def batch_patches(
    batch: pa.RecordBatch, name: PatchColumn, constants: ModelConstants, first: int = 0, number: int | None = None
) -> npt.NDArray[np.uint8]:
    """`number` of the patches from `first` on, or all of them: (patches, bytes).

    Raises ValueError or OSError where the blocks of compressed ones are not what they should be.
    """
    values = batch.column(name).values
    if not _is_compressed(batch.schema):
        patches = _unlisted(values)
        return patches[first : None if number is None else first + number]
    stored = batch.column(f"num_{name}")[0].as_py()
    if stored < 0 or num_blocks(stored) != len(values):
        raise ValueError(f"{len(values)} blocks of {stored} {name}")
    last = stored if number is None else first + number
    if not 0 <= first <= last <= stored:
        raise ValueError(f"it has {stored} {name}, not {first} to {last}")
    width = constants.image_patch_bytes if name == "image_patches" else constants.video_patch_bytes
    first_block, end_block = first // BLOCK_PATCHES, -(-last // BLOCK_PATCHES)
    skipped, end = first_block * BLOCK_PATCHES, min(end_block * BLOCK_PATCHES, stored)
    blocks = [values[block].as_buffer() for block in range(first_block, end_block)]
    return expand_patches(blocks, end - skipped, width, constants.patch_size)[first - skipped : last - skipped]


def _unlisted(lists: pa.Array) -> npt.NDArray[Any]:
    """N fixed-size lists -> (N, width)"""
    return lists.values.to_numpy(zero_copy_only=True).reshape(len(lists), lists.type.list_size)


class ArrowShardWriter:
    """Appends packs to a new file; a context manager. Once left without an exception, the file is whole, and on the
    disk if it `syncs`.
    """

    def __init__(self, path: Path, constants: ModelConstants, *, compress: bool = False, syncs: bool = True) -> None:
        self._schema = arrow_schema(constants, compress=compress)
        self._constants = constants
        self._file = HashedFile(path, syncs=syncs)
        self._buffer = io.BufferedWriter(self._file, _BUFFER_BYTES)  # Arrow writes every little array by itself
        self._writer = pa.ipc.new_file(self._buffer, self._schema)

    def write(self, pack: Pack) -> None:
        self._writer.write_batch(pack_to_batch(pack, self._schema, self._constants))

    @property
    def hashes(self) -> tuple[str]:
        """The sha256 of the whole file, once it is closed."""
        return (self._file.sha256,)

    def __enter__(self) -> ArrowShardWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._file:
            if kind is None:
                self._writer.close()
                self._buffer.flush()
                self._file.sync()


class ArrowShard:
    """Random access to the packs of one memory-mapped file."""

    def __init__(self, path: Path, constants: ModelConstants, num_bytes: int | None = None) -> None:
        """Raises DamagedShard where there is no whole Arrow file with the columns of a pack of that model.

        `num_bytes`: the size that it must have.
        """
        self._path = path
        self._constants = constants
        self._one_at_a_time = Lock()  # threads may share a shard; Arrow does not say that they may share its reader
        try:
            with opened(path, num_bytes):
                mapping = pa.memory_map(str(path))
            self._num_bytes = mapping.size()
            self._reader = pa.ipc.open_file(mapping)
        except (pa.ArrowException, OSError) as error:
            raise DamagedShard(f"{path} is not a whole Arrow file ({error}); preprocess again") from None
        if not any(self._reader.schema.equals(arrow_schema(constants, compress=each)) for each in (False, True)):
            raise DamagedShard(f"{path} has other columns than the packs of this dataset; preprocess again")
        self._num_packs = self._reader.num_record_batches  # which stands in the mapping, so that asking is reading

    def __len__(self) -> int:
        return self._num_packs

    def __getitem__(self, row: int) -> Pack:
        with self._reading(row) as batch:
            return batch_to_pack(batch, self._constants)

    def patches(self, row: int, name: PatchColumn, first: int, number: int) -> npt.NDArray[np.uint8]:
        """Some of the patches of a pack: (number, bytes). Of compressed ones, only their blocks are expanded."""
        with self._reading(row) as batch:
            return batch_patches(batch, name, self._constants, first, number)

    @contextmanager
    def _reading(self, row: int) -> Iterator[pa.RecordBatch]:
        """The batch; damage that shows while it is being read becomes DamagedShard."""
        if not 0 <= row < len(self):
            raise IndexError(f"pack {row} of {len(self)} in {self._path}")
        check_size(self._path, self._num_bytes)
        try:
            with self._one_at_a_time:
                batch = self._reader.get_batch(row)
            # Lengths and offsets of a damaged file would let Arrow read beyond its mapping, or end the process. All of
            # them are checked here, no value is: a pack has a few dozen lists, however large they are.
            batch.validate(full=True)
            yield batch
        except (pa.ArrowException, OSError, ValueError) as error:
            raise DamagedShard(f"{self._path} is damaged in pack {row} ({error}); preprocess again") from None
