"""A Hugging Face model folder -> the model, ready to be trained."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

from shards import ModelFolderError, read_model_constants
from train.errors import ModelConfigError, WeightsError
from train.models import family_in
from train.models.backends import MINDNLP, NATIVE
from train.models.precision import FLOAT32, Precision
from train.models.trained import TrainedModel
from train.weights.files import StoredWeight, find_weights
from train.weights.parameters import load_weights

_MUCH_LARGER = 4


def build_model(folder: Path, precision: Precision = FLOAT32, backend: str = NATIVE) -> TrainedModel:
    """With its weights as float32, whatever dtype it computes in.

    `backend`: one that `require_backend` accepts. Raises ModelConfigError or WeightsError, naming file and key, and
    UsageError where `backend` can't compute it.
    """
    family = family_in(folder)
    config = family.read_config(folder)
    try:
        constants = read_model_constants(folder)
    except ModelFolderError as error:
        raise ModelConfigError(str(error)) from error
    _require_size(folder, family.num_matrix_values(config), find_weights(folder, family.NAMES).values())
    if backend == MINDNLP:
        from train.models.mindnlp.model import build

        model: TrainedModel = build(folder, config, constants)
    else:
        model = family.build(config, constants, precision)
    load_weights(model.weights(), folder, model.names, model.tied_weights)
    return model


def _require_size(folder: Path, num_values: int, stored: Iterable[StoredWeight]) -> None:
    """Raise WeightsError where config.json is of a much larger model than the weights, before all of that is built.

    Smaller differences have better words where the names are compared.
    """
    num_stored = sum(math.prod(weight.shape) for weight in stored)
    if num_values > _MUCH_LARGER * num_stored:
        raise WeightsError(
            f"{folder}: config.json is of a model with {num_values:,} weights, its files hold {num_stored:,}; they "
            "are of different models"
        )
