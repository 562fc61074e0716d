import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from shards import ModelConstants, load_padded, open_shards
from shards.batch import BatchShape
from tests.train.golden_case import compile_step
from tests.train.tiny_run import make_packs, write_tiny_model, write_tiny_shards
from train.__main__ import main
from train.arguments import TrainArguments
from train.errors import UsageError
from train.inputs import open_inputs, order_of_run
from train.loop import train
from train.models.folder import build_model
from train.reports.metrics import EvaluationResult
from train.steps.evaluate import Evaluation
from train.steps.step import to_device
from train.stop import StopRequest

NUM_PACKS = 6


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
    """A folder with model/, shards/ and eval/; read only."""
    root = tmp_path_factory.getbasetemp() / "loop"
    write_tiny_shards(root / "shards", make_packs(constants, num_packs=NUM_PACKS), constants)
    write_tiny_shards(root / "eval", make_packs(constants, num_packs=3, seed=1), constants)
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
        eval_shards=root / "eval",
        eval_strategy="steps",
        eval_steps=4,
        save_steps=4,
    )
    return replace(arguments, **changes)


def split(metrics: list[dict]) -> tuple[list[dict], list[dict]]:
    """Records of training, and of evaluations."""
    return [each for each in metrics if "loss" in each], [each for each in metrics if "eval_loss" in each]


def run_training(arguments: TrainArguments) -> Run:
    lines: list[str] = []
    train(arguments, open_inputs(arguments), lines.append, StopRequest())
    return Run(arguments, lines)


@pytest.fixture(scope="module")
def run(root: Path) -> Run:
    return run_training(arguments_of(root, root / "out"))


def test_the_loss_falls(run: Run) -> None:
    losses = [record["loss"] for record in split(run.metrics)[0]]
    assert len(losses) == 10
    assert losses[0] == pytest.approx(np.log(300), abs=0.3)
    assert losses[-1] < 0.8 * losses[0]


def test_every_step_is_logged_and_compiling_has_its_own_line(run: Run) -> None:
    start, groups, compiled, *others, checkpoint, saved = run.lines
    steps = [line for line in others if line.startswith("step ")]
    assert len(steps) == 10
    assert start.startswith(f"10 steps of 4 out of {NUM_PACKS} packs in ")
    assert [line.split()[0] for line in groups.splitlines()] == ["group", "llm", "mlp", "vision"]
    assert compiled.startswith("compiled in ")
    assert checkpoint.startswith("saved checkpoint-10 in ")
    assert saved.startswith(f"saved {run.arguments.output_dir} in ")
    for number, line in enumerate(steps, start=1):
        names = [part.split(" ")[0] for part in line.split(" | ")]
        assert line.startswith(f"step {number}/10 | loss ")
        assert names == ["step", "loss", "lr", line.split(" | ")[3].split(" ")[0], "padding", "data"]
        assert line.split(" | ")[3].endswith(" tokens/s")


def test_metrics_hold_what_the_lines_say_and_more(run: Run, root: Path) -> None:
    metrics, _ = split(run.metrics)
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


def test_a_run_that_was_stopped_and_goes_on_ends_with_the_same_bits(
    run: Run, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same packs in one batch of 4, which may change nothing either, stopped between two reports, evaluating."""
    changed = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 1, "logging_steps": 3}
    arguments = arguments_of(root, root / "out-stopped", **changed)
    stop, lines = StopRequest(), []
    evaluate = Evaluation.run

    def stopped_at_step_8(self: Evaluation, stop: StopRequest, *, step: int, epoch: float) -> EvaluationResult | None:
        stop.signal_name = "SIGTERM" if step == 8 else None
        return evaluate(self, stop, step=step, epoch=epoch)

    with monkeypatch.context() as patch:
        patch.setattr(Evaluation, "run", stopped_at_step_8)
        train(arguments, open_inputs(arguments), lines.append, stop)
    assert lines[-1] == "SIGTERM: stopped after step 8; the same command goes on from there"
    assert not (arguments.output_dir / "model.safetensors").exists()
    other = run_training(arguments)
    assert f"going on after step 8, from {arguments.output_dir / 'checkpoint-8'}" in other.lines
    for name, weight in run.weights.items():
        assert weight.tobytes() == other.weights[name].tobytes(), name

    # Reported every 3 steps and at the end: the sums of the steps since the report before.
    reports, evaluations = split(other.metrics)
    assert [record["step"] for record in reports] == [3, 6, 9, 10]
    for report, steps in zip(reports, (slice(0, 3), slice(3, 6), slice(6, 9), slice(9, 10)), strict=True):
        singles = split(run.metrics)[0][steps]
        labels = [record["num_label_tokens"] for record in singles]
        assert report["num_label_tokens"] == sum(labels)
        assert report["loss"] == pytest.approx(np.average([record["loss"] for record in singles], weights=labels))
        assert report["grad_norm"] == singles[-1]["grad_norm"]
    assert [record["eval_loss"] for record in evaluations] == [record["eval_loss"] for record in split(run.metrics)[1]]


def test_evaluations_are_of_the_weights_at_that_step(run: Run, root: Path) -> None:
    _, evaluations = split(run.metrics)
    assert [record["step"] for record in evaluations] == [4, 8, 10]
    shards = open_shards(root / "eval")
    assert evaluations[0]["eval_num_label_tokens"] == shards.manifest.totals.num_label_tokens
    shape = BatchShape.of(shards.manifest)
    model = build_model(run.arguments.output_dir / "checkpoint-8")
    batches = [load_padded(shards, index, shape).batch for index in range(len(shards))]
    loss = sum(float(model(*to_device(batch)).asnumpy()) for batch in batches)
    assert evaluations[1]["eval_loss"] == pytest.approx(loss / shards.manifest.totals.num_label_tokens, rel=1e-5)
    assert evaluations[1]["eval_loss"] != evaluations[2]["eval_loss"]


def test_a_finished_run_started_again_says_so_and_does_nothing(
    run: Run, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.arguments.output_dir.rglob("*")}
    argv = ["--shards", str(root / "shards"), "--model", str(root / "model")]
    argv += ["--output_dir", str(run.arguments.output_dir), "--num_train_epochs", "6.5", "--learning_rate", "1e-2"]
    argv += ["--per_device_train_batch_size", "4", "--weight_decay", "0.01", "--warmup_ratio", "0.1"]
    assert main(argv) == 0
    assert capsys.readouterr().err == (
        f"train: note: {run.arguments.output_dir} holds the model after 10 steps: finished\n"
    )
    assert {path: path.stat().st_mtime_ns for path in run.arguments.output_dir.rglob("*")} == before


def test_a_checkpoint_is_a_model_folder(run: Run) -> None:
    checkpoint = run.arguments.output_dir / "checkpoint-10"
    for path in run.arguments.output_dir.iterdir():
        if path.suffix in (".json", ".safetensors") and path.name != "trainer_state.json":
            assert path.read_bytes() == (checkpoint / path.name).read_bytes()


def test_loss_and_gradient_are_weighted_by_supervised_tokens(run: Run, root: Path) -> None:
    shards = open_shards(root / "shards")
    model = build_model(root / "model")
    shape = BatchShape.of(shards.manifest)
    step = compile_step(model)
    losses, counts, gradients = [], [], []
    for index in order_of_run(run.arguments, len(shards)).packs_of_step(0):
        pack = load_padded(shards, index, shape)
        loss, gradient = step(*to_device(pack.batch))
        losses.append(float(loss.asnumpy()))
        counts.append(pack.num_label_tokens)
        gradients.append([each.asnumpy().astype(np.float64) for each in gradient])
    assert len(set(counts)) > 1

    first = run.metrics[0]
    assert first["loss"] == pytest.approx(sum(losses) / sum(counts), rel=1e-6)
    assert first["loss"] != pytest.approx(np.mean([loss / n for loss, n in zip(losses, counts, strict=True)]), rel=1e-6)
    mean = [sum(parts) / sum(counts) for parts in zip(*gradients, strict=True)]
    assert first["grad_norm"] == pytest.approx(np.sqrt(sum((part**2).sum() for part in mean)), rel=1e-5)


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


@pytest.mark.parametrize("occupied_by", ["metrics.jsonl", "model.safetensors", "manifest.json", "thesis.txt"])
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
        train(arguments, open_inputs(arguments), print, StopRequest())
    assert not (tmp_path / "out").exists()
