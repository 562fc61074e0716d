"""The safetensors files of a Hugging Face model folder, in and out. Needs no MindSpore.

Weights may be called in two ways (`train.weights.names`): both are read, flat is written. One file
`model.safetensors`, or several with `model.safetensors.index.json`.

Reading and writing take one tensor at a time: nothing here holds the weights of a model.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from shards.files.atomic import open_atomically, write_atomically
from train.errors import WeightsError
from train.weights.bfloat16 import round_to_bfloat16
from train.weights.names import WeightNames

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
STATE_NAME = "trainer_state.json"  # of a checkpoint, beside its weights
MAX_SHARD_BYTES = 5 * 10**9  # of one file's tensors, as transformers 4.57.1 splits them
STORED_DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}
MAX_NAMED = 10
_COPIED_SUFFIXES = (".json", ".jinja", ".txt", ".model")
# The first names files that stay behind; the second is about the run that made them.
_NOT_COPIED = (INDEX_FILE, STATE_NAME)


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

    def read_stored(self) -> npt.NDArray[Any]:
        """In the dtype of the file; bfloat16 as uint16."""
        stored = np.fromfile(self.path, np.uint8, count=self.num_bytes, offset=self.offset)
        if len(stored) != self.num_bytes:
            raise WeightsError(f"{self.path} ends within {self.key}; download or copy it again")
        return stored.view(STORED_DTYPES[self.dtype]).reshape(self.shape)


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
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32)


def from_float32(values: npt.NDArray[np.float32], dtype: str) -> npt.NDArray[Any]:
    """`values` as `dtype` stores them; bfloat16 as in `round_to_bfloat16`."""
    if dtype != "BF16":
        return values.astype(STORED_DTYPES[dtype], copy=False)
    return round_to_bfloat16(values)


def find_weights(folder: Path, names: WeightNames) -> dict[str, StoredWeight]:
    """Every stored tensor of a model folder by its flat name. Raises WeightsError."""
    found: dict[str, StoredWeight] = {}
    for path in _weight_files(folder):
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


def copy_companions(model_folder: Path, folder: Path) -> None:
    """Copy what says how to use the weights of `model_folder`: configuration, tokenizer, processor."""
    for source in sorted(model_folder.iterdir()):
        if source.suffix in _COPIED_SUFFIXES and source.name not in _NOT_COPIED:
            shutil.copyfile(source, folder / source.name)


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


def _weight_files(folder: Path) -> list[Path]:
    index_path = folder / INDEX_FILE
    if not index_path.exists():
        if not (folder / SINGLE_FILE).exists():
            raise WeightsError(
                f"{folder} has neither {SINGLE_FILE} nor {INDEX_FILE}; it must be a Hugging Face model folder"
            )
        return [folder / SINGLE_FILE]
    try:
        names = sorted(set(json.loads(index_path.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError) as error:
        raise WeightsError(f"{index_path} is not an index of safetensors files ({error!r})") from None
    missing = [name for name in names if not (folder / name).exists()]
    if missing:
        raise WeightsError(f"{index_path} names files that are not there: {listing(missing)}; download them again")
    return [folder / name for name in names]


def stored_weights(path: Path) -> Iterator[StoredWeight]:
    """The header of a safetensors file: a length (8 bytes), then JSON (huggingface/safetensors, README, "Format").

    Read here, because the library's NumPy reader refuses bfloat16.
    """
    for key, entry in _read_header(path).items():
        if key == "__metadata__":
            continue
        if entry["dtype"] not in STORED_DTYPES:
            raise WeightsError(f"{path}: {key} is {entry['dtype']}; supported: {', '.join(STORED_DTYPES)}")
        begin, end = entry["data_offsets"]
        if end - begin != STORED_DTYPES[entry["dtype"]].itemsize * math.prod(entry["shape"]):
            raise WeightsError(f"{path}: {key} has {end - begin} bytes, which its shape {entry['shape']} contradicts")
        yield StoredWeight(
            path=path,
            key=key,
            dtype=entry["dtype"],
            shape=tuple(entry["shape"]),
            offset=entry["header_bytes"] + begin,
            num_bytes=end - begin,
        )


def _read_header(path: Path) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > path.stat().st_size:
                raise ValueError("a header longer than the file")
            header = json.loads(file.read(length))
        return {key: {**entry, "header_bytes": 8 + length} for key, entry in header.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise WeightsError(f"{path} is not a safetensors file ({error}); download or copy it again") from None


def listing(names: list[str]) -> str:
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more
