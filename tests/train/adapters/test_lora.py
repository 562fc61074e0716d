"""Adapters: which layers, from which start, what they add and what dropout does; against PEFT where it says."""

from __future__ import annotations

import json
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, ops
from safetensors.numpy import load_file

from shards.batch import make_batch
from tests.train.golden_adapter import TARGETS, TRAINED, adapt, golden_training, modules_by_targets
from tests.train.golden_case import (
    CONSTANTS,
    CompiledModel,
    build_golden_model,
    make_samples,
    pack_samples,
    shape_for,
)
from train.adapters.files import CONFIG_FILE, WEIGHTS_FILE
from train.adapters.lora import AdapterDropout, Adapters, add_adapters, initial_a
from train.errors import UsageError, WeightsError
from train.models.qwen2_5_vl import NAMES
from train.steps.optimizer import AccumulateGradients

PACK = pack_samples([make_samples()["image"]])
SHAPE = shape_for([PACK])
BATCH = [Tensor(array) for array in make_batch(PACK, SHAPE, CONSTANTS)]


class Adapted:
    """The golden model with PEFT's trained adapter and dropout, compiled once."""

    def __init__(self) -> None:
        self.model = build_golden_model()
        self.adapters = adapt(self.model, dropout=0.25)
        self.adapters.load(TRAINED)
        self.accumulate = AccumulateGradients(self.model)

    def losses(self, first_position: int, num_packs: int) -> list[float]:
        """Of the same pack at several positions of a run."""
        seeded = self.adapters.seeded(self.accumulate, range(first_position, first_position + num_packs))
        return [float(seeded(*BATCH).asnumpy()) for _ in range(num_packs)]


@pytest.fixture(scope="module")
def adapted() -> Adapted:
    return Adapted()


# --- which layers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("targets", modules_by_targets())
def test_targets_are_the_layers_that_peft_adapts(targets: str) -> None:
    adapters = adapt(build_golden_model(), targets=targets)
    assert sorted(map(NAMES.nested, adapters.modules)) == modules_by_targets()[targets]


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        ("q_proj,query", "'query' names no module; linear layers are: attn.proj, down_proj, gate_proj, k_proj"),
        ("proj", "'proj' names model.visual.patch_embed.proj, which is not a linear layer"),
        ("self_attn", "self_attn, which is not a linear layer"),
        (" , ", "names nothing"),
        ("", "matches no linear layer"),
        (r"model\.layers\..*", "matches no linear layer; linear layers are: attn.proj"),
        ("q_proj(", "no regular expression: missing"),
    ],
)
def test_targets_that_do_not_fit_are_an_error_that_lists_what_does(targets: str, words: str) -> None:
    model = build_golden_model()
    with pytest.raises(UsageError) as error:
        adapt(model, targets=targets)
    assert words in str(error.value)
    assert all(each.requires_grad for each in model.get_parameters()), "nothing was frozen yet"


def test_a_tied_model_has_no_head_to_adapt() -> None:
    with pytest.raises(UsageError, match="'lm_head' names no module"):
        adapt(build_golden_model(tie_word_embeddings=True), targets="lm_head")


# --- the start -------------------------------------------------------------------------------------------------------


def test_a_is_uniform_and_depends_on_seed_and_module_alone() -> None:
    a = initial_a("visual.blocks.0.attn.qkv", (64, 256), 42)
    assert a.dtype == np.float32
    assert np.abs(a).max() <= 1 / 16 < np.abs(a).max() * 1.001
    assert abs(a.mean()) < 0.001
    assert a.std() == pytest.approx(1 / 16 / np.sqrt(3), rel=0.02)
    np.testing.assert_array_equal(a, initial_a("visual.blocks.0.attn.qkv", (64, 256), 42))
    for module, seed in (("visual.blocks.1.attn.qkv", 42), ("visual.blocks.0.attn.qkv", 43)):
        assert abs(np.corrcoef(a.ravel(), initial_a(module, (64, 256), seed).ravel())[0, 1]) < 0.05
    # A resumed run, or another machine, must start from these.
    expected = [-0.3550107479095459, -0.3215535283088684, -0.3303271532058716, 0.3674030900001526]
    assert initial_a("m", (1, 4), 0)[0].tolist() == expected


def test_new_adapters_change_nothing_and_only_they_are_trained() -> None:
    model = build_golden_model()
    names = {each.name for each in model.get_parameters()}
    adapters = adapt(model, dropout=0.1)
    trained = model.trainable_params()
    assert {each.name for each in trained} == {each.name for each in adapters.parameters}
    assert {each.name for each in model.get_parameters()} - names == {each.name for each in trained}
    for module, adapter in adapters.modules.items():
        assert not adapter.lora_B.asnumpy().any()
        np.testing.assert_array_equal(
            adapter.lora_A.asnumpy(), initial_a(module, adapter.lora_A.shape, adapters.seed), err_msg=module
        )


# --- what they add ---------------------------------------------------------------------------------------------------


def test_logits_with_pefts_adapter_are_pefts() -> None:
    model = build_golden_model()
    adapt(model).load(TRAINED)
    ours = CompiledModel(model, SHAPE).logits(PACK)
    theirs = golden_training()["adapter/logits"]
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)


def test_only_adapters_have_gradients_and_all_of_them_do(adapted: Adapted) -> None:
    for total in adapted.accumulate.sums:
        ops.assign(total, ops.zeros_like(total))
    adapted.losses(0, 1)
    sums = {total.name.removeprefix("gradient_sum."): total.asnumpy() for total in adapted.accumulate.sums}
    assert set(sums) == {each.name for each in adapted.adapters.parameters}
    assert all(value.any() for value in sums.values())


# --- dropout ---------------------------------------------------------------------------------------------------------


def mask(dropout: AdapterDropout, *, position: int = 0, salt: int = 77, seed: int = 1) -> np.ndarray:
    """(400, 500) what is kept"""
    dropout.begin(seed, position)
    kept = dropout(Tensor(np.ones((400, 500), np.float32)), salt).asnumpy()
    dropout.end()
    assert set(np.unique(kept)) == {np.float32(0), np.float32(1 / 0.75)}
    return kept > 0


def test_dropout_drops_its_share_without_a_pattern() -> None:
    kept = mask(AdapterDropout(0.25))
    sigma = np.sqrt(0.25 * 0.75 / kept.size)
    assert abs(kept.mean() - 0.75) < 5 * sigma
    for axis in (0, 1):
        shares = kept.mean(axis=axis)
        expected = np.sqrt(0.25 * 0.75 / kept.shape[axis])
        assert 0.8 * expected < shares.std() < 1.2 * expected
    signs = np.where(kept, 0.25, -0.75)
    for rows, columns in ((0, 1), (1, 0), (1, 1), (0, 2), (0, 256)):
        shifted = np.roll(signs, (rows, columns), axis=(0, 1))
        assert abs((signs * shifted).mean()) / 0.1875 < 5 / np.sqrt(kept.size)


def test_a_compiled_mask_is_the_same() -> None:
    dropout = AdapterDropout(0.25)

    @ms.jit
    def drop(x: Tensor) -> Tensor:
        return dropout(x, 77)

    drop(Tensor(np.ones((400, 500), np.float32)))
    for position in (0, 5):  # compiled once, read anew
        expected = mask(dropout, position=position)
        dropout.begin(1, position)
        np.testing.assert_array_equal(drop(Tensor(np.ones((400, 500), np.float32))).asnumpy() > 0, expected)


def test_masks_of_other_packs_layers_and_seeds_are_independent() -> None:
    dropout = AdapterDropout(0.25)
    first = np.where(mask(dropout), 0.25, -0.75)
    np.testing.assert_array_equal(mask(dropout), first > 0)
    for change in ({"position": 1}, {"position": 10**9}, {"salt": 78}, {"salt": -(2**31)}, {"seed": 2}):
        other = np.where(mask(dropout, **change), 0.25, -0.75)
        assert abs((first * other).mean()) / 0.1875 < 5 / np.sqrt(first.size), change


def test_a_pack_has_the_dropout_of_its_position_whenever_it_is_taken(adapted: Adapted) -> None:
    straight = adapted.losses(0, 6)
    assert len(set(straight)) == 6
    resumed = adapted.losses(4, 2)
    assert resumed == straight[4:], "bit for bit"


def test_dropout_is_off_outside_of_training(adapted: Adapted) -> None:
    before = float(adapted.accumulate(*BATCH).asnumpy())
    [dropped] = adapted.losses(3, 1)
    after = float(adapted.accumulate(*BATCH).asnumpy())
    assert before == after != dropped
    logits = golden_training()["adapter/logits"].astype(np.float64)
    targets = np.flatnonzero(PACK.labels[1:] != -100)
    of_targets = logits[targets, PACK.labels[targets + 1]]
    expected = (np.log(np.exp(logits[targets]).sum(axis=1)) - of_targets).sum()
    assert after == pytest.approx(expected, rel=1e-5)


# --- files -----------------------------------------------------------------------------------------------------------


def test_what_is_saved_equals_what_peft_saved(tmp_path: Path) -> None:
    adapters = adapt(build_golden_model())
    adapters.load(TRAINED)
    adapters.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [CONFIG_FILE, WEIGHTS_FILE]
    ours, theirs = load_file(tmp_path / WEIGHTS_FILE), load_file(TRAINED / WEIGHTS_FILE)
    assert set(ours) == set(theirs)
    for name, value in theirs.items():
        assert ours[name].dtype == value.dtype
        np.testing.assert_array_equal(ours[name], value, err_msg=name)
    our_config, their_config = (json.loads((folder / CONFIG_FILE).read_text()) for folder in (tmp_path, TRAINED))
    our_config["target_modules"].sort()
    assert our_config.pop("base_model_name_or_path") == "base"
    assert our_config == {key: their_config[key] for key in our_config}
    assert {"r", "lora_alpha", "target_modules", "peft_type", "task_type"} <= set(our_config)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"r": 8}, "has r 4, this run 8; give --lora_r 4"),
        ({"alpha": 4}, "has alpha 8, this run 4; give --lora_alpha 8"),
        ({"targets": "q_proj"}, "different modules: model.language_model.layers.0.mlp.gate_proj"),
        ({"targets": f"{TARGETS},qkv"}, "different modules: model.visual.blocks.0.attn.qkv"),
    ],
)
def test_an_adapter_of_another_shape_is_refused_and_changes_nothing(change: dict, words: str) -> None:
    adapters = adapt(build_golden_model(), **change)
    with pytest.raises(WeightsError, match=words):
        adapters.load(TRAINED)
    assert_untrained(adapters)


def test_an_adapter_of_another_base_is_refused_and_changes_nothing() -> None:
    adapters = adapt(build_golden_model(intermediate_size=28))
    with pytest.raises(WeightsError, match=r"gate_proj.* \(24, 32\), the model's .* \(28, 32\); .* another base model"):
        adapters.load(TRAINED)
    assert_untrained(adapters)


def assert_untrained(adapters: Adapters) -> None:
    assert not any(adapter.lora_B.asnumpy().any() for adapter in adapters.modules.values())


@pytest.mark.parametrize(("device", "kind"), [("CPU", "a hash"), ("Ascend", "DropoutGenMaskExt")])
def test_the_log_says_where_masks_come_from(device: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.adapters.lora.ms.get_context", lambda name: device)
    model = build_golden_model()
    dropping = add_adapters(model, "q_proj", base_model="m", r=2, alpha=4, dropout=0.5, seed=0)
    assert f"dropout 0.5 (masks by {kind})" in dropping.to_line()
    assert dropping.dropout.has_generator == (device == "Ascend")


def test_without_dropout_there_is_no_mask_to_tell_of() -> None:
    adapters = add_adapters(build_golden_model(), "q_proj", base_model="m", r=2, alpha=4, dropout=0.0, seed=0)
    assert "masks" not in adapters.to_line()
    assert adapters.state == ()
