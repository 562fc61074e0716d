"""What a model folder may hold: its own files, whatever links lead to them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from train.errors import WeightsError
from train.models.qwen2_5_vl import NAMES
from train.weights.companions import check_companions, copy_companions
from train.weights.files import INDEX_FILE, SINGLE_FILE, find_weights


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    """A model in the Hub's cache, opened by a link to its revision."""
    repository = tmp_path / "hub" / "models--org--name"
    revision = repository / "snapshots" / "0123abcd"
    revision.mkdir(parents=True)
    (repository / "blobs").mkdir()
    save_file({"a": np.ones(3, np.float32)}, repository / "blobs" / "1")
    (repository / "blobs" / "2").write_text("{}")
    (revision / SINGLE_FILE).symlink_to("../../blobs/1")
    (revision / "config.json").symlink_to("../../blobs/2")
    (tmp_path / "model").symlink_to(revision)
    return tmp_path / "model"


def test_links_of_the_hub_cache_are_read_and_copied(snapshot: Path, tmp_path: Path) -> None:
    assert find_weights(snapshot, NAMES)["a"].read().tolist() == [1, 1, 1]
    check_companions(snapshot)
    (tmp_path / "out").mkdir()
    copy_companions(snapshot, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["config.json"]
    assert not (tmp_path / "out" / "config.json").is_symlink()


def test_links_out_of_the_folder_are_neither_read_nor_copied(snapshot: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text('{"password": 1}')
    (snapshot / "notes.json").symlink_to(tmp_path / "secret.json")
    with pytest.raises(WeightsError, match=r"notes\.json is a link out of the model folder"):
        check_companions(snapshot)
    save_file({"a": np.ones(3, np.float32)}, tmp_path / "other.safetensors")
    (snapshot / SINGLE_FILE).unlink()
    (snapshot / SINGLE_FILE).symlink_to(tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="is a link out of the model folder"):
        find_weights(snapshot, NAMES)


@pytest.mark.parametrize("name", ["../other.safetensors", "/etc/passwd", "..", "", "sub/one.safetensors", "a\0b"])
def test_an_index_names_files_of_its_folder_alone(name: str, tmp_path: Path) -> None:
    (tmp_path / "model" / "sub").mkdir(parents=True)
    for path in (tmp_path / "other.safetensors", tmp_path / "model" / "sub" / "one.safetensors"):
        save_file({"a": np.ones(3, np.float32)}, path)
    (tmp_path / "model" / INDEX_FILE).write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(WeightsError, match="is not the name of a file in it"):
        find_weights(tmp_path / "model", NAMES)


def test_what_cannot_be_copied_is_found_before_anything_is_written(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.json")
    with pytest.raises(WeightsError, match=r"a\.json can't be read: not a plain file"):
        check_companions(tmp_path)
    (tmp_path / "a.json").unlink()
    (tmp_path / "a.json").mkdir()
    with pytest.raises(WeightsError, match=r"a\.json can't be read"):
        check_companions(tmp_path)
