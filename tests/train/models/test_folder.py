"""A model folder as a whole."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from tests.train.golden_case import build_golden_model
from tests.train.tiny_run import write_tiny_model
from train.errors import WeightsError
from train.models import family_in
from train.models.folder import build_model


@pytest.mark.parametrize("key", ["num_hidden_layers", "vocab_size", "intermediate_size", "vision_config.depth"])
def test_a_config_of_a_much_larger_model_is_refused_before_that_is_built(key: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    write_tiny_model(folder)
    path = folder / "config.json"
    record = json.loads(path.read_text())
    *outer, name = key.split(".")
    (record[outer[0]] if outer else record)[name] = 10**9
    path.write_text(json.dumps(record))
    with pytest.raises(WeightsError, match="different models"):
        build_model(folder)


def test_the_values_of_matrices_are_counted_without_building(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    write_tiny_model(folder)
    family = family_in(folder)
    model = build_model(folder)
    shapes = [weight.shape for weight in model.weights()]
    assert family.num_matrix_values(family.read_config(folder)) == sum(
        math.prod(shape) for shape in shapes if len(shape) > 1
    )
    untied = build_golden_model()
    counted = sum(math.prod(weight.shape) for weight in untied.weights() if len(weight.shape) > 1)
    assert counted == family.num_matrix_values(untied.config)
