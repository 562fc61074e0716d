"""Hugging Face safetensors -> parameters, and back.

On disk two namings exist: flat, as published (`visual.*`, `model.layers.*`), which is also how our parameters are
called, and nested, as transformers 4.57.1 calls them in memory (`model.visual.*`, `model.language_model.*`). Both are
read, flat is written. One file `model.safetensors`, or several with `model.safetensors.index.json`. Numbers become
float32.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
import numpy.typing as npt
from mindspore import nn
from safetensors.numpy import save_file

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
EMBEDDING = "model.embed_tokens.weight"
HEAD = "lm_head.weight"
NESTED_PREFIXES = (("model.visual.", "visual."), ("model.language_model.", "model."))
STORED_DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}
MAX_NAMED = 10


class WeightsError(Exception):
    """Weights that don't fit the model, or files that can't be read; names the files and the weights."""


def load_weights(model: nn.Cell, folder: Path) -> None:
    """Fill every parameter of `model` from the safetensors in `folder`.

    Raises WeightsError listing missing or unexpected names, or wrong shapes; the model is then partly filled. A head
    that is tied to the embedding may be absent; if present it must be equal to it.
    """
    parameters = {parameter.name: parameter for parameter in model.get_parameters()}
    stored = find_weights(folder)
    is_tied = HEAD not in parameters
    expected = {*parameters, HEAD} if is_tied and HEAD in stored else set(parameters)
    _require_names(folder, expected, stored)
    for name, parameter in parameters.items():
        values = stored[name].read()
        if values.shape != parameter.shape:
            raise WeightsError(
                f"{stored[name].path}: {stored[name].key} has shape {values.shape}, "
                f"config.json implies {parameter.shape}"
            )
        parameter.set_data(ms.Tensor(values))
    if is_tied and HEAD in stored and not np.array_equal(stored[HEAD].read(), parameters[EMBEDDING].asnumpy()):
        raise WeightsError(
            f"{stored[HEAD].path}: {HEAD} differs from {EMBEDDING}, but config.json says tie_word_embeddings"
        )


def save_model(folder: Path, model: nn.Cell) -> Path:
    """Write every parameter, float32, under its flat name to folder/model.safetensors, whole or not at all.

    A tied head is not written, as in the published checkpoints.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / SINGLE_FILE
    temporary = path.with_name(f".{path.name}.tmp")
    save_file(
        {parameter.name: parameter.asnumpy() for parameter in model.get_parameters()}, temporary, {"format": "pt"}
    )
    with open(temporary, "rb") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)
    return path


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
        stored = np.fromfile(self.path, np.uint8, count=self.num_bytes, offset=self.offset)
        if len(stored) != self.num_bytes:
            raise WeightsError(f"{self.path} ends within {self.key}; download or copy it again")
        return to_float32(stored.view(STORED_DTYPES[self.dtype]), self.dtype).reshape(self.shape)


def to_float32(values: npt.NDArray[Any], dtype: str) -> npt.NDArray[np.float32]:
    """`values` as stored. bfloat16, which NumPy lacks, comes as uint16: the upper half of a float32."""
    if dtype == "BF16":
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32)


def find_weights(folder: Path) -> dict[str, StoredWeight]:
    """Every stored tensor of a model folder by its flat name. Raises WeightsError."""
    found: dict[str, StoredWeight] = {}
    for path in _weight_files(folder):
        for weight in _stored_weights(path):
            name = flat_name(weight.key)
            if name in found:
                raise WeightsError(
                    f"{found[name].path}: {found[name].key} and {path}: {weight.key} are the same weight"
                )
            found[name] = weight
    return found


def flat_name(key: str) -> str:
    for nested, flat in NESTED_PREFIXES:
        if key.startswith(nested):
            return flat + key.removeprefix(nested)
    return key


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
        raise WeightsError(f"{index_path} names files that are not there: {_listing(missing)}; download them again")
    return [folder / name for name in names]


def _stored_weights(path: Path) -> Iterator[StoredWeight]:
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


def _require_names(folder: Path, expected: Iterable[str], stored: Mapping[str, StoredWeight]) -> None:
    missing = sorted(set(expected) - set(stored))
    unexpected = sorted(stored[name].key for name in set(stored) - set(expected))
    problems = []
    if missing:
        problems.append(f"missing: {_listing(missing)}")
    if unexpected:
        problems.append(f"unexpected: {_listing(unexpected)}")
    if problems:
        raise WeightsError(f"{folder}: the weights are not those of the model in config.json; {'; '.join(problems)}")


def _listing(names: list[str]) -> str:
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more
