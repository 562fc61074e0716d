import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from shards.files.hashing import sha256_of_json
from shards.order import PackOrder
from train.checkpoints import folder as checkpoint
from train.checkpoints.folder import (
    delete_checkpoint,
    delete_older,
    find_checkpoints,
    read_checkpoint,
    remove_left_behind,
    write_checkpoint,
)
from train.checkpoints.trainer_state import RunIdentity, TrainerState
from train.errors import DamagedCheckpoint
from train.reports.metrics import StepSums

ORDER = PackOrder(num_packs=10, seed=0, packs_per_step=4, num_positions=40)
IDENTITY = RunIdentity(
    arguments={"model": "m", "per_device_train_batch_size": 1, "gradient_accumulation_steps": 4},
    shards={"fingerprint": "a", "num_packs": 10, "inputs": {}},
    model_sha256="b",
)


def state_after(step: int) -> TrainerState:
    return TrainerState.after(step, ORDER, IDENTITY, since_report=StepSums(num_tokens=7, loss_sum=0.1))


def write_contents(folder: Path) -> None:
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights" * 1000)


def save(output_dir: Path, step: int) -> Path:
    return write_checkpoint(output_dir, state_after(step), write_contents)


@pytest.mark.parametrize(
    "changes",
    [
        {"step": "3"},
        {"step": True},
        {"packs_taken": -1},
        {"identity": None},
        {"identity": {**asdict(IDENTITY), "arguments": []}},
        {"identity": {**asdict(IDENTITY), "arguments": {"model": "m"}}},
        {"identity": {**asdict(IDENTITY), "shards": {"fingerprint": "a", "num_packs": 10, "inputs": 5}}},
        {"identity": {**asdict(IDENTITY), "shards": {"num_packs": 10, "inputs": {"config": {"format": "arrow"}}}}},
        {"identity": {**asdict(IDENTITY), "shards": {"fingerprint": "a", "num_packs": 10, "inputs": {"config": 5}}}},
        {"since_report": {"num_tokens": "many"}},
        {"since_report": {"unknown": 1}},
        {"files": []},
        {"files": {"../config.json": {"num_bytes": 2, "sha256": "0"}}},
        {"files": {"config.json": {"num_bytes": None, "sha256": "0"}}},
        {"unknown": 1},
    ],
)
def test_a_state_with_a_valid_hash_and_values_that_we_never_write_is_damaged(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    path = save(tmp_path, 3) / "trainer_state.json"
    record = {**json.loads(path.read_text()), **changes}
    record.pop("sha256")
    path.write_text(json.dumps({**record, "sha256": sha256_of_json(record)}))
    with pytest.raises(DamagedCheckpoint, match=r"trainer_state\.json"):
        read_checkpoint(path.parent)


def test_a_state_nested_beyond_reason_is_damaged(tmp_path: Path) -> None:
    path = save(tmp_path, 3) / "trainer_state.json"
    path.write_text('{"sha256": "", "format_version": 1, "a": ' + "[" * 100_000 + "]" * 100_000 + "}")
    with pytest.raises(DamagedCheckpoint, match=r"trainer_state\.json"):
        read_checkpoint(path.parent)


def test_a_checkpoint_under_the_name_of_another_step_is_damaged(tmp_path: Path) -> None:
    renamed = save(tmp_path, 3).rename(tmp_path / "checkpoint-5")
    with pytest.raises(DamagedCheckpoint, match="is that of step 3"):
        read_checkpoint(renamed)
    assert read_checkpoint(renamed.rename(tmp_path / "best")).state.step == 3


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    folder = save(tmp_path, 3)
    assert names(tmp_path) == ["checkpoint-3"]
    assert names(folder) == ["config.json", "model.safetensors", "trainer_state.json"]
    read = read_checkpoint(folder)
    assert read.state == state_after(3)
    assert read.state.packs_taken == 12
    assert read.state.since_report.loss_sum == 0.1


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "trainer_state.json"])
@pytest.mark.parametrize("damage", ["missing", "shorter", "altered"])
def test_every_damage_is_found_and_names_the_file(name: str, damage: str, tmp_path: Path) -> None:
    path = save(tmp_path, 3) / name
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "shorter":
        path.write_bytes(content[:-2])
    else:  # one bit; in the state, one that leaves valid JSON
        place = content.index(b"7") if name == "trainer_state.json" else len(content) // 2
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    with pytest.raises(DamagedCheckpoint, match=str(path)):
        read_checkpoint(tmp_path / "checkpoint-3")


def test_a_state_of_another_version_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path, 3) / "trainer_state.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format_version": 99}))
    with pytest.raises(DamagedCheckpoint, match="format version 99"):
        read_checkpoint(tmp_path / "checkpoint-3")


@pytest.mark.parametrize("written", ["nothing", "half"])
def test_a_failing_save_leaves_no_trace_and_earlier_checkpoints_whole(written: str, tmp_path: Path) -> None:
    save(tmp_path, 3)

    def fail(folder: Path) -> None:
        if written == "half":
            write_contents(folder)
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_checkpoint(tmp_path, state_after(6), fail)
    assert names(tmp_path) == ["checkpoint-3"]
    assert read_checkpoint(tmp_path / "checkpoint-3").state.step == 3


@pytest.mark.parametrize("call", ["mkdir", "write_state", "rename"])
def test_a_save_that_is_killed_anywhere_leaves_nothing_that_looks_like_a_checkpoint(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A killed process does not clean up, so neither may this one."""
    save(tmp_path, 3)

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", lambda *_, **__: None)
        patch.setattr(checkpoint if call == "write_state" else Path, call, die)
        with pytest.raises(KeyboardInterrupt):
            save(tmp_path, 6)
    assert [path.name for path in find_checkpoints(tmp_path)] == ["checkpoint-3"]
    remove_left_behind(tmp_path)
    assert names(tmp_path) == ["checkpoint-3"]


def test_a_damaged_checkpoint_of_the_same_step_is_replaced(tmp_path: Path) -> None:
    (save(tmp_path, 3) / "model.safetensors").unlink()
    save(tmp_path, 3)
    assert read_checkpoint(tmp_path / "checkpoint-3").state.step == 3
    assert names(tmp_path) == ["checkpoint-3"]


def test_checkpoints_are_found_by_number_not_by_name(tmp_path: Path) -> None:
    for name in ("checkpoint-9", "checkpoint-10", "checkpoint-x", ".checkpoint-11.partial", "checkpoint-12.old"):
        (tmp_path / name).mkdir()
    (tmp_path / "checkpoint-13").write_text("a file")
    assert [path.name for path in find_checkpoints(tmp_path)] == ["checkpoint-10", "checkpoint-9"]
    assert find_checkpoints(tmp_path / "missing") == []


def test_the_oldest_are_deleted_but_never_what_is_newer_than_the_one_just_saved(tmp_path: Path) -> None:
    folders = {step: save(tmp_path, step) for step in (3, 6, 9, 12)}
    # 12 is a damaged one that the run went back behind; 9 was saved just now.
    assert delete_older(folders[9], keep=2) == [folders[3]]
    assert names(tmp_path) == ["checkpoint-12", "checkpoint-6", "checkpoint-9"]
    assert delete_older(folders[9], keep=1) == [folders[6]]
    assert delete_older(folders[9], keep=1) == []


def test_a_deletion_that_is_killed_leaves_nothing_that_looks_like_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save(tmp_path, 3)

    def die_half_way(path: Path) -> None:
        os.unlink(path / "model.safetensors")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", die_half_way)
        with pytest.raises(KeyboardInterrupt):
            delete_checkpoint(folder)
    assert names(tmp_path) == [".checkpoint-3.deleted"]
    assert find_checkpoints(tmp_path) == []
    remove_left_behind(tmp_path)
    assert names(tmp_path) == []
