"""MindNLP's losses and gradients are those of the native model."""

from __future__ import annotations

import numpy as np
import pytest

from tests.train.golden_case import CONSTANTS, CompiledModel, build_golden_model, write_golden_model
from tests.train.models.mindnlp.measured import golden_packs, golden_shape
from tests.train.models.mindnlp.needed import needs_mindnlp, python
from train.models.qwen2_5_vl import FAMILY
from train.models.trained import GROUPS

pytestmark = needs_mindnlp
LOSS_TOLERANCE = 1e-5  # of a supervised token
GRADIENT_TOLERANCE = 1e-4  # relative, of a parameter
PACKS = golden_packs()
IS_TIED = [False, True]


@pytest.fixture(scope="module", params=IS_TIED, ids=["own head", "tied"])
def tied(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(scope="module")
def measured(tied: bool, tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    folder = tmp_path_factory.mktemp("measured")
    write_golden_model(folder / "model", tie_word_embeddings=tied, torch_dtype="bfloat16")  # as published files say
    python("tests.train.models.mindnlp.measured", folder / "model", folder / "measured.npz")
    with np.load(folder / "measured.npz") as file:
        return {name: file[name] for name in file.files}


@pytest.fixture(scope="module")
def native(tied: bool) -> CompiledModel:
    return CompiledModel(build_golden_model(tie_word_embeddings=tied), golden_shape(), CONSTANTS)


def test_parameters_are_called_as_in_the_folder(measured: dict[str, np.ndarray], native: CompiledModel) -> None:
    names = [each.name for each in native.model.get_parameters()]
    assert sorted(measured["parameters"].tolist()) == sorted(names)


@pytest.mark.parametrize("name", PACKS)
def test_losses_and_every_gradient_equal_the_native_ones(
    name: str, measured: dict[str, np.ndarray], native: CompiledModel
) -> None:
    loss_sum, gradients = native.step(PACKS[name])
    assert abs(measured[f"{name}/loss_sum"] - loss_sum) <= LOSS_TOLERANCE * PACKS[name].num_label_tokens
    worst = dict.fromkeys(GROUPS, 0.0)
    for parameter, ours in gradients.items():
        theirs = measured[f"{name}/gradient/{parameter}"]
        if not ours.any():
            assert not theirs.any()
            continue
        error = float(np.linalg.norm(theirs - ours) / np.linalg.norm(ours))
        group = FAMILY.names.group_of(parameter)
        worst[group] = max(worst[group], error)
        assert error <= GRADIENT_TOLERANCE, parameter
    assert worst["llm"] > 0 and (name == "text" or worst["vision"] > 0), "all the same bits: two of one"
    print(f"{name}: loss {measured[f'{name}/loss_sum'] - loss_sum:+.1e}", worst)


@pytest.mark.parametrize("name", PACKS)
def test_the_loss_of_a_pack_is_the_sum_of_its_tokens(name: str, measured: dict[str, np.ndarray]) -> None:
    losses = measured[f"{name}/losses"]
    count = PACKS[name].num_label_tokens
    assert losses.shape == (golden_shape().label_tokens,)
    assert losses[:count].all() and not losses[count:].any()
    assert losses.sum() == pytest.approx(float(measured[f"{name}/loss_sum"]), rel=1e-6)


def test_the_loss_of_a_pack_is_that_of_its_samples_alone(measured: dict[str, np.ndarray]) -> None:
    alone = sum(float(measured[f"{name}/loss_sum"]) for name in PACKS if name != "all")
    assert float(measured["all/loss_sum"]) == pytest.approx(alone, rel=1e-6)


def test_changes_to_mindnlp_count(measured: dict[str, np.ndarray]) -> None:
    """With logits of 0, every token is as likely as any other."""
    expected = PACKS["all"].num_label_tokens * np.log(CONSTANTS.vocab_size)
    assert float(measured["flattened/loss_sum"]) == pytest.approx(expected, rel=1e-6)
    assert float(measured["all/loss_sum"]) != pytest.approx(expected, rel=1e-3)


def test_an_empty_pack_has_no_loss_and_no_gradient(measured: dict[str, np.ndarray]) -> None:
    of_empty = {name: value for name, value in measured.items() if name.startswith("empty/")}
    assert len(of_empty) == 2 + len(measured["parameters"])
    assert not any(value.any() for value in of_empty.values())
