"""`python -m train merge`: base model + adapter -> a model folder. NumPy only, one weight in memory at a time.

W + lora_alpha / r * B A is computed in float32 and stored in the dtype of W; weights without adapter keep their bits.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from train.adapters.files import StoredAdapter, find_adapter
from train.errors import TrainingFailed, UsageError, WeightsError
from train.models import family_in
from train.weights.companions import check_companions, copy_companions
from train.weights.files import (
    StoredWeight,
    WeightToWrite,
    find_weights,
    from_float32,
    listing,
)
from train.weights.writer import MAX_SHARD_BYTES, write_weights


def merge(model: Path, adapter: Path, output_dir: Path, *, max_shard_bytes: int = MAX_SHARD_BYTES) -> int:
    """Write the merged model, and return how many layers were adapted.

    Raises UsageError before anything is written, TrainingFailed where it can't be written.
    """
    if output_dir.exists() and (not output_dir.is_dir() or any(output_dir.iterdir())):
        raise UsageError(f"output_dir {output_dir} is not empty; give a new folder")
    check_companions(model)
    stored_adapter = find_adapter(adapter, family_in(model).NAMES)
    weights = plan_merge(model, stored_adapter)
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        copy_companions(model, output_dir)
        write_weights(output_dir, weights, max_shard_bytes=max_shard_bytes)
    except (OSError, WeightsError) as error:  # a weight is read when its turn comes
        raise TrainingFailed(f"{output_dir} can't be written: {error}; it is incomplete, delete it") from error
    return len(stored_adapter.factors)


def plan_merge(model: Path, adapter: StoredAdapter) -> list[WeightToWrite]:
    """Every weight of the merged model, in the order of the files of `model`. Reads headers only.

    Raises WeightsError or ModelConfigError where the adapter is not one of this model.
    """
    family = family_in(model)
    stored = find_weights(model, family.NAMES)
    adapted = {module: f"{module}.weight" for module in adapter.factors}
    absent = sorted(family.NAMES.nested(module) for module, name in adapted.items() if name not in stored)
    if absent:
        raise WeightsError(f"{adapter.folder} adapts what {model} does not have: {listing(absent)}")
    head = family.NAMES.head
    if head in adapted and family.tied_weights(family.read_config(model)):
        raise WeightsError(
            f"{adapter.folder} adapts {head}, which {model} ties to the embedding: a merged head would change both"
        )
    readers = {name: weight.read_stored for name, weight in stored.items()}
    for module, name in adapted.items():
        adapter.require_shape(module, stored[name].shape)
        readers[name] = partial(read_merged, stored[name], *adapter.factors[module], adapter.config.scaling)
    return [
        WeightToWrite(name=name, dtype=weight.dtype, shape=weight.shape, read=readers[name])
        for name, weight in stored.items()
    ]


def read_merged(weight: StoredWeight, a: StoredWeight, b: StoredWeight, scaling: float) -> npt.NDArray[np.generic]:
    """W + scaling * B A, computed in float32, as `weight` is stored."""
    merged: npt.NDArray[Any] = weight.read() + np.float32(scaling) * (b.read() @ a.read())
    return from_float32(merged, weight.dtype)
