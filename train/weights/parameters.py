"""Hugging Face safetensors -> parameters, and back. The files themselves: `train.weights.files`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import mindspore as ms
import numpy as np
import numpy.typing as npt
from mindspore import nn

from train.errors import WeightsError
from train.weights.files import (
    MAX_SHARD_BYTES,
    StoredWeight,
    WeightToWrite,
    find_weights,
    from_float32,
    listing,
    write_weights,
)

EMBEDDING = "model.embed_tokens.weight"
HEAD = "lm_head.weight"


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


def save_model(
    folder: Path, parameters: Iterable[ms.Parameter], *, dtype: str = "F32", max_shard_bytes: int = MAX_SHARD_BYTES
) -> list[Path]:
    """Write float32 `parameters` under their flat names, as `dtype`: F32, F16 or BF16. Holds one of them at a time.

    A tied head is no parameter and so not written, as in the published checkpoints. Files as in `write_weights`; the
    folder must be there, and hold no other weights.
    """
    return write_weights(folder, [_to_write(each, dtype) for each in parameters], max_shard_bytes=max_shard_bytes)


def _to_write(parameter: ms.Parameter, dtype: str) -> WeightToWrite:
    def read() -> npt.NDArray[np.generic]:
        return from_float32(parameter.asnumpy(), dtype)

    return WeightToWrite(name=parameter.name, dtype=dtype, shape=tuple(parameter.shape), read=read)


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
