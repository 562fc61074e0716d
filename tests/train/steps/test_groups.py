"""What is trained: the groups, and what training leaves alone."""

from __future__ import annotations

from itertools import chain, combinations
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from shards import open_shards
from shards.batch import BatchShape, make_batch
from tests.train.golden_case import build_golden_model
from tests.train.tiny_run import make_packs, write_tiny_model, write_tiny_shards
from train.arguments import TrainArguments
from train.inputs import open_inputs
from train.loop import train
from train.models.folder import build_model
from train.models.qwen_vl.names import FLAT_NAMES
from train.models.trained import GROUPS, TrainedModel
from train.steps.groups import describe, freeze, group_parameters, indices_of, is_decayed
from train.steps.optimizer import AccumulateGradients, AdamW
from train.steps.step import to_device
from train.stop import StopRequest

group_of = FLAT_NAMES.group_of
PEAKS = {"llm": 1e-5, "mlp": 1e-4, "vision": 1e-6}
WITH_IMAGE_AND_VIDEO = 3  # of the packs of tiny_run
SOME_GROUPS = [names for size in (1, 2) for names in combinations(GROUPS, size)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("groups")
    constants = write_tiny_model(root / "model")
    write_tiny_shards(root / "shards", make_packs(constants, num_packs=4), constants)
    return root


def weights_of(model: TrainedModel) -> dict[str, np.ndarray]:
    return {parameter.name: parameter.asnumpy().copy() for parameter in model.get_parameters()}


@pytest.mark.parametrize("is_tied", [False, True])
def test_every_parameter_is_in_exactly_one_group(is_tied: bool) -> None:
    model = build_golden_model(tie_word_embeddings=is_tied)
    groups = group_parameters(model, PEAKS)
    assert [group.name for group in groups] == list(GROUPS)
    names = [[each.name for each in (*group.trained, *group.frozen)] for group in groups]
    assert sorted(chain(*names)) == sorted(parameter.name for parameter in model.get_parameters())
    llm, mlp, vision = (set(group) for group in names)
    assert {name.split(".")[0] for name in llm} == ({"model"} if is_tied else {"model", "lm_head"})
    assert {name.split(".")[1] for name in mlp} == {"merger"}
    assert {name.split(".")[1] for name in vision} == {"patch_embed", "blocks"}


def test_an_untied_head_is_frozen_and_trained_with_its_language_model() -> None:
    """`lm_head.requires_grad = False` would set an attribute that nothing reads."""
    model = build_golden_model()
    freeze(model, {"mlp"})
    assert not model.lm_head.weight.requires_grad
    assert {group_of(parameter.name) for parameter in model.trainable_params()} == {"mlp"}
    freeze(model, {"llm"})
    assert model.lm_head.weight.requires_grad
    assert {group_of(parameter.name) for parameter in model.trainable_params()} == {"llm"}


def test_indices_are_those_of_the_groups_that_train() -> None:
    model = build_golden_model()
    freeze(model, {"llm", "vision"})
    trained = [group for group in group_parameters(model, PEAKS) if group.trained]
    parameters = model.trainable_params()
    indices = indices_of(parameters, trained)
    assert set(indices) == {0, 1}
    for parameter, index in zip(parameters, indices, strict=True):
        assert any(parameter is each for each in trained[index].trained)


def test_the_table_says_what_trains_how_fast_and_what_decays() -> None:
    model = build_golden_model()
    freeze(model, {"llm", "mlp"})
    groups = group_parameters(model, PEAKS)
    header, *lines = describe(groups, weight_decay=0.01).splitlines()
    assert header.split() == ["group", "trained", "frozen", "learning", "rate", "weight", "decay", "not", "decayed"]
    counts = {group.name: sum(each.size for each in (*group.trained, *group.frozen)) for group in groups}
    one_axis = sum(each.size for each in groups[0].trained if len(each.shape) == 1)
    assert one_axis > 0
    assert lines[0].split() == ["llm", f"{counts['llm']:,}", "0", "1.00e-05", "0.01", f"{one_axis:,}"]
    assert lines[1].split()[:5] == ["mlp", f"{counts['mlp']:,}", "0", "1.00e-04", "0.01"]
    assert lines[2].split() == ["vision", "0", f"{counts['vision']:,}"]


def test_biases_and_norms_are_what_does_not_decay() -> None:
    spared = {parameter.name for parameter in build_golden_model().get_parameters() if not is_decayed(parameter)}
    assert spared
    for parameter in build_golden_model().get_parameters():
        is_norm = "norm" in parameter.name or ".ln_q." in parameter.name
        assert (parameter.name in spared) == (is_norm or parameter.name.endswith(".bias")), parameter.name


@pytest.mark.parametrize("trained", SOME_GROUPS, ids="+".join)
def test_what_is_frozen_keeps_its_bits_and_has_no_backward_below_what_is_trained(
    trained: tuple[str, ...], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MS_JIT", "0")  # operator by operator: no graph for each combination, and hooks are called
    model = build_model(root / "model")
    freeze(model, trained)
    visited: set[str] = set()
    watched = {"vision": model.visual.blocks[0], "mlp": model.visual.merger, "llm": model.model.layers[0]}
    for group, cell in watched.items():
        cell.register_backward_hook(lambda cell, grad_in, grad_out, group=group: visited.add(group))
    before = weights_of(model)

    accumulate = AccumulateGradients(model)
    parameters = model.trainable_params()
    groups = [group for group in group_parameters(model, PEAKS) if group.trained]
    optimizer = AdamW(
        parameters, accumulate.sums, groups=indices_of(parameters, groups), weight_decay=0.1, max_grad_norm=1.0
    )
    shards = open_shards(root / "shards")
    batch = make_batch(shards[WITH_IMAGE_AND_VIDEO], BatchShape.of(shards.manifest), shards.manifest.model)
    accumulate(*to_device(batch))
    optimizer.step([1e-2] * len(groups), divisor=1)

    assert {group_of(total.name.removeprefix("gradient_sum.")) for total in accumulate.sums} == set(trained)
    for name, after in weights_of(model).items():
        assert (after.tobytes() != before[name].tobytes()) == (group_of(name) in trained), name
    lowest = max(GROUPS.index(group) for group in trained)
    assert visited == set(GROUPS[: lowest + 1])


def test_a_compiled_run_trains_the_merger_alone(root: Path, tmp_path: Path) -> None:
    arguments = TrainArguments(
        shards=root / "shards",
        model=root / "model",
        output_dir=tmp_path / "out",
        max_steps=2,
        tune_mm_llm=False,
        tune_mm_vision=False,
        mm_projector_lr=1e-2,
        lr_scheduler_type="constant",
    )
    lines: list[str] = []
    train(arguments, open_inputs(arguments), lines.append, StopRequest())
    assert [line.split()[1] != "0" for line in lines[1].splitlines()[1:]] == [False, True, False]
    before, after = (load_file(folder / "model.safetensors") for folder in (arguments.model, arguments.output_dir))
    changed = {group_of(name) for name in before if before[name].tobytes() != after[name].tobytes()}
    assert changed == {"mlp"}
