"""What holds of ranks over many steps, stages and numbers of them. On two quiet cores, a quarter of an hour.

    python -m pytest -m slow tests/train/test_ranks_long.py                       four ranks: a case of each kind
    RANKS_MATRIX=whole python -m pytest -m slow tests/train/test_ranks_long.py    four ranks: every case at every stage

Each of four ranks has a quarter of the packs of a step (4 x 1), each of two a half (2 x 2); one process takes them in
one micro-batch (1 x 4) or adds up two (1 x 2 x 2).
"""

from __future__ import annotations

import json
import os
import random
import re
from pathlib import Path

import pytest

from tests.train.ranks_case import folder_of, write_untied_model
from tests.train.ranks_runs import assert_equal_files, assert_equal_runs, start_ranks
from tests.train.tiny_run import write_tiny_inputs

pytestmark = pytest.mark.slow

STEPS = int(os.environ.get("RANKS_STEPS", "20"))  # fewer, to try the tests themselves
KINDS = ("full", "lora", "frozen", "checkpointing", "untied")
WHOLE = [f"{kind}:{stage}" for kind in KINDS for stage in range(4)]
COVERING = [*(f"full:{stage}" for stage in range(4)), "lora:2", "lora:3", "frozen:1", "checkpointing:3", "untied:3"]
# Share of a rank's bytes at stage 0, for 2 and 4 ranks: (8 + 8/N) / 16, (4 + 12/N) / 16, 1/N, and biases and norms.
MOST_BYTES = {2: {1: 0.76, 2: 0.64, 3: 0.53}, 4: {1: 0.64, 2: 0.46, 3: 0.28}}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    write_tiny_inputs(folder, num_packs=8)
    write_untied_model(folder)
    return folder


@pytest.fixture(scope="module")
def alone(root: Path) -> Path:
    start_ranks(root, 1, [f"{kind}:0" for kind in KINDS], steps=STEPS)
    return root


@pytest.mark.parametrize("num_ranks", [2, 4])
def test_every_stage_equals_one_process_and_holds_its_share(alone: Path, num_ranks: int) -> None:
    cases = WHOLE if num_ranks == 2 or os.environ.get("RANKS_MATRIX") == "whole" else COVERING
    start_ranks(alone, num_ranks, cases, steps=STEPS)
    log = (alone / "logs" / "rank_0.log").read_text().partition(f" of {num_ranks} on ")[2]
    held = dict(zip(cases, bytes_held(log), strict=True))
    for case in cases:
        kind, _, stage = case.partition(":")
        assert_equal_runs(folder_of(alone, f"{kind}:0", 1), folder_of(alone, case, num_ranks), steps=STEPS)
        if kind == "full" and stage != "0":
            assert held[case] / held["full:0"] <= MOST_BYTES[num_ranks][int(stage)], case


def test_micro_batches_of_one_process_may_be_accumulated(alone: Path, tmp_path: Path) -> None:
    """1 x 4 is 1 x 2 x 2, bit for bit."""
    from tests.train.ranks_case import train_case

    assert train_case(alone, "full:0", 1, steps=STEPS, output_dir=tmp_path / "out") == 0
    assert_equal_runs(folder_of(alone, "full:0", 1), tmp_path / "out", steps=STEPS)
    weights = [folder / "model.safetensors" for folder in (folder_of(alone, "full:0", 1), tmp_path / "out")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_a_run_that_is_killed_goes_on_with_any_number_of_ranks(root: Path) -> None:
    """Two ranks, then one, then three, then two; killed in steps that dice say, at other stages each time."""
    start_ranks(root, 2, ["whole:3"], steps=STEPS)
    dice = random.Random(0)
    thirds = [(STEPS * part // 4 + 1, STEPS * (part + 1) // 4) for part in (1, 2, 3)]
    kills = [dice.randint(first, max(first, last)) for first, last in thirds]
    for num_ranks, stage, step in zip((2, 1, 3), (3, 0, 2), kills, strict=True):
        start_ranks(root, num_ranks, [f"killed:{stage}:{step}"], steps=STEPS, is_killed=True)
        made = [json.loads(line)["step"] for line in (root / "killed" / "metrics.jsonl").read_text().splitlines()]
        assert made[-1] in (step - 2, step - 1)  # the last record may not have been written when all were ended
    start_ranks(root, 2, ["killed:3"], steps=STEPS)
    assert_equal_runs(root / "whole", root / "killed", steps=STEPS)


def test_the_files_of_a_checkpoint_do_not_depend_on_who_writes(root: Path) -> None:
    start_ranks(root, 2, ["stopped:3"], steps=4)
    (checkpoint,) = folder_of(root, "stopped:3", 2).glob("checkpoint-*")
    for num_ranks in (1, 2, 3):
        cases = [f"again:{stage}{writer}" for stage in range(4) for writer in ("", ":gather")]
        cases = cases if num_ranks > 1 else ["again:0"]
        start_ranks(root, num_ranks, cases, steps=4)
        for case in cases:
            assert_equal_files(checkpoint, folder_of(root, case, num_ranks) / checkpoint.name)


@pytest.mark.parametrize("case", ["full:0", "lora:2", "checkpointing:3"])
def test_a_run_repeated_with_as_many_ranks_has_the_same_bits(case: str, root: Path, tmp_path: Path) -> None:
    for folder in ("once", "again"):
        (tmp_path / folder).mkdir()
        for name in ("model", "shards"):
            (tmp_path / folder / name).symlink_to(root / name)
        start_ranks(tmp_path / folder, 2, [case], steps=STEPS)
    once, again = (folder_of(tmp_path / folder, case, 2) for folder in ("once", "again"))
    assert exact_records(once) == exact_records(again)
    names = [path.name for path in once.glob("*.safetensors")]
    assert names
    assert all((once / name).read_bytes() == (again / name).read_bytes() for name in names)


def bytes_held(log: str) -> list[int]:
    """What each case says of the memory of its first rank."""
    return [int(number.replace(",", "")) for number in re.findall(r"^model state: ([\d,]+) bytes", log, re.M)]


def exact_records(folder: Path) -> list[tuple[int, float, float]]:
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [(each["step"], each["loss"], each["grad_norm"]) for each in records]
