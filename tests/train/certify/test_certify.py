"""`python -m train certify`: samples that see each other are found, and losses that differ from the reference's."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from demo_model import FAMILIES, SIZES, ModelSize, write_model_folder

from shards import open_shards, read_model_constants
from tests.train.tiny_run import write_tiny_inputs
from train.__main__ import main
from train.certify import task as task_module
from train.certify.compare import BETWEEN, WITHIN, model_section
from train.certify.losses import losses_of
from train.certify.task import Task, write_task
from train.certify.tiny import shrunk
from train.models import family_of

VERSIONS = {"torch": "2", "transformers": "4.57.1"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("certify")
    write_tiny_inputs(root, num_packs=4)
    return root


@pytest.fixture(scope="module")
def task(root: Path) -> Task:
    """Packs 1 and 3: text and an image; text, an image and a video."""
    shards = open_shards(root / "shards")
    (root / "work").mkdir()
    packs = {number: shards[number] for number in (1, 3)}
    return write_task(root / "work", root / "model", packs, shards.manifest.model)


@pytest.fixture(scope="module")
def losses(task: Task, root: Path) -> dict[str, list[float]]:
    return losses_of(task, read_model_constants(root / "model"))


def section_of(task: Task, ours: dict[str, list[float]], theirs: dict[str, list[float]]) -> dict[str, Any]:
    return model_section(task, ours, {"losses": theirs, "versions": VERSIONS})


def test_the_task_has_each_pack_and_each_of_its_samples_alone(task: Task) -> None:
    written = json.loads((task.folder / "task.json").read_text(encoding="utf-8"))
    assert written["packs"] == ["1", "1.0", "1.1", "3", "3.0", "3.1", "3.2"]
    assert not written["draws_weights"]
    with np.load(task.folder / "3.npz") as pack, np.load(task.folder / "3.2.npz") as alone:
        np.testing.assert_array_equal(alone["video_patches"], pack["video_patches"])
        assert len(alone["image_patches"]) == 0 < len(pack["image_patches"])
        np.testing.assert_array_equal(alone["input_ids"], pack["input_ids"][pack["cu_seqlens"][2] :])


def test_samples_have_the_same_loss_packed_and_alone(task: Task, losses: dict[str, list[float]]) -> None:
    section = section_of(task, losses, losses)
    assert section["num_unexplained"] == 0
    assert [row["total"] for row in section["rows"]] == [5, 5, 5]
    assert min(losses["3"]) > 1  # there is a loss
    assert section["what"].endswith("the model itself.")


def test_samples_that_see_each_other_are_found(task: Task, root: Path, losses: dict[str, list[float]]) -> None:
    whole = task.packs["1"]
    leaking = replace(whole, cu_seqlens=whole.cu_seqlens[[0, -1]], sample_keys=whole.sample_keys[:1])
    [together] = losses_of(replace(task, packs={**task.packs, "1": leaking}), read_model_constants(root / "model"))["1"]
    apart = sum(losses["1"])
    assert abs(together - apart) / apart > 10 * WITHIN


@pytest.mark.parametrize(("name", "row"), [("3", 1), ("3.1", 2)])
def test_a_loss_of_the_reference_that_differs_is_found(
    task: Task, losses: dict[str, list[float]], name: str, row: int
) -> None:
    theirs = {key: list(values) for key, values in losses.items()}
    theirs[name][-1] *= 1 + 2 * BETWEEN
    section = section_of(task, losses, theirs)
    assert section["rows"][row]["unexplained"] == 1
    assert task.packs["3"].sample_keys[int(name[2:] or -1)] in section["differences"][0]["key"]
    assert section["differences"][0]["choices"] == []


def test_a_loss_that_is_no_number_is_found(task: Task, losses: dict[str, list[float]]) -> None:
    theirs = {**losses, "1.0": [float("nan")]}
    assert section_of(task, losses, theirs)["num_unexplained"] == 2


# --- the command -----------------------------------------------------------------------------------------------------


def oracle_that_gives(folder: Path, result: dict[str, Any]) -> Path:
    path, made = folder / "oracle", folder / "result.json"
    made.write_text(json.dumps(result), encoding="utf-8")
    path.write_text(f'#!/bin/sh\n[ -z "$PYTHONSAFEPATH" ] || exit 5\ncp "{made}" "$2/result.json"\n', encoding="utf-8")
    path.chmod(0o755)
    return path


def test_the_command_writes_its_half_of_the_certificate(
    root: Path,
    losses: dict[str, list[float]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    shards = open_shards(root / "shards")
    all_losses = {**losses, "0": [0.0], "0.0": [0.0], "2": [0.0, 0.0], "2.0": [0.0], "2.1": [0.0]}
    oracle = oracle_that_gives(tmp_path, {"losses": all_losses, "versions": VERSIONS})
    words = ["certify", str(root / "shards"), "--model", str(root / "model"), "--oracle", str(oracle)]
    assert main([*words, "--packs", "4"]) == 1  # those of packs 0 and 2 are made up
    certificate = json.loads((root / "shards" / "certificate.json").read_text(encoding="utf-8"))
    model = certificate["model"]
    assert certificate["fingerprint"] == shards.manifest.fingerprint
    assert [row["unexplained"] for row in model["rows"]] == [0, 0, 3]
    out = capsys.readouterr().out
    assert "UNEXPLAINED pack 0, tiny:0.0 MindSpore packed against PyTorch alone, loss: " in out
    assert "certificate.html" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["certify"], "OUTPUT_DIR"),
        (["certify", "SHARDS"], "--model is missing"),
        (["certify", "SHARDS", "--model", "MODEL", "--packs", "0"], "packs is 0"),
        (["certify", "SHARDS", "--model", "MODEL", "--oracle", "gone"], "gone is missing"),
        (["certify", "MODEL", "--model", "MODEL"], "manifest.json"),
    ],
)
def test_what_is_asked_wrongly_is_said_in_one_line(
    root: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"SHARDS": str(root / "shards"), "MODEL": str(root / "model")}
    assert main([places.get(word, word) for word in words]) == 2
    assert message in capsys.readouterr().err


# --- what stands in for a large model --------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_a_large_model_is_stood_in_for_by_a_tiny_one_with_the_same_constants(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_model_folder(tmp_path / "model", ["a short text"], family=family, size=SIZES[family])
    constants = read_model_constants(tmp_path / "model")
    (tmp_path / "work").mkdir()
    monkeypatch.setattr(task_module, "MOST_VALUES", 1000)
    made = write_task(tmp_path / "work", tmp_path / "model", {}, constants)
    assert made.is_tiny
    assert read_model_constants(made.model) == constants
    family_of(family).read_config(made.model)
    assert json.loads((made.folder / "task.json").read_text(encoding="utf-8"))["draws_weights"]


def test_what_shards_depend_on_is_left_alone() -> None:
    config = FAMILIES["qwen2_5_vl"].model_config(ModelSize(hidden_size=4096), dict.fromkeys(_tokens(), 7))
    tiny = shrunk(config)
    assert config["hidden_size"] == 4096  # it is a copy
    kept = ("patch_size", "window_size", "tokens_per_second", "spatial_merge_size", "temporal_patch_size")
    for name in kept:
        assert tiny["vision_config"][name] == config["vision_config"][name]
    assert tiny["vocab_size"] == config["vocab_size"]
    assert tiny["vision_config"]["fullatt_block_indexes"] == [1]


def _tokens() -> list[str]:
    from demo_model import PLAIN_ADDED_TOKENS, SPECIAL_TOKENS

    return [*SPECIAL_TOKENS, *PLAIN_ADDED_TOKENS]
