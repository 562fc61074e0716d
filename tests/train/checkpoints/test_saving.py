"""Checkpoints of a real model and optimizer; nothing is compiled."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from mindspore import Tensor, ops

from tests.train.tiny_run import write_tiny_inputs
from train.arguments import TrainArguments
from train.checkpoints.folder import read_checkpoint
from train.checkpoints.saving import Saver, restore_optimizer
from train.errors import TrainingFailed
from train.inputs import open_inputs
from train.models.folder import build_model
from train.models.trained import TrainedModel
from train.reports.metrics import StepSums
from train.steps.optimizer import AdamW, zeros_like_parameters
from train.weights.writer import ALONE


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("saving")
    write_tiny_inputs(root, num_packs=2)
    return root


@pytest.fixture(scope="module")
def model(root: Path) -> TrainedModel:
    return build_model(root / "model")


def make_optimizer(model: TrainedModel) -> AdamW:
    parameters = model.trainable_params()
    sums = zeros_like_parameters(parameters, "sum")
    return AdamW(parameters, sums, groups=[0] * len(parameters), weight_decay=0.0, max_grad_norm=0.0)


def make_saver(root: Path, output_dir: Path, model: TrainedModel, **changes: object) -> tuple[Saver, AdamW]:
    arguments = TrainArguments(shards=root / "shards", model=root / "model", output_dir=output_dir, **changes)
    output_dir.mkdir(exist_ok=True)
    optimizer = make_optimizer(model)
    inputs = open_inputs(arguments)
    newest = inputs.start.checkpoint.folder if inputs.start.checkpoint else None
    return Saver(arguments, inputs.order, inputs.identity, model, None, optimizer, ALONE, newest), optimizer


def test_weights_and_moments_come_back_bit_for_bit(root: Path, model: TrainedModel, tmp_path: Path) -> None:
    saver, optimizer = make_saver(root, tmp_path, model)
    rng = np.random.default_rng(0)
    for parameter in optimizer.state:
        ops.assign(parameter, Tensor(rng.normal(size=parameter.shape).astype(np.float32)))
    line = saver.save(1, StepSums(num_tokens=3), is_evaluated=False)
    assert line.startswith("saved checkpoint-1 in ")

    checkpoint = read_checkpoint(tmp_path / "checkpoint-1")
    assert (checkpoint.state.step, checkpoint.state.is_evaluated) == (1, False)
    assert checkpoint.state.since_report == StepSums(num_tokens=3)
    loaded = build_model(checkpoint.folder)
    for saved, read in zip(model.get_parameters(), loaded.get_parameters(), strict=True):
        assert saved.asnumpy().tobytes() == read.asnumpy().tobytes()
    restored = make_optimizer(loaded)
    restore_optimizer(restored, checkpoint.folder, step=1)
    assert restored.num_steps == 1
    assert len(restored.state) == 2 * len(model.trainable_params())
    for saved, read in zip(optimizer.state, restored.state, strict=True):
        assert (saved.name, saved.asnumpy().tobytes()) == (read.name, read.asnumpy().tobytes())


def test_the_number_of_checkpoints_is_limited(root: Path, model: TrainedModel, tmp_path: Path) -> None:
    saver, _ = make_saver(root, tmp_path, model, save_total_limit=2)
    lines = [saver.save(step, StepSums(), is_evaluated=True) for step in (1, 2, 3)]
    assert lines[2].endswith("s, deleted checkpoint-1")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-2", "checkpoint-3"]
    assert saver.what_is_saved() == f"{tmp_path / 'checkpoint-3'} is the newest checkpoint"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for one checkpoint of the tiny model (0.7 MB), not for two."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1000k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_one_clear_error_and_leaves_the_earlier_checkpoint(
    root: Path, model: TrainedModel, small_disk: Path
) -> None:
    saver, _ = make_saver(root, small_disk / "out", model)
    saver.save(1, StepSums(), is_evaluated=True)
    with pytest.raises(TrainingFailed, match=r"^checkpoint-2 can't be saved: .*No space left on device") as error:
        saver.save(2, StepSums(), is_evaluated=True)
    assert "\n" not in str(error.value)
    assert [path.name for path in (small_disk / "out").iterdir()] == ["checkpoint-1"]
    assert read_checkpoint(small_disk / "out" / "checkpoint-1").state.step == 1


@pytest.mark.parametrize("name", ["train.weights.writer.write_file", "train.checkpoints.saving.export_model"])
def test_whatever_cannot_be_written_is_one_clear_error(
    name: str, root: Path, model: TrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saver, _ = make_saver(root, tmp_path, model)
    saver.save(1, StepSums(), is_evaluated=True)

    def fail(path: Path, *_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(name, fail)
    with pytest.raises(TrainingFailed, match=r"checkpoint-2 can't be saved: .*checkpoint-2.*: No space left on device"):
        saver.save(2, StepSums(), is_evaluated=True)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-1"]
    assert saver.what_is_saved().startswith(str(tmp_path / "checkpoint-1"))
