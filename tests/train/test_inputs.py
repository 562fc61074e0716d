from pathlib import Path

import pytest

from tests.train.tiny_run import make_packs, write_tiny_model, write_tiny_shards
from train.arguments import TrainArguments
from train.errors import UsageError
from train.inputs import open_inputs


def test_a_dataset_without_packs_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    constants = write_tiny_model(tmp_path / "model")
    write_tiny_shards(tmp_path / "shards", [], constants)
    arguments = TrainArguments(shards=tmp_path / "shards", model=tmp_path / "model", output_dir=tmp_path / "out")
    with pytest.raises(UsageError, match=r"shards holds no pack; preprocess again, its rejects\.jsonl says"):
        open_inputs(arguments)
    assert not arguments.output_dir.exists()


def test_a_file_that_cannot_be_copied_is_found_before_the_first_step(tmp_path: Path) -> None:
    constants = write_tiny_model(tmp_path / "model")
    write_tiny_shards(tmp_path / "shards", make_packs(constants, num_packs=2), constants)
    arguments = TrainArguments(shards=tmp_path / "shards", model=tmp_path / "model", output_dir=tmp_path / "out")
    assert open_inputs(arguments).start.step == 0
    (tmp_path / "secret").write_text("{}")
    (tmp_path / "model" / "notes.json").symlink_to(tmp_path / "secret")
    with pytest.raises(UsageError, match=r"notes\.json is a link out of the model folder"):
        open_inputs(arguments)
    assert not arguments.output_dir.exists()
