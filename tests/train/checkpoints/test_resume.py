from dataclasses import replace
from pathlib import Path

import pytest

from shards import open_shards
from shards.inputs import with_format
from shards.manifest import Manifest, fingerprint_of
from tests.train.tiny_run import write_tiny_inputs, write_tiny_model
from train.arguments import TrainArguments
from train.checkpoints.folder import write_checkpoint
from train.checkpoints.resume import Start, find_start
from train.checkpoints.trainer_state import RunIdentity, TrainerState, hash_model, write_state
from train.errors import UsageError
from train.inputs import order_of_run


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("resume")
    write_tiny_inputs(root, num_packs=6)
    return root


@pytest.fixture
def arguments(root: Path, tmp_path: Path) -> TrainArguments:
    return TrainArguments(shards=root / "shards", model=root / "model", output_dir=tmp_path / "out", max_steps=20)


def manifest_of(arguments: TrainArguments) -> Manifest:
    return open_shards(arguments.shards).manifest


def start_of(arguments: TrainArguments, manifest: Manifest | None = None) -> Start:
    manifest = manifest or manifest_of(arguments)
    return find_start(arguments, RunIdentity.of(arguments, manifest), order_of_run(arguments, manifest.num_packs))


def state_of(arguments: TrainArguments, step: int) -> TrainerState:
    manifest = manifest_of(arguments)
    order = order_of_run(arguments, manifest.num_packs)
    return TrainerState.after(step, order, RunIdentity.of(arguments, manifest))


def save(arguments: TrainArguments, *steps: int) -> list[Path]:
    """What a run leaves that was killed after these checkpoints."""
    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    write_state(arguments.output_dir / "trainer_state.json", state_of(arguments, 0), {})
    (arguments.output_dir / "metrics.jsonl").touch()

    def write_contents(folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"weights")

    return [write_checkpoint(arguments.output_dir, state_of(arguments, step), write_contents) for step in steps]


def finish(arguments: TrainArguments, step: int) -> None:
    (arguments.output_dir / "model.safetensors").write_bytes(b"weights")
    write_state(arguments.output_dir / "trainer_state.json", state_of(arguments, step), {})


def test_a_new_folder_starts_at_step_0(arguments: TrainArguments) -> None:
    assert start_of(arguments) == Start()
    assert start_of(replace(arguments, resume_from_checkpoint=False)) == Start()


def test_the_newest_checkpoint_goes_on(arguments: TrainArguments) -> None:
    folders = save(arguments, 5, 10)
    start = start_of(arguments)
    assert start.step == 10
    assert start.checkpoint is not None
    assert start.checkpoint.folder == folders[1]
    assert start.notes == ()


def test_a_damaged_checkpoint_falls_back_to_the_one_before_and_says_which_file(arguments: TrainArguments) -> None:
    folders = save(arguments, 5, 10)
    (folders[1] / "model.safetensors").unlink()
    start = start_of(arguments)
    assert start.step == 5
    (note,) = start.notes
    assert note.startswith(f"checkpoint-10 is damaged: {folders[1] / 'model.safetensors'} can't be read")
    assert note.endswith("going back to checkpoint-5")


def test_no_intact_checkpoint_is_an_error_that_names_all(arguments: TrainArguments) -> None:
    for folder in save(arguments, 5, 10):
        (folder / "model.safetensors").write_bytes(b"wrong")
    with pytest.raises(UsageError, match=r"no intact checkpoint .*checkpoint-10 is damaged.*checkpoint-5 is damaged"):
        start_of(arguments)


def test_a_run_stopped_before_its_first_checkpoint_starts_again(arguments: TrainArguments) -> None:
    save(arguments)
    start = start_of(replace(arguments, learning_rate=1.0))
    assert start.step == 0
    assert "starts again" in start.notes[0]


def test_a_finished_run_has_nothing_to_do(arguments: TrainArguments) -> None:
    save(arguments, 20)
    finish(arguments, 20)
    start = start_of(arguments)
    assert start.is_finished
    assert "after 20 steps: finished" in start.notes[0]
    with pytest.raises(UsageError, match=r"learning_rate 1e-06 -> 1\.0"):
        start_of(replace(arguments, learning_rate=1.0))


def test_a_model_that_is_not_marked_complete_is_written_again(arguments: TrainArguments) -> None:
    save(arguments, 20)
    (arguments.output_dir / "model.safetensors").write_bytes(b"half of the wei")
    start = start_of(arguments)
    assert (start.is_finished, start.step) == (False, 20)


def test_a_finished_run_may_be_made_longer_and_is_told_about_its_schedule(arguments: TrainArguments) -> None:
    save(arguments, 20)
    finish(arguments, 20)
    start = start_of(replace(arguments, max_steps=30))
    assert start.step == 20
    assert "had 20 steps" in start.notes[0]
    assert "has 30 now" in start.notes[0]


def test_a_finished_run_without_checkpoints_cannot_be_made_longer(arguments: TrainArguments) -> None:
    save(arguments)
    finish(arguments, 20)
    with pytest.raises(UsageError, match="after 20 steps, and no checkpoint to go on from"):
        start_of(replace(arguments, max_steps=30))


def test_a_run_cannot_be_made_shorter_than_its_checkpoint(arguments: TrainArguments) -> None:
    save(arguments, 10)
    with pytest.raises(UsageError, match="past the 8 steps"):
        start_of(replace(arguments, max_steps=8))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"learning_rate": 1e-3}, "learning_rate 1e-06 -> 0.001"),
        ({"seed": 1}, "seed 42 -> 1"),
        ({"lr_scheduler_type": "linear"}, "lr_scheduler_type cosine -> linear"),
        ({"warmup_ratio": 0.5}, "warmup_ratio 0.0 -> 0.5"),
        ({"weight_decay": 0.1}, "weight_decay 0.0 -> 0.1"),
        (
            {"per_device_train_batch_size": 2},
            "per_device_train_batch_size * gradient_accumulation_steps * ranks 1 -> 2",
        ),
    ],
)
def test_arguments_that_determine_the_result_may_not_change(
    changes: dict[str, object], words: str, arguments: TrainArguments
) -> None:
    save(arguments, 10)
    with pytest.raises(UsageError) as error:
        start_of(replace(arguments, **changes))
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"logging_steps": 7},
        {"save_steps": 2, "save_total_limit": 1},
        {"report_to": "tensorboard", "disable_tqdm": True},
        {"gradient_checkpointing": True},
    ],
    ids=str,
)
def test_what_does_not_change_the_result_may_change(changes: dict[str, object], arguments: TrainArguments) -> None:
    save(arguments, 10)
    assert start_of(replace(arguments, **changes)).step == 10


def test_a_batch_may_become_accumulation(arguments: TrainArguments) -> None:
    arguments = replace(arguments, per_device_train_batch_size=4)
    save(arguments, 10)
    moved = replace(arguments, per_device_train_batch_size=2, gradient_accumulation_steps=2)
    assert start_of(moved).step == 10


def of_format(manifest: Manifest, format: str, **config: object) -> Manifest:
    inputs = with_format({"config": {"seed": 1, **config}, "versions": {"pillow": "12"}}, format)
    return replace(manifest, format=format, inputs=inputs, fingerprint=fingerprint_of(inputs))


def test_converted_shards_are_the_same_shards(arguments: TrainArguments) -> None:
    manifest = manifest_of(arguments)
    before = RunIdentity.of(arguments, of_format(manifest, "arrow"))
    for format in ("arrow", "arrow_zstd", "mindrecord"):
        assert list(before.differences(RunIdentity.of(arguments, of_format(manifest, format)))) == []
    [other] = before.differences(RunIdentity.of(arguments, of_format(manifest, "arrow_zstd", seed=2)))
    assert other == "the shards (config.seed 1 -> 2)"
    unknown = replace(of_format(manifest, "arrow_zstd"), fingerprint="of something else")
    assert list(before.differences(RunIdentity.of(arguments, unknown))), "who knows what that was taken of"


def test_other_shards_are_refused_saying_which_inputs_differ(arguments: TrainArguments) -> None:
    save(arguments, 10)
    manifest = manifest_of(arguments)
    other = replace(manifest, fingerprint="1" * 64, inputs={"config": {"max_pixels": 200704}})
    with pytest.raises(UsageError, match=r"the shards \(config None -> \{'max_pixels': 200704\}\)"):
        start_of(arguments, other)
    with pytest.raises(UsageError, match=r"the shards \(packs 6 -> 4\)"):
        start_of(arguments, replace(manifest, shards=(replace(manifest.shards[0], num_packs=4),)))


def test_another_model_is_refused(arguments: TrainArguments, tmp_path: Path) -> None:
    save(arguments, 10)
    write_tiny_model(tmp_path / "other")
    path = tmp_path / "other" / "model.safetensors"
    assert start_of(replace(arguments, model=tmp_path / "other")).step == 10, "a copy is the same model"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    assert hash_model(tmp_path / "other") != hash_model(arguments.model)
    with pytest.raises(UsageError, match="the model to start from"):
        start_of(replace(arguments, model=tmp_path / "other"))


def test_a_named_checkpoint_goes_on_in_a_new_folder(arguments: TrainArguments, tmp_path: Path) -> None:
    older, _ = save(arguments, 5, 10)
    named = replace(arguments, resume_from_checkpoint=older)
    with pytest.raises(UsageError, match="holds checkpoint-10, which is later than checkpoint-5"):
        start_of(named)
    elsewhere = replace(named, output_dir=tmp_path / "elsewhere")
    assert start_of(elsewhere).step == 5
    save(elsewhere)
    with pytest.raises(UsageError, match=r"holds metrics\.jsonl already"):
        start_of(elsewhere)
    (older / "model.safetensors").unlink()
    with pytest.raises(UsageError, match=r"resume_from_checkpoint .*model\.safetensors can't be read"):
        start_of(replace(named, output_dir=tmp_path / "new"))


def test_logs_of_the_launcher_do_not_occupy_a_folder(arguments: TrainArguments) -> None:
    (arguments.output_dir / "logs").mkdir(parents=True)
    assert start_of(arguments).step == 0
    (arguments.output_dir / "other").mkdir()
    with pytest.raises(UsageError, match="holds other already"):
        start_of(arguments)


def test_resuming_can_be_forbidden(arguments: TrainArguments) -> None:
    save(arguments, 10)
    with pytest.raises(UsageError, match="already; give a new folder"):
        start_of(replace(arguments, resume_from_checkpoint=False))
