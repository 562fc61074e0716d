import json
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
from mindspore import Tensor
from safetensors.numpy import load_file, save_file

from shards import DamagedShard, ModelConstants, PaddedPack, load_padded, open_shards
from shards.batch import BatchShape
from tests.train.tiny_run import make_packs, write_tiny_model, write_tiny_shards
from train.__main__ import main
from train.arguments import TrainArguments, TrainingFailed, UsageError
from train.checks import open_inputs
from train.loop import choose_device, make_step, order_of_run, read_packs, to_device, train
from train.metrics import StepSums
from train.model import build_model, loss_and_gradients

NUM_PACKS = 6
TIMES = ("seconds", "data_wait_seconds", "tokens_per_second")


@dataclass(frozen=True)
class Run:
    arguments: TrainArguments
    lines: list[str]

    @property
    def metrics(self) -> list[dict]:
        return [json.loads(line) for line in (self.arguments.output_dir / "metrics.jsonl").read_text().splitlines()]

    @property
    def weights(self) -> dict[str, np.ndarray]:
        return load_file(self.arguments.output_dir / "model.safetensors")


@pytest.fixture(scope="module")
def constants(tmp_path_factory: pytest.TempPathFactory) -> ModelConstants:
    return write_tiny_model(tmp_path_factory.getbasetemp() / "loop" / "model")


@pytest.fixture(scope="module")
def root(constants: ModelConstants, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with model/ and shards/; read only."""
    root = tmp_path_factory.getbasetemp() / "loop"
    write_tiny_shards(root / "shards", make_packs(constants, num_packs=NUM_PACKS), constants)
    return root


def arguments_of(root: Path, output_dir: Path, **changes: object) -> TrainArguments:
    arguments = TrainArguments(
        shards=root / "shards",
        model=root / "model",
        output_dir=output_dir,
        num_train_epochs=6.5,  # 39 packs: the last of 10 steps has one empty pack
        per_device_train_batch_size=2,
        gradient_accumulation_steps=2,
        learning_rate=1e-2,
        weight_decay=0.01,
        warmup_ratio=0.1,
    )
    return replace(arguments, **changes)


def run_training(arguments: TrainArguments) -> Run:
    lines: list[str] = []
    train(arguments, open_inputs(arguments), lines.append)
    return Run(arguments, lines)


@pytest.fixture(scope="module")
def run(root: Path) -> Run:
    return run_training(arguments_of(root, root / "out"))


def test_the_loss_falls(run: Run) -> None:
    losses = [record["loss"] for record in run.metrics]
    assert len(losses) == 10
    assert losses[0] == pytest.approx(np.log(300), abs=0.3)
    assert losses[-1] < 0.8 * losses[0]


def test_every_step_is_logged_and_compiling_has_its_own_line(run: Run) -> None:
    start, compiled, *steps, saved = run.lines
    assert start.startswith(f"10 steps of 4 out of {NUM_PACKS} packs in ")
    assert compiled.startswith("compiled in ")
    assert saved.startswith("saved ")
    for number, line in enumerate(steps, start=1):
        names = [part.split(" ")[0] for part in line.split(" | ")]
        assert line.startswith(f"step {number}/10 | loss ")
        assert names == ["step", "loss", "lr", line.split(" | ")[3].split(" ")[0], "data"]
        assert line.split(" | ")[3].endswith(" tokens/s")


def test_metrics_hold_what_the_lines_say_and_more(run: Run, root: Path) -> None:
    metrics = run.metrics
    totals = open_shards(root / "shards").manifest.totals
    assert [record["step"] for record in metrics] == list(range(1, 11))
    assert metrics[-1]["epoch"] == 6.5
    assert metrics[0]["learning_rate"] == 0.0
    assert metrics[1]["learning_rate"] == 1e-2
    assert all(record["grad_norm"] > 0 for record in metrics)
    assert all(0 <= record["data_wait_seconds"] <= record["seconds"] for record in metrics)
    tokens = sum(record["num_tokens"] for record in metrics)
    assert 6 * totals.num_tokens < tokens < 7 * totals.num_tokens
    # Six whole epochs are six times every pack: the tokens of the first nine steps are those of packs 0 to 35.
    assert sum(record["num_label_tokens"] for record in metrics[:9]) == 6 * totals.num_label_tokens


def test_the_output_is_a_model_folder(run: Run) -> None:
    output, source = run.arguments.output_dir, run.arguments.model
    for name in ("config.json", "generation_config.json", "tokenizer.json", "preprocessor_config.json"):
        assert (output / name).read_bytes() == (source / name).read_bytes()
    model = build_model(output)
    before = load_file(source / "model.safetensors")
    after = run.weights
    assert set(after) == set(before)
    for parameter in model.trainable_params():
        np.testing.assert_array_equal(parameter.asnumpy().reshape(after[parameter.name].shape), after[parameter.name])
    assert all(np.any(after[name] != before[name]) for name in before), "every parameter is trained"


def test_micro_steps_may_be_batch_or_accumulation_bit_for_bit(run: Run, root: Path) -> None:
    changed = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 1, "logging_steps": 4}
    other = run_training(arguments_of(root, root / "out-4x1", **changed))
    for name, weight in run.weights.items():
        assert weight.tobytes() == other.weights[name].tobytes(), name

    # Reported every 4 steps and at the end: the sums of the steps since the report before.
    assert [record["step"] for record in other.metrics] == [4, 8, 10]
    first_four = run.metrics[:4]
    labels = [record["num_label_tokens"] for record in first_four]
    assert other.metrics[0]["num_label_tokens"] == sum(labels)
    mean = np.average([record["loss"] for record in first_four], weights=labels)
    assert other.metrics[0]["loss"] == pytest.approx(mean)
    assert other.metrics[0]["grad_norm"] == run.metrics[3]["grad_norm"]


def test_loss_and_gradient_are_weighted_by_supervised_tokens(run: Run, root: Path) -> None:
    shards = open_shards(root / "shards")
    model = build_model(root / "model")
    shape = BatchShape.of(shards.manifest)
    step = loss_and_gradients(model)
    losses, counts, gradients = [], [], []
    for index in order_of_run(run.arguments, len(shards)).packs_of_step(0):
        micro_batch = load_padded(shards, index, shape)
        loss, gradient = step(*to_device(micro_batch.batch))
        losses.append(float(loss.asnumpy()))
        counts.append(micro_batch.num_label_tokens)
        gradients.append([each.asnumpy().astype(np.float64) for each in gradient])
    assert len(set(counts)) > 1

    first = run.metrics[0]
    assert first["loss"] == pytest.approx(sum(losses) / sum(counts), rel=1e-6)
    assert first["loss"] != pytest.approx(np.mean([loss / n for loss, n in zip(losses, counts, strict=True)]), rel=1e-6)
    mean = [sum(parts) / sum(counts) for parts in zip(*gradients, strict=True)]
    assert first["grad_norm"] == pytest.approx(np.sqrt(sum((part**2).sum() for part in mean)), rel=1e-5)


class FakeOptimizer:
    def __init__(self, norm: float) -> None:
        self.norm = norm
        self.divisors: list[int] = []

    def step(self, learning_rate: float, *, divisor: int) -> float:
        self.divisors.append(divisor)
        return self.norm


def fake_step(losses: list[float], norm: float) -> tuple[FakeOptimizer, StepSums]:
    """`make_step` as the third of a run, with a made-up loss for each of its packs, of 1, 2, ... supervised tokens."""
    packs = [
        PaddedPack((), number, 10, number, sample_keys=(f"tiny:{number}.0", f"tiny:{number}.1"))
        for number in range(1, len(losses) + 1)
    ]
    returned = iter(losses)
    optimizer = FakeOptimizer(norm)
    sums, _ = make_step(2, iter(packs), lambda *batch: Tensor(np.float32(next(returned))), optimizer, 1e-3)
    return optimizer, sums


def test_a_step_divides_once_by_all_its_supervised_tokens() -> None:
    optimizer, sums = fake_step([1.0, 5.0, 6.0], norm=1.0)
    assert optimizer.divisors == [1 + 2 + 3]
    assert sums == StepSums(num_tokens=30, num_label_tokens=6, loss_sum=12.0)
    assert sums.loss == 2.0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_names_its_step_and_samples_and_no_others(value: float) -> None:
    with pytest.raises(TrainingFailed) as error:
        fake_step([1.0, value, 1.0], norm=1.0)
    assert "step 3: the loss is not finite in pack (tiny:2.0, tiny:2.1);" in str(error.value)


def test_a_gradient_that_is_not_finite_names_its_step_and_samples() -> None:
    with pytest.raises(TrainingFailed, match=r"step 3: the gradient is not finite in pack \(tiny:1.*pack \(tiny:2"):
        fake_step([1.0, 1.0], norm=np.nan)


@pytest.mark.slow
def test_broken_weights_end_with_code_1_and_save_nothing(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model"
    write_tiny_model(model)
    weights = load_file(model / "model.safetensors")
    weights["model.norm.weight"][0] = np.nan
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    output = tmp_path / "out"
    argv = ["--shards", str(root / "shards"), "--model", str(model), "--output_dir", str(output)]
    assert main([*argv, "--max_steps", "2", "--device", "CPU"]) == 1
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("train: stopped: step 1: the loss is not finite in pack (tiny:")
    assert not (output / "model.safetensors").exists()
    assert (output / "metrics.jsonl").read_text() == ""


@pytest.mark.parametrize("occupied_by", ["metrics.jsonl", "model.safetensors", "config.json", "manifest.json"])
def test_a_folder_that_holds_something_is_left_alone(
    occupied_by: str, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / occupied_by).write_text("precious")
    argv = ["--shards", str(root / "shards"), "--model", str(root / "model"), "--output_dir", str(tmp_path)]
    assert main(argv) == 2
    assert f"holds {occupied_by}" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [occupied_by]
    assert (tmp_path / occupied_by).read_text() == "precious"


def test_shards_of_another_model_are_refused(root: Path, tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "model")
    config = json.loads((tmp_path / "model" / "preprocessor_config.json").read_text())
    config["image_mean"] = [0.5, 0.5, 0.5]
    (tmp_path / "model" / "preprocessor_config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match=r"image_mean is .* Preprocess again"):
        open_inputs(arguments_of(root, tmp_path / "out", model=tmp_path / "model"))
    assert not (tmp_path / "out").exists()


def test_a_model_folder_without_weights_is_refused(root: Path, tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").unlink()
    with pytest.raises(UsageError, match=r"holds no \*.safetensors"):
        open_inputs(arguments_of(root, tmp_path / "out", model=tmp_path / "model"))


def test_weights_of_another_model_are_refused_before_anything_is_written(root: Path, tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "model")
    weights = load_file(tmp_path / "model" / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, tmp_path / "model" / "model.safetensors", metadata={"format": "pt"})
    arguments = arguments_of(root, tmp_path / "out", model=tmp_path / "model")
    with pytest.raises(UsageError, match=r"model\.norm\.weight"):
        train(arguments, open_inputs(arguments), print)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("variable", ["RANK_SIZE", "MS_WORKER_NUM"])
def test_several_processes_are_refused(
    variable: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "8")
    with pytest.raises(UsageError, match=f"{variable} is 8.*one process"):
        open_inputs(arguments_of(root, tmp_path / "out"))


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mindspore.get_context", lambda _: "CPU")
    with pytest.raises(UsageError, match="no Ascend libraries"):
        choose_device("Ascend")
    assert choose_device("auto") == "CPU"


def test_a_pack_that_cannot_be_read_stops_the_run_and_is_named(run: Run, tmp_path: Path, root: Path) -> None:
    copytree(root / "shards", tmp_path / "shards")
    shards = open_shards(tmp_path / "shards")
    (tmp_path / "shards" / "shard-000001.arrow").unlink()
    with pytest.raises(TrainingFailed, match=r"^\S+shard-000001\.arrow is missing") as error:
        list(read_packs(shards, order_of_run(run.arguments, len(shards))))
    assert isinstance(error.value.__cause__, DamagedShard)
