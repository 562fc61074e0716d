"""The safetensors files of a Hugging Face model folder, in and out. Needs no MindSpore.

Weights may be called in two ways (`train.weights.names`): both are read, flat is written. One file
`model.safetensors`, or several with `model.safetensors.index.json`.

Reading and writing take one tensor at a time: nothing here holds the weights of a model.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from shards.files.atomic import open_atomically
from shards.files.plain import open_own, read_own
from train.errors import WeightsError
from train.weights.bfloat16 import round_to_bfloat16
from train.weights.companions import INDEX_FILE, require_own
from train.weights.header import read_header, unreadable
from train.weights.names import WeightNames
from train.weights.parts import HeldPart

SINGLE_FILE = "model.safetensors"
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
    """One tensor that is asked for when it is its turn."""

    name: str
    dtype: str  # a key of STORED_DTYPES
    shape: tuple[int, ...]
    read: Callable[[], npt.NDArray[Any]]  # its values in the NumPy dtype that STORED_DTYPES gives

    held: HeldPart | None = None  # where ranks hold parts of it, this one's, in that dtype; all must `read` at once

    @property
    def item_bytes(self) -> int:
        return STORED_DTYPES[self.dtype].itemsize

    @property
    def num_bytes(self) -> int:
        return self.item_bytes * math.prod(self.shape)


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


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where everything stands in a safetensors file; a function of names, dtypes and shapes."""

    prefix: bytes  # the file's first bytes: length and header
    order: tuple[WeightToWrite, ...]  # the tensors, one after another
    offsets: Mapping[str, int]  # name -> bytes from the start of the file
    num_bytes: int  # of the file


def lay_out(weights: Sequence[WeightToWrite]) -> Layout:
    # Wide numbers first: each tensor then starts at a multiple of its item size, which memory maps need.
    ordered = tuple(sorted(weights, key=lambda weight: -weight.item_bytes))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offsets, end = {}, 0
    for weight in ordered:
        offsets[weight.name], end = end, end + weight.num_bytes
        header[weight.name] = {
            "dtype": weight.dtype,
            "shape": list(weight.shape),
            "data_offsets": [offsets[weight.name], end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    prefix = len(text).to_bytes(8, "little") + text
    offsets = {name: len(prefix) + offset for name, offset in offsets.items()}
    return Layout(prefix=prefix, order=ordered, offsets=offsets, num_bytes=len(prefix) + end)


def write_file(path: Path, weights: Sequence[WeightToWrite]) -> None:
    """One safetensors file, whole or not at all. Raises ValueError where a weight is not what it said."""
    layout = lay_out(weights)
    with open_atomically(path) as file:
        file.write(layout.prefix)
        for weight in layout.order:
            file.write(bytes_of(weight, weight.read(), weight.shape))


def bytes_of(weight: WeightToWrite, read: npt.NDArray[Any], shape: tuple[int, ...]) -> memoryview:
    """What was read of `weight`, which must have its dtype, and `shape`. Raises ValueError."""
    values = np.asarray(read, order="C")
    if (values.dtype, values.shape) != (STORED_DTYPES[weight.dtype], shape):
        raise ValueError(f"{weight.name} is {values.dtype} {values.shape}, not {weight.dtype} {shape}")
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
