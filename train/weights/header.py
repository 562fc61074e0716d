"""The header of a safetensors file, checked as a whole before anything is read (safetensors, README, "Format").

    8 bytes: length N | N bytes: JSON, name -> {dtype, shape, data_offsets} | the tensors, one after another, no gaps

Read here, because the library's NumPy reader refuses bfloat16. Needs no MindSpore.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, TypeGuard

from shards.files.plain import open_own
from train.errors import WeightsError

METADATA = "__metadata__"
_LENGTH_BYTES = 8
_MOST_HEADER_BYTES = 100_000_000  # the library's limit too


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One tensor of a file."""

    key: str
    dtype: str
    shape: tuple[int, ...]
    offset: int  # bytes from the start of the file
    num_bytes: int


def read_header(path: Path, item_bytes: dict[str, int]) -> list[Entry]:
    """The tensors of a file, in its order. `item_bytes`: dtype -> bytes of a number, for those that can be read.

    Raises WeightsError, naming the file and the tensor: it can't be read, or is no safetensors file, or tensors
    overlap, leave gaps, or reach beyond its end.
    """
    try:
        with open_own(path) as file:
            header, first_byte, num_bytes = _parse(file)
    except OSError as error:
        raise unreadable(path, error) from None
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path} is not a safetensors file ({error}); download or copy it again") from None
    entries = [_entry(path, key, value, item_bytes) for key, value in header.items() if key != METADATA]
    _check_offsets(path, entries, num_bytes)
    return [replace(each, offset=each.offset + first_byte) for each in entries]


def unreadable(path: Path, error: OSError) -> WeightsError:
    return WeightsError(f"{path} can't be read: {error.strerror or error}")


def _parse(file: BinaryIO) -> tuple[dict[str, Any], int, int]:
    """The JSON, where the tensors begin, and how many bytes of them there are. Raises ValueError."""
    size = os.fstat(file.fileno()).st_size
    prefix = file.read(_LENGTH_BYTES)
    length = int.from_bytes(prefix, "little")
    first_byte = _LENGTH_BYTES + length
    if len(prefix) < _LENGTH_BYTES or first_byte > size:
        raise ValueError("a header longer than the file")
    if length > _MOST_HEADER_BYTES:
        raise ValueError(f"a header of {length:,} bytes, {_MOST_HEADER_BYTES:,} at most")
    header = json.loads(file.read(length))
    if not isinstance(header, dict):
        raise ValueError("its header is not a JSON object")
    return header, first_byte, size - first_byte


def _entry(path: Path, key: str, value: Any, item_bytes: dict[str, int]) -> Entry:
    """With the offset as it stands there, from the first byte of the tensors."""
    if not isinstance(value, dict):
        raise WeightsError(f"{path}: {key} is {value!r}, not a tensor; download or copy it again")
    dtype, shape, offsets = (value.get(name) for name in ("dtype", "shape", "data_offsets"))
    if not isinstance(dtype, str) or dtype not in item_bytes:
        raise WeightsError(f"{path}: {key} is {dtype}; supported: {', '.join(item_bytes)}")
    if not _are_sizes(shape):
        raise WeightsError(f"{path}: {key} has shape {shape!r}, not a list of sizes; download or copy it again")
    if not _are_sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise WeightsError(f"{path}: {key} has data_offsets {offsets!r}, not [begin, end]; download or copy it again")
    begin, end = offsets
    if end - begin != item_bytes[dtype] * math.prod(shape):
        raise WeightsError(f"{path}: {key} has {end - begin} bytes, which its shape {shape} contradicts")
    return Entry(key=key, dtype=dtype, shape=tuple(shape), offset=begin, num_bytes=end - begin)


def _check_offsets(path: Path, entries: list[Entry], num_bytes: int) -> None:
    """Every byte behind the header belongs to one tensor."""
    end = 0
    for entry in sorted(entries, key=lambda entry: (entry.offset, entry.num_bytes)):
        if entry.offset != end:
            what = "overlaps the tensor before it" if entry.offset < end else "leaves a gap before it"
            raise WeightsError(f"{path}: {entry.key} {what}; download or copy it again")
        end += entry.num_bytes
        if end > num_bytes:
            raise WeightsError(f"{path} ends within {entry.key}; download or copy it again")
    if end != num_bytes:
        raise WeightsError(f"{path} has {num_bytes - end:,} bytes behind its last tensor; download or copy it again")


def _are_sizes(values: Any) -> TypeGuard[list[int]]:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)
