"""A Hugging Face model folder -> the model, ready to be trained."""

from __future__ import annotations

from pathlib import Path

from shards import ModelFolderError, read_model_constants
from train.errors import ModelConfigError
from train.models import family_in
from train.models.precision import FLOAT32, Precision
from train.models.trained import TrainedModel
from train.weights.parameters import load_weights


def build_model(folder: Path, precision: Precision = FLOAT32) -> TrainedModel:
    """With its weights as float32, whatever dtype it computes in.

    Raises ModelConfigError or WeightsError, naming file and key.
    """
    family = family_in(folder)
    config = family.read_config(folder)
    try:
        constants = read_model_constants(folder)
    except ModelFolderError as error:
        raise ModelConfigError(str(error)) from error
    model = family.build(config, constants, precision)
    load_weights(model.weights(), folder, model.names, model.tied_weights)
    return model
