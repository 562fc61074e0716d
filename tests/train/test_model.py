"""Against PyTorch: loss and every gradient of the tiny model, made by scripts/golden_model.py."""

from __future__ import annotations

import numpy as np
import pytest

from tests.train.golden_case import (
    CompiledModel,
    build_golden_model,
    digest,
    golden,
    golden_origin,
    make_samples,
    pack_samples,
    shape_for,
)

LOSS_TOLERANCE = 1e-5
GRADIENT_TOLERANCE = 1e-4
SAMPLES = {name: pack_samples([sample]) for name, sample in make_samples().items()}


def golden_gradients(name: str) -> dict[str, np.ndarray]:
    prefix = f"{name}/gradient/"
    return {key.removeprefix(prefix): value for key, value in golden().items() if key.startswith(prefix)}


def relative_error(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.linalg.norm(ours.astype(np.float64) - theirs) / np.linalg.norm(theirs.astype(np.float64)))


def assert_equal_to_golden(compiled: CompiledModel, name: str, golden_name: str) -> None:
    weights = {parameter.name: parameter.asnumpy() for parameter in compiled.model.get_parameters()}
    assert digest(weights) == str(golden()[f"{golden_name}/weights"]), "the two sides made different weights"

    pack = SAMPLES[name]
    loss_sum, gradients = compiled.step(pack)
    theirs = golden_gradients(golden_name)

    count = pack.num_label_tokens  # PyTorch's loss is a mean
    assert abs(loss_sum / count - golden()[f"{golden_name}/loss"]) <= LOSS_TOLERANCE
    errors = {key: relative_error(gradients[key] / count, theirs[key]) for key in theirs}
    worst = max(errors, key=errors.__getitem__)
    assert errors[worst] <= GRADIENT_TOLERANCE, f"{worst}: {errors[worst]}"
    without = set(gradients) - set(theirs)
    assert all(not gradients[key].any() for key in without), "a gradient that PyTorch does not have"
    assert set(theirs) <= set(gradients)


@pytest.mark.parametrize("name", SAMPLES)
def test_loss_and_every_gradient_equal_pytorchs(name: str, compiled: CompiledModel) -> None:
    assert_equal_to_golden(compiled, name, name)


def test_tied_head_gives_the_embedding_both_gradients() -> None:
    compiled = CompiledModel(build_golden_model(tie_word_embeddings=True), shape_for([SAMPLES["image"]]))
    assert "lm_head.weight" not in {parameter.name for parameter in compiled.model.get_parameters()}
    assert_equal_to_golden(compiled, "image", "tied")


def test_golden_values_cover_what_they_should() -> None:
    origin = golden_origin()
    assert origin["transformers"] == "4.57.1" and origin["torch"] and origin["numpy"]
    model = build_golden_model()
    config = model.config
    assert sum(parameter.size for parameter in model.get_parameters()) <= 80_000
    assert config.num_key_value_heads < config.num_attention_heads
    layers = set(range(config.vision.depth))
    assert layers & set(config.vision.fullatt_block_indexes) and layers - set(config.vision.fullatt_block_indexes)

    window_side = config.vision.window_size // config.vision.patch_size
    _, height, width = SAMPLES["image"].image_grid_thw[0]
    assert height > window_side and height % window_side and width > window_side and width % window_side
    assert SAMPLES["video"].video_grid_thw[0, 0] > 1

    assert not any(name.startswith("visual.") for name in golden_gradients("text"))
    every_name = {parameter.name for parameter in model.get_parameters()}
    for name in ("image", "images", "video"):
        assert set(golden_gradients(name)) == every_name


def test_an_empty_pack_has_no_loss_and_no_gradient(compiled: CompiledModel) -> None:
    loss_sum, gradients = compiled.step(None)
    assert loss_sum == 0
    assert all(not gradient.any() for gradient in gradients.values())  # NaN would be true
