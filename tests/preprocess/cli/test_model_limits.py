"""Limits that a model folder says, and what the user is told of limits in cells of another size."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from demo_model import write_model_folder

from preprocess.cli.arguments import parse_config
from preprocess.cli.sweep_arguments import parse_plan
from preprocess.config import RunConfig
from preprocess.errors import ConfigError
from shards import ModelFolderError

QWEN3_IMAGES, QWEN3_VIDEOS = (65536, 16777216), (4096, 25165824)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    for family in ("qwen2_5_vl", "qwen3_vl"):
        write_model_folder(root / family, ["a"], family=family)
    return root


@pytest.fixture
def qwen3(folders: Path, tmp_path: Path) -> Path:
    """The processors of a Qwen3-VL, to be changed."""
    for name in ("preprocessor_config.json", "video_preprocessor_config.json"):
        (tmp_path / name).write_bytes((folders / "qwen3_vl" / name).read_bytes())
    return tmp_path


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def words(model: Path, *more: str) -> list[str]:
    return [f"--model={model}", "--datasets=d", "--dataset_use=a", "--output_dir=o", *more]


def parse(model: Path, *more: str) -> tuple[RunConfig, list[str]]:
    notes: list[str] = []
    return parse_config(words(model, *more), notes.append), notes


def test_numbers_stand_in_the_place_of_the_word(folders: Path) -> None:
    config, notes = parse(
        folders / "qwen3_vl", "--max_pixels=model", "--min_pixels=model", "--video_total_pixels=model"
    )
    assert (config.min_pixels, config.max_pixels) == QWEN3_IMAGES
    assert (config.video_min_total_pixels, config.video_total_pixels) == QWEN3_VIDEOS
    assert notes == []


def test_each_limit_is_asked_for_by_itself(folders: Path) -> None:
    config, _ = parse(folders / "qwen2_5_vl", "--max_pixels=model")
    assert (config.min_pixels, config.max_pixels) == (None, 12845056)
    config, _ = parse(folders / "qwen3_vl", "--video_total_pixels=model", "--video_min_total_pixels=9000")
    assert (config.max_pixels, config.video_min_total_pixels) == (None, 9000)


def test_max_pixels_beside_size_counts(qwen3: Path) -> None:
    """As in transformers."""
    edit(qwen3 / "preprocessor_config.json", lambda record: record.update(max_pixels=500_000))
    assert parse(qwen3, "--max_pixels=model")[0].max_pixels == 500_000


def test_the_processors_of_transformers_5_are_read(qwen3: Path) -> None:
    sections = {
        section: json.loads((qwen3 / name).read_text())
        for section, name in (
            ("image_processor", "preprocessor_config.json"),
            ("video_processor", "video_preprocessor_config.json"),
        )
    }
    (qwen3 / "preprocessor_config.json").unlink()
    (qwen3 / "video_preprocessor_config.json").unlink()
    (qwen3 / "processor_config.json").write_text(json.dumps(sections))
    config, _ = parse(qwen3, "--max_pixels=model", "--video_total_pixels=model")
    assert (config.max_pixels, config.video_total_pixels) == (QWEN3_IMAGES[1], QWEN3_VIDEOS[1])


def test_what_the_folder_does_not_say_is_refused(folders: Path, qwen3: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"video_total_pixels is model, and in .*qwen2_5_vl the video processor is None"
    ):
        parse(folders / "qwen2_5_vl", "--video_total_pixels=model")
    edit(qwen3 / "video_preprocessor_config.json", lambda record: record.update(video_processor_type="Qwen2VL"))
    with pytest.raises(ConfigError, match="the video processor is Qwen2VL, not Qwen3VLVideoProcessor, whose limits"):
        parse(qwen3, "--video_total_pixels=model")
    edit(qwen3 / "preprocessor_config.json", lambda record: record.pop("size"))
    with pytest.raises(
        ConfigError, match=r"max_pixels is model, and .*says no max_pixels or longest_edge; say a number"
    ):
        parse(qwen3, "--max_pixels=model")
    edit(qwen3 / "preprocessor_config.json", lambda record: record.update(max_pixels="many"))
    with pytest.raises(ModelFolderError, match="'max_pixels' is 'many', not a positive integer"):
        parse(qwen3, "--max_pixels=model")
    with pytest.raises(ModelFolderError, match="nowhere"):
        parse(qwen3 / "nowhere", "--max_pixels=model")


def test_limits_of_the_model_must_not_cross_others(folders: Path) -> None:
    with pytest.raises(ConfigError, match=r"min_pixels \(20000000\) is larger than max_pixels \(16777216\)"):
        parse(folders / "qwen3_vl", "--max_pixels=model", "--min_pixels=20000000")


def test_a_sweep_takes_those_of_each_model(folders: Path) -> None:
    models = ",".join(str(folders / family) for family in ("qwen2_5_vl", "qwen3_vl"))
    given = words(folders / "qwen3_vl", "--max_pixels=model", "--sweep", f"model={models}")
    sweep = parse_plan(given, lambda line: None).sweep
    assert sweep is not None
    assert [each.config.max_pixels for each in sweep.combinations] == [12845056, QWEN3_IMAGES[1]]
    assert [each.config.model.name for each in sweep.combinations] == ["qwen2_5_vl", "qwen3_vl"]


def test_limits_in_cells_of_28_are_noted_where_the_cells_of_the_model_are_others(folders: Path) -> None:
    limits = ("--max_pixels=576*28*28", "--min_pixels=16*32*32", "--video_total_pixels=1000*28*28")
    assert parse(folders / "qwen2_5_vl", *limits)[1] == []
    config, notes = parse(folders / "qwen3_vl", *limits)
    assert config.max_pixels == 576 * 28 * 28
    ends = "times 32 x 32, those of a visual token of this model"
    assert notes == [
        f"max_pixels 451,584 is 576 times 28 x 28 pixels, and 441 {ends}",
        f"video_total_pixels 784,000 is 1,000 times 28 x 28 pixels, and 765.62 {ends}",
    ]
    assert parse(folders / "qwen3_vl", "--max_pixels=576*32*32")[1] == []
    assert parse(Path("nowhere"), *limits)[1] == []
