"""A model that shares nothing with ours is trained, saved, exported and adapted by what `TrainedModel` says of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn, ops
from safetensors.numpy import load_file, save_file

from shards import PaddedPack
from tests.train.tiny_run import write_tiny_inputs
from train.adapters.files import find_adapter
from train.arguments import TrainArguments
from train.inputs import open_inputs
from train.loop import train
from train.models.trained import AdaptableLayer, Work
from train.stop import StopRequest
from train.weights.files import SINGLE_FILE
from train.weights.names import WeightNames
from train.weights.parameters import Weight

VOCABULARY, WIDTH = 300, 4
NAMES = WeightNames(nested_prefixes=(("inner.", ""),), head="head")


class Head(nn.Cell):
    def __init__(self) -> None:
        super().__init__()
        self.weight_shape = (VOCABULARY, WIDTH)
        self.adapter: nn.Cell | None = None
        self.rows = ms.Parameter(ms.Tensor(np.zeros(VOCABULARY * WIDTH, np.float32)))

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        y = ops.matmul(x, ops.transpose(ops.reshape(self.rows, self.weight_shape), (1, 0)))
        return y if self.adapter is None else y + self.adapter(x)


class NextToken(nn.Cell):
    """Guesses each supervised token from the one before; its parameters are flat, the weights in its folder are not."""

    names = NAMES
    is_traced = True
    tied_weights: Mapping[str, str] = {}

    def __init__(self) -> None:
        super().__init__()
        self.table = ms.Parameter(ms.Tensor(np.zeros(VOCABULARY * WIDTH, np.float32)), name="table")
        self.head = Head()

    def construct(self, *batch: ms.Tensor) -> ms.Tensor:
        return self.losses(*batch).sum()

    def losses(
        self,
        input_ids: ms.Tensor,
        position_ids: ms.Tensor,
        token_keys: ms.Tensor,
        token_ends: ms.Tensor,
        embedding_index: ms.Tensor,
        target_index: ms.Tensor,
        target_ids: ms.Tensor,
        target_weight: ms.Tensor,
        *patches: ms.Tensor,
    ) -> ms.Tensor:
        table = ops.reshape(self.table, (VOCABULARY, WIDTH))
        logits = self.head(ops.gather(table, ops.gather(input_ids, target_index, 0), 0))
        of_targets = ops.gather_elements(ops.log_softmax(logits, -1), 1, ops.expand_dims(target_ids, 1))
        return -(ops.reshape(of_targets, target_weight.shape) * target_weight)

    def loss_and_gradients(self):
        return ms.value_and_grad(self, None, ms.ParameterTuple(self.trainable_params()))

    def group_of(self, parameter_name: str) -> str:
        return "llm"

    def recompute_layers(self) -> None:
        raise NotImplementedError

    def adaptable_layers(self) -> dict[str, AdaptableLayer | None]:
        return {"head": self.head}

    def weights(self) -> Iterator[Weight]:
        for name, parameter in (("table", self.table), ("head.weight", self.head.rows)):
            yield Weight(
                name=name,
                shape=(VOCABULARY, WIDTH),
                read=lambda parameter=parameter: parameter.asnumpy().reshape(VOCABULARY, WIDTH),
                write=lambda values, parameter=parameter: ops.assign(parameter, ms.Tensor(values.ravel())),
            )

    def work_of(self, pack: PaddedPack) -> Work:
        return Work(num_patches=0, num_patch_slots=0, flops=pack.num_tokens)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Shards, and a folder with the model's weights under their nested names."""
    write_tiny_inputs(tmp_path, num_packs=4)
    rng = np.random.default_rng(0)
    weights = {f"inner.{name}": rng.normal(size=(VOCABULARY, WIDTH)) for name in ("table", "head.weight")}
    save_file({name: value.astype(np.float32) for name, value in weights.items()}, tmp_path / "model" / SINGLE_FILE)
    family = SimpleNamespace(
        NAMES=NAMES,
        read_config=lambda folder: None,
        num_matrix_values=lambda config: 2 * VOCABULARY * WIDTH,
        build=lambda config, constants, precision: NextToken(),
    )
    monkeypatch.setattr("train.models.folder.family_in", lambda folder: family)
    return tmp_path


def run(root: Path, name: str, **changes: object) -> tuple[Path, list[str]]:
    """Four steps of one pack."""
    lines: list[str] = []
    arguments = TrainArguments(
        shards=root / "shards",
        model=root / "model",
        output_dir=root / name,
        max_steps=4,
        save_steps=2,
        learning_rate=1e-2,
        lr_scheduler_type="constant",
        eval_shards=root / "shards",
        eval_strategy="steps",
        eval_steps=2,
        **changes,
    )
    train(arguments, open_inputs(arguments), lines.append, StopRequest())
    return arguments.output_dir, [line for line in lines if line.startswith("evaluation")]


def test_another_model_is_trained_and_goes_on_to_the_bit(root: Path) -> None:
    whole, evaluations = run(root, "whole")
    before, after = load_file(root / "model" / SINGLE_FILE), load_file(whole / SINGLE_FILE)
    assert sorted(after) == ["head.weight", "table"]
    for name, value in after.items():
        assert value.shape == (VOCABULARY, WIDTH)
        assert not np.array_equal(value, before[f"inner.{name}"])
    losses = [float(line.split("loss ")[1].split()[0]) for line in evaluations]
    assert len(losses) == 2 and losses[1] < losses[0]

    resumed, _ = run(root, "resumed", resume_from_checkpoint=whole / "checkpoint-2")
    assert (resumed / SINGLE_FILE).read_bytes() == (whole / SINGLE_FILE).read_bytes()


def test_another_model_takes_adapters(root: Path) -> None:
    folder, _ = run(root, "adapted", lora_enable=True, lora_r=2, lora_target_modules="inner.head")
    a, b = find_adapter(folder, NAMES).factors["head"]
    assert a.key == "base_model.model.inner.head.lora_A.weight"
    assert (a.shape, b.shape) == ((2, WIDTH), (VOCABULARY, 2))
    assert b.read().any()
