"""Ranks that share packs, and what zero_stage says, train what one process trains."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.train import ranks_case
from tests.train.cluster.starting import ROOT, run_launcher
from tests.train.golden_families import PACK_LENGTH, GoldenFamily
from tests.train.ranks_case import CASES, FAMILIES, folder_of, train_case, write_again, write_untied_model
from tests.train.tiny_run import write_tiny_inputs, write_tiny_shards

STEPS, LONG = 4, 20
TOLERANCE = 1e-5
NEARLY_ZERO = 1e-3  # k_proj.bias, whose gradient is zero but for rounding, which Adam magnifies


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    write_tiny_inputs(folder, num_packs=8)
    write_untied_model(folder)
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


def start_ranks(root: Path, num_ranks: int, cases: list[str], *, steps: int) -> None:
    command = [sys.executable, ranks_case.__file__, str(root), str(steps), *cases]
    done = run_launcher(num_ranks, root, command, scheduler=None)
    assert done.returncode == 0, done.stdout + done.stderr


def assert_equal_runs(one: Path, other: Path, *, steps: int) -> None:
    records, others = (
        [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()] for folder in (one, other)
    )
    assert len(records) == len(others) == steps
    for mine, theirs in zip(records, others, strict=True):
        assert mine["num_label_tokens"] == theirs["num_label_tokens"] > 0
        for name in ("loss", "grad_norm"):
            assert theirs[name] == pytest.approx(mine[name], rel=TOLERANCE)
    (path,), (other_path,) = (list(folder.glob("*.safetensors")) for folder in (one, other))
    weights, other_weights = load_file(path), load_file(other_path)
    assert weights.keys() == other_weights.keys()
    for name, values in weights.items():
        limit = NEARLY_ZERO if name.endswith("k_proj.bias") else TOLERANCE
        np.testing.assert_allclose(other_weights[name], values, rtol=0, atol=limit, err_msg=name)


def assert_equal_files(one: Path, other: Path) -> None:
    """But for the state, which names their folders."""
    names = sorted(path.name for path in one.iterdir())
    assert names == sorted(path.name for path in other.iterdir())
    for name in set(names) - {"trainer_state.json"}:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


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


@pytest.mark.slow
@pytest.mark.parametrize("num_ranks", [2, 4])
def test_every_stage_equals_one_process(root: Path, num_ranks: int) -> None:
    names = [name for name in CASES if name not in ("stopped", "drifting")]
    start_ranks(root, num_ranks, [f"{name}:{stage}" for name in names for stage in range(4)], steps=LONG)
    for name in names:
        alone = f"{name}:0"
        if not folder_of(root, alone, 1).exists():
            command = [sys.executable, "-c", _ALONE, str(root), str(LONG), alone]
            subprocess.run(command, cwd=ROOT, check=True)
        for stage in range(4):
            assert_equal_runs(folder_of(root, alone, 1), folder_of(root, f"{name}:{stage}", num_ranks), steps=LONG)


_ALONE = """
import sys
from pathlib import Path
from tests.train.ranks_case import train_case
sys.exit(train_case(Path(sys.argv[1]), sys.argv[3], 1, steps=int(sys.argv[2]), accumulated=2))
"""
