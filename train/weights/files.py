"""The safetensors files of a Hugging Face model folder, in and out. Needs no MindSpore.

Weights may be called in two ways (`train.weights.names`): both are read, flat is written. One file
`model.safetensors`, or several with `model.safetensors.index.json`.

Reading and writing take one tensor at a time: nothing here holds the weights of a model.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from shards.files.atomic import open_atomically, write_atomically
from shards.files.plain import open_own, read_own
from train.errors import WeightsError
from train.weights.bfloat16 import round_to_bfloat16
from train.weights.companions import INDEX_FILE, require_own
from train.weights.header import read_header, unreadable
from train.weights.names import WeightNames

SINGLE_FILE = "model.safetensors"
MAX_SHARD_BYTES = 5 * 10**9  # of one file's tensors, as transformers 4.57.1 splits them
STORED_DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}
MAX_NAMED = 10


@dataclass(frozen=True, kw_only=True)
class StoredWeight:
    """One tensor of a safetensors file, not yet read."""

    path: Path
    key: str  # its name in the file
    dtype: str
    shape: tuple[int, ...]
    offset: int  # bytes from the start of the file
    num_bytes: int

    def read(self) -> npt.NDArray[np.float32]:
        return to_float32(self.read_stored(), self.dtype)

    def read_values(self, first: int, last: int) -> npt.NDArray[np.float32]:
        """(last - first,): those values alone, in the order of the file."""
        return to_float32(self._read(first, last), self.dtype)

    def read_stored(self) -> npt.NDArray[Any]:
        """In the dtype of the file; bfloat16 as uint16."""
        return self._read(0, math.prod(self.shape)).reshape(self.shape)

    def _read(self, first: int, last: int) -> npt.NDArray[Any]:
        dtype = STORED_DTYPES[self.dtype]
        try:
            with open_own(self.path) as file:
                file.seek(self.offset + first * dtype.itemsize)
                stored = np.fromfile(file, np.uint8, count=(last - first) * dtype.itemsize)
        except OSError as error:
            raise unreadable(self.path, error) from None
        if len(stored) != (last - first) * dtype.itemsize:
            raise WeightsError(f"{self.path} ends within {self.key}; download or copy it again")
        return stored.view(dtype)


@dataclass(frozen=True, kw_only=True)
class WeightToWrite:
    """One tensor that `write_weights` asks for when it is its turn."""

    name: str
    dtype: str  # a key of STORED_DTYPES
    shape: tuple[int, ...]
    read: Callable[[], npt.NDArray[Any]]  # its values in the NumPy dtype that STORED_DTYPES gives

    @property
    def num_bytes(self) -> int:
        return STORED_DTYPES[self.dtype].itemsize * math.prod(self.shape)


def to_float32(values: npt.NDArray[Any], dtype: str) -> npt.NDArray[np.float32]:
    """`values` as stored. bfloat16, which NumPy lacks, comes as uint16: the upper half of a float32."""
    if dtype == "BF16":
        wide = values.astype(np.uint32)
        wide <<= 16
        return wide.view(np.float32)
    return values.astype(np.float32)


def from_float32(values: npt.NDArray[np.float32], dtype: str) -> npt.NDArray[Any]:
    """`values` as `dtype` stores them; bfloat16 as in `round_to_bfloat16`."""
    if dtype != "BF16":
        return values.astype(STORED_DTYPES[dtype], copy=False)
    return round_to_bfloat16(values)


def find_weights(folder: Path, names: WeightNames) -> dict[str, StoredWeight]:
    """Every stored tensor of a model folder by its flat name. Raises WeightsError."""
    found: dict[str, StoredWeight] = {}
    for file_name in _weight_files(folder):
        path = require_own(folder, file_name)
        for weight in stored_weights(path):
            name = names.flat(weight.key)
            if name in found:
                raise WeightsError(
                    f"{found[name].path}: {found[name].key} and {path}: {weight.key} are the same weight"
                )
            found[name] = weight
    return found


def write_weights(
    folder: Path, weights: Sequence[WeightToWrite], *, max_shard_bytes: int = MAX_SHARD_BYTES
) -> list[Path]:
    """Write model.safetensors, or where it would exceed `max_shard_bytes`, several files and then their index.

    Every file is on disk before it gets its name. Returns the paths, last the one without which a folder holds no
    weights. A tensor larger than `max_shard_bytes` has a file of its own.
    """
    shards = _split(weights, max_shard_bytes)
    if len(shards) == 1:
        write_file(folder / SINGLE_FILE, weights)
        return [folder / SINGLE_FILE]
    names = [f"model-{index:05d}-of-{len(shards):05d}.safetensors" for index in range(1, len(shards) + 1)]
    for name, shard in zip(names, shards, strict=True):
        write_file(folder / name, shard)
    index = {
        "metadata": {"total_size": sum(weight.num_bytes for weight in weights)},
        "weight_map": {weight.name: name for name, shard in zip(names, shards, strict=True) for weight in shard},
    }
    write_atomically(folder / INDEX_FILE, json.dumps(index, indent=2, sort_keys=True) + "\n")
    return [*(folder / name for name in names), folder / INDEX_FILE]


def write_file(path: Path, weights: Sequence[WeightToWrite]) -> None:
    """One safetensors file, whole or not at all. Raises ValueError where a weight is not what it said."""
    # Wide numbers first: each tensor then starts at a multiple of its item size, which memory maps need.
    ordered = sorted(weights, key=lambda weight: -STORED_DTYPES[weight.dtype].itemsize)
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for weight in ordered:
        header[weight.name] = {
            "dtype": weight.dtype,
            "shape": list(weight.shape),
            "data_offsets": [offset, offset + weight.num_bytes],
        }
        offset += weight.num_bytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    prefix = len(text).to_bytes(8, "little") + text
    with open_atomically(path) as file:
        file.write(prefix)
        for weight in ordered:
            file.write(_bytes_of(weight))


def _split(weights: Iterable[WeightToWrite], max_shard_bytes: int) -> list[list[WeightToWrite]]:
    """In order, a new file where the next tensor has no room."""
    shards: list[list[WeightToWrite]] = [[]]
    room = max_shard_bytes
    for weight in weights:
        if shards[-1] and weight.num_bytes > room:
            shards.append([])
            room = max_shard_bytes
        shards[-1].append(weight)
        room -= weight.num_bytes
    return shards


def _bytes_of(weight: WeightToWrite) -> memoryview:
    values = np.asarray(weight.read(), order="C")
    if (values.dtype, values.shape) != (STORED_DTYPES[weight.dtype], weight.shape):
        raise ValueError(f"{weight.name} is {values.dtype} {values.shape}, not {weight.dtype} {weight.shape}")
    return values.reshape(-1).view(np.uint8).data


def _weight_files(folder: Path) -> list[str]:
    """Their names, as the index says them."""
    index_path = folder / INDEX_FILE
    if not os.path.lexists(index_path):
        if not (folder / SINGLE_FILE).exists():
            raise WeightsError(
                f"{folder} has neither {SINGLE_FILE} nor {INDEX_FILE}; it must be a Hugging Face model folder"
            )
        return [SINGLE_FILE]
    require_own(folder, INDEX_FILE)
    try:
        names = set(json.loads(read_own(index_path))["weight_map"].values())
        if not all(isinstance(name, str) for name in names):
            raise TypeError("a name of a file is no text")
    except OSError as error:
        raise unreadable(index_path, error) from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(f"{index_path} is not an index of safetensors files ({error!r})") from None
    missing = [name for name in sorted(names) if not require_own(folder, name).exists()]
    if missing:
        raise WeightsError(f"{index_path} names files that are not there: {listing(missing)}; download them again")
    return sorted(names)


def stored_weights(path: Path) -> Iterator[StoredWeight]:
    """Every tensor of a safetensors file. Raises WeightsError where `read_header` does."""
    for entry in read_header(path, {name: dtype.itemsize for name, dtype in STORED_DTYPES.items()}):
        yield StoredWeight(path=path, **vars(entry))


def listing(names: list[str]) -> str:
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more
