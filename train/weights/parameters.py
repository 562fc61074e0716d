"""Hugging Face safetensors -> the weights of a model on the device, and back, one at a time.

The files themselves: `train.weights.files`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import mindspore as ms
import numpy as np
import numpy.typing as npt
from mindspore import ops

from train.errors import WeightsError
from train.weights.files import (
    StoredWeight,
    WeightToWrite,
    find_weights,
    from_float32,
    listing,
)
from train.weights.names import WeightNames
from train.weights.parts import HeldPart, Part, part_of, whole_shape
from train.weights.writer import ALONE, MAX_SHARD_BYTES, Writer, write_weights


@dataclass(frozen=True, kw_only=True)
class Weight:
    """One tensor as a folder holds it, whole, whatever part of it lies in the memory of this process."""

    name: str  # in the folder, flat
    shape: tuple[int, ...]
    read: Callable[[], npt.NDArray[np.float32]]
    # What this process holds, in that shape, or (n,) of `held`. At any time: a compiled graph reads what was written.
    write: Callable[[npt.NDArray[np.float32]], None]
    held: HeldPart | None = None  # where ranks hold parts of it, this one's; all must then `read` at once

    def fill(self, stored: StoredWeight) -> None:
        """Take what a file holds, of the same shape: the values that this process holds, and no others."""
        held = self.held
        self.write(stored.read_values(held.first, held.last) if held else stored.read())

    def to_write(self, dtype: str = "F32") -> WeightToWrite:
        """To be stored as `dtype`: F32, F16 or BF16. Reads it when it is its turn."""

        def read() -> npt.NDArray[np.generic]:
            return from_float32(self.read(), dtype)

        held = self.held
        if held:
            read_part = held.read
            held = replace(held, read=lambda: from_float32(read_part(), dtype))
        return WeightToWrite(name=self.name, dtype=dtype, shape=self.shape, read=read, held=held)


def weight_of(parameter: ms.Parameter, name: str | None = None) -> Weight:
    """A float32 parameter, under its own name or another. Where ranks hold parts of it, all must read it at once."""
    part = part_of(parameter)

    def read() -> npt.NDArray[np.float32]:
        return part.join(parameter) if part else parameter.asnumpy()

    def write(values: npt.NDArray[np.float32]) -> None:
        # Not set_data: a compiled graph would go on reading the old memory.
        ops.assign(parameter, ms.Tensor(part.fill(values) if part else values))

    return Weight(
        name=name or parameter.name,
        shape=whole_shape(parameter),
        read=read,
        write=write,
        held=_held(parameter, part) if part else None,
    )


def _held(parameter: ms.Parameter, part: Part) -> HeldPart:
    first, last = part.bounds
    return HeldPart(first=first, last=last, read=lambda: parameter.asnumpy()[: last - first])


def load_weights(weights: Iterable[Weight], folder: Path, names: WeightNames, tied: Mapping[str, str]) -> None:
    """Fill `weights`, all those of a model, from the safetensors in `folder`.

    `tied`: what the model does not have because it is another of its weights, name -> that weight's name. A folder may
    hold it or not; if present it must be equal to the other. Raises WeightsError listing missing or unexpected names,
    or wrong shapes; the model is then partly filled.
    """
    expected = {weight.name: weight for weight in weights}
    stored = find_weights(folder, names)
    stored_twice = tied.keys() & stored.keys()
    _require_names(folder, expected.keys() | stored_twice, stored)
    for name, weight in expected.items():
        if stored[name].shape != weight.shape:
            raise WeightsError(
                f"{stored[name].path}: {stored[name].key} has shape {stored[name].shape}, "
                f"config.json implies {weight.shape}"
            )
        weight.fill(stored[name])
    for name in sorted(stored_twice):
        if not _hold_the_same(stored[name], stored[tied[name]], expected[tied[name]]):
            raise WeightsError(
                f"{stored[name].path}: {name} differs from {tied[name]}, but config.json says tie_word_embeddings"
            )


def save_weights(
    weights: Iterable[Weight],
    folder: Path,
    *,
    dtype: str = "F32",
    max_shard_bytes: int = MAX_SHARD_BYTES,
    writer: Writer = ALONE,
) -> list[Path]:
    """Write `weights` under their flat names, as `dtype`: F32, F16 or BF16. Holds one of them at a time.

    Files as in `write_weights`; the folder must be there, and hold no other weights.
    """
    to_write = [each.to_write(dtype) for each in weights]
    return write_weights(folder, to_write, max_shard_bytes=max_shard_bytes, writer=writer)


def _hold_the_same(one: StoredWeight, other: StoredWeight, weight: Weight) -> bool:
    """Two tensors, in the values that this process holds of `weight`."""
    if one.shape != other.shape:
        return False
    first, last = (weight.held.first, weight.held.last) if weight.held else (0, math.prod(weight.shape))
    return np.array_equal(one.read_values(first, last), other.read_values(first, last))


def _require_names(folder: Path, expected: Iterable[str], stored: Mapping[str, StoredWeight]) -> None:
    missing = sorted(set(expected) - set(stored))
    unexpected = sorted(stored[name].key for name in set(stored) - set(expected))
    problems = []
    if missing:
        problems.append(f"missing: {listing(missing)}")
    if unexpected:
        problems.append(f"unexpected: {listing(unexpected)}")
    if problems:
        raise WeightsError(f"{folder}: the weights are not those of the model in config.json; {'; '.join(problems)}")
