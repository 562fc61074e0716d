from pathlib import Path

import pytest

from tests.train.tiny_run import write_tiny_model, write_tiny_shards
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
