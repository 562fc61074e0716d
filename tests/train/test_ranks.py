"""Ranks that share packs, and what zero_stage says, train what one process trains. More of it: `test_ranks_long.py`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.train.golden_families import PACK_LENGTH, GoldenFamily
from tests.train.ranks_case import FAMILIES, folder_of, train_case, write_again
from tests.train.ranks_runs import TOLERANCE, assert_equal_files, assert_equal_runs, start_ranks
from tests.train.tiny_run import write_tiny_inputs, write_tiny_shards

STEPS = 4


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    write_tiny_inputs(folder, num_packs=8)
    return folder


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("families")
    for name in FAMILIES:
        family = GoldenFamily(name)
        family.write(folder / name / "model")
        packs = [
            family.pack(*samples, keys=[f"{i}.{k}" for k in range(len(samples))])
            for i, samples in enumerate(family.training_packs()[:8])
        ]
        write_tiny_shards(folder / name / "shards", packs, family.constants, pack_length=PACK_LENGTH)
    return folder


def test_two_ranks_equal_one_and_stop_together(root: Path) -> None:
    """Where most differs: adapters with dropout, and parts of all that is trained, which one process goes on with."""
    start_ranks(root, 2, ["drifting:1", "lora:2", "stopped:3", "again:3", "again:3:gather"], steps=STEPS)
    logs = [(root / "logs" / f"rank_{rank}.log").read_text() for rank in range(2)]
    assert all("after step 2, ranks hold different values of model.norm.weight: rank 0 " in log for log in logs)
    stopped = folder_of(root, "stopped:3", 2)
    (checkpoint,) = stopped.glob("checkpoint-*")
    assert checkpoint.name == "checkpoint-2", "both ranks, of which one had a signal, finished the step and saved"
    for again in ("again:3", "again:3:gather"):
        assert_equal_files(checkpoint, folder_of(root, again, 2) / checkpoint.name)
    write_again(root, "again:0", 1)
    assert_equal_files(checkpoint, folder_of(root, "again:0", 1) / checkpoint.name)

    assert train_case(root, "stopped:3", 1, steps=STEPS, output_dir=stopped) == 0
    for case in ("full:0", "lora:2"):
        assert train_case(root, case, 1, steps=STEPS) == 0
    assert_equal_runs(folder_of(root, "lora:2", 1), folder_of(root, "lora:2", 2), steps=STEPS)
    assert_equal_runs(folder_of(root, "full:0", 1), stopped, steps=STEPS)
    assert_ranks_are_told(folder_of(root, "lora:2", 2), stopped)
    changed = load_file(folder_of(root, "full:0", 1) / "model.safetensors")
    start = load_file(root / "model" / "model.safetensors")
    name = "model.layers.0.mlp.up_proj.weight"
    assert np.abs(changed[name] - start[name]).max() > 100 * TOLERANCE, "training changes more than the tolerance"


def assert_ranks_are_told(of_two: Path, stopped: Path) -> None:
    """Records of two ranks; and the samples of a run that two ranks began and one ended."""
    records = [json.loads(line) for line in (of_two / "metrics.jsonl").read_text().splitlines()]
    assert {each["num_ranks"] for each in records} == {2}
    assert all(each["cost_mean"] <= each["cost_dealt"] <= each["cost_in_turn"] for each in records)
    assert sum(each["cost_dealt"] for each in records) < sum(each["cost_in_turn"] for each in records), "it was dealt"
    assert all("slowest_rank" not in each for each in records), "at stage 2 ranks wait in every micro-step"
    steps = [json.loads(line) for line in (stopped / "samples.jsonl").read_text().splitlines()]
    assert [each["step"] for each in steps] == list(range(1, STEPS + 1))
    assert [sorted({pack["rank"] for pack in each["packs"]}) for each in steps] == [[0, 1], [0, 1], [0], [0]]
    taken = [pack["pack"] for each in steps for pack in each["packs"]]
    assert sorted(taken) == sorted([*range(8), *range(8)]), "two epochs of eight packs"
    for each in (pack for step in steps for pack in step["packs"]):
        assert {sample.partition(".")[0] for sample in each["samples"]} == {f"tiny:{each['pack']}"}


@pytest.mark.parametrize(
    ("name", "stages"),
    [("qwen3_vl", (3,)), *(pytest.param(name, (0, 3), marks=pytest.mark.slow) for name in FAMILIES)],
)
def test_two_ranks_equal_one_in_every_family(name: str, stages: tuple[int, ...], families: Path) -> None:
    start_ranks(families, 2, [f"{name}:{stage}" for stage in stages], steps=STEPS)
    alone = folder_of(families, f"{name}:0", 1)
    assert alone.exists() or train_case(families, f"{name}:0", 1, steps=STEPS) == 0
    for stage in stages:
        assert_equal_runs(alone, folder_of(families, f"{name}:{stage}", 2), steps=STEPS)
