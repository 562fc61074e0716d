"""The dtype policy, by way of float16: the CPU backend has no bfloat16."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
import pytest

from shards import ShardSet, open_shards
from shards.batch import BatchShape, make_batch
from tests.train.golden_families import FAMILIES, GoldenFamily
from tests.train.tiny_run import make_packs, write_tiny_model, write_tiny_shards
from train.__main__ import main
from train.arguments import TrainArguments
from train.errors import UsageError
from train.inputs import open_inputs
from train.loop import train
from train.models.folder import build_model
from train.models.precision import BFLOAT16, FLOAT32, Precision, choose_precision
from train.steps.optimizer import AccumulateGradients
from train.steps.step import to_device
from train.stop import StopRequest

FLOAT16 = Precision(ms.float16)
EPSILON16 = 2.0**-11  # relative rounding of float16
LOOKED_UP = ("embed_tokens", "pos_embed")  # rows of float32 tables, cast where they come in
WITH_IMAGE_AND_VIDEO = 3  # of the packs of tiny_run


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("precision")
    constants = write_tiny_model(root / "model")
    write_tiny_shards(root / "shards", make_packs(constants, num_packs=6), constants)
    return root


def one_batch(shards: ShardSet) -> list[ms.Tensor]:
    return to_device(make_batch(shards[WITH_IMAGE_AND_VIDEO], BatchShape.of(shards.manifest), shards.manifest.model))


def family_folder_and_batch(name: str, root: Path) -> tuple[Path, list[ms.Tensor]]:
    if name not in FAMILIES:
        return root / "model", one_batch(open_shards(root / "shards"))
    family, folder = GoldenFamily(name), root / name
    family.write(folder)
    pack = family.pack(family.samples["mixed"])
    return folder, to_device(make_batch(pack, family.shape_for([pack]), family.constants))


@pytest.mark.parametrize("name", ["qwen2_5_vl", *FAMILIES])
def test_activations_are_narrow_and_weights_gradients_and_the_loss_are_float32(
    name: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MS_JIT", "0")  # operator by operator, so that hooks see what goes from layer to layer
    folder, batch = family_folder_and_batch(name, root)
    gradients: dict[Precision, list[np.ndarray]] = {}
    for precision in (FLOAT32, FLOAT16):
        model = build_model(folder, precision)
        seen: dict[str, ms.Type] = {}
        for path, cell in model.cells_and_names():
            if path and cell.trainable_params() and not path.endswith(LOOKED_UP):
                cell.register_forward_hook(
                    lambda cell, given, out, seen=seen, path=path: seen.update({path: dtype_of(out)})
                )
        accumulate = AccumulateGradients(model)
        loss_sum = accumulate(*batch)

        ends = ("visual.patch_embed", "visual.blocks.1.attn.qkv", "visual.merger", ".layers.1")
        assert all(any(path.endswith(end) for path in seen) for end in ends)
        assert {path: dtype for path, dtype in seen.items() if dtype != precision.compute} == {}
        assert loss_sum.dtype == ms.float32
        assert {parameter.dtype for parameter in model.get_parameters()} == {ms.float32}
        assert {total.dtype for total in accumulate.sums} == {ms.float32}
        gradients[precision] = [total.asnumpy() for total in accumulate.sums]

    # Each number went through some tens of roundings.
    norms = [np.linalg.norm(wide) for wide in gradients[FLOAT32]]
    errors = [
        np.linalg.norm(narrow - wide) for narrow, wide in zip(gradients[FLOAT16], gradients[FLOAT32], strict=True)
    ]
    assert 0 < np.linalg.norm(errors) < 10 * EPSILON16 * np.linalg.norm(norms)


def dtype_of(out: Any) -> ms.Type:
    """Of each of the results, which must be of one."""
    (dtype,) = {each.dtype for each in out} if isinstance(out, tuple) else {out.dtype}
    return dtype


@pytest.mark.slow
def test_thirty_steps_in_float16_track_those_in_float32(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = TrainArguments(
        shards=root / "shards",
        model=root / "model",
        output_dir=root / "out",
        save_strategy="no",
        max_steps=30,
        per_device_train_batch_size=2,
        learning_rate=3e-3,
        warmup_ratio=0.1,
    )
    losses = {}
    for precision in (FLOAT32, FLOAT16):
        monkeypatch.setattr("train.loop.choose_precision", lambda precision=precision, **_: precision)
        run = replace(arguments, output_dir=root / str(precision))
        train(run, open_inputs(run), lambda line: None, StopRequest())
        lines = (run.output_dir / "metrics.jsonl").read_text().splitlines()
        losses[precision] = [json.loads(line)["loss"] for line in lines]
    assert len(losses[FLOAT32]) == 30
    assert losses[FLOAT32][-1] < 0.8 * losses[FLOAT32][0]
    # The loss is a mean over some tens of tokens of numbers around 5, each off by no more than a rounding or two;
    # measured: 8e-5, of a loss that falls from 5.71 to 4.4. Weights rounded to float16 would stop following: the last
    # steps change most of them by less than float16 can tell apart.
    np.testing.assert_allclose(losses[FLOAT16], losses[FLOAT32], rtol=EPSILON16)
    assert losses[FLOAT16] != losses[FLOAT32]


def test_bf16_is_refused_where_there_are_no_kernels_and_nothing_is_written(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["--shards", str(root / "shards"), "--model", str(root / "model"), "--output_dir", str(tmp_path / "out")]
    assert main([*argv, "--bf16", "--device", "CPU"]) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("train: error: bf16 True: MindSpore has no bfloat16 matrix products on CPU")
    assert not (tmp_path / "out").exists()


def test_bf16_is_a_matter_of_the_device() -> None:
    assert choose_precision(bf16=True, device="Ascend") == BFLOAT16
    assert choose_precision(bf16=False, device="Ascend") == choose_precision(bf16=False, device="CPU") == FLOAT32
    with pytest.raises(UsageError, match="on CPU"):
        choose_precision(bf16=True, device="CPU")
    assert [str(precision) for precision in (FLOAT32, BFLOAT16)] == ["float32", "bfloat16"]
