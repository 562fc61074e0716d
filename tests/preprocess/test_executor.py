"""Workers that die or hang: what is retried, what is rejected, and that nothing else is lost."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from preprocess.config import RunConfig
from preprocess.encode import SampleEncoder
from preprocess.errors import FatalError
from preprocess.executor import WorkerBug
from preprocess.ledger import read_ledger
from preprocess.run import plan_into_output, prepare, run
from preprocess.sample import EncodedSample, MeasuredSample
from shards import Manifest, open_shards

NUM_SAMPLES = 6
FAULTY = 3  # index of the record that misbehaves


class FaultyEncoder(SampleEncoder):
    """Does to its process what the answer of a sample says, as a broken decoder would."""

    def encode(self, measured: MeasuredSample) -> EncodedSample:
        command, _, argument = measured.sample.turns[-1].text.partition(" ")
        if command == "abort":
            os.abort()
        if command == "abort_once" and not os.path.exists(argument):
            Path(argument).touch()
            os.abort()
        if command == "hang":
            time.sleep(3600)
        if command == "bug":
            raise ZeroDivisionError("a bug of ours")
        if command == "disk":
            raise FatalError("the disk failed")
        return super().encode(measured)


@pytest.fixture
def make_config(tmp_path: Path, demo: Any) -> Any:
    """A run of NUM_SAMPLES one-image samples, of which one carries a command; two shards, so that both workers work."""

    def make(command: str) -> RunConfig:
        image = Image.fromarray(np.full((56, 56, 3), 200, np.uint8))
        image.save(tmp_path / "grey.png")
        records = [
            {
                "image": "grey.png",
                "conversations": [
                    {"from": "human", "value": "<image>What is it?"},
                    {"from": "gpt", "value": command if index == FAULTY else f"Grey, number {index}."},
                ],
            }
            for index in range(NUM_SAMPLES)
        ]
        (tmp_path / "grey.json").write_text(json.dumps(records))
        (tmp_path / "datasets.yaml").write_text("grey: {annotation_path: grey.json, data_path: .}\n")
        return RunConfig(
            model=demo.model,
            datasets=tmp_path / "datasets.yaml",
            dataset_use="grey",
            output_dir=tmp_path / "out",
            packing="none",
            shard_bytes=3000 * 3,
            workers=2,
            sample_timeout=60,
        )

    return make


def materialise(config: RunConfig, **changes: Any) -> Manifest:
    config = replace(config, **changes)
    sources = prepare(config)
    plan = plan_into_output(config, sources)
    assert plan.num_shards > 1, "one shard would not show what happens to the others"
    published = run(config, sources, plan, FaultyEncoder.load)
    assert published is not None
    return published.manifest


def written_indices(folder: Path) -> list[int]:
    return sorted(int(pack.sample_keys[0].split(":")[1]) for pack in open_shards(folder))


def test_a_decoder_that_always_crashes_costs_its_own_sample_only(make_config: Any, tmp_path: Path) -> None:
    manifest = materialise(make_config("abort"))
    assert manifest.datasets["grey"].rejects == {"crash": 1}
    [reject] = read_ledger(tmp_path / "out" / "rejects.jsonl")
    assert reject.index == FAULTY
    assert "grey.png" in reject.detail
    assert written_indices(tmp_path / "out") == [index for index in range(NUM_SAMPLES) if index != FAULTY]


def test_a_decoder_that_hangs_is_killed_and_costs_its_own_sample_only(make_config: Any, tmp_path: Path) -> None:
    manifest = materialise(make_config("hang"), sample_timeout=4.0)
    assert manifest.datasets["grey"].rejects == {"timeout": 1}
    assert written_indices(tmp_path / "out") == [index for index in range(NUM_SAMPLES) if index != FAULTY]


def test_a_worker_that_dies_once_changes_nothing(make_config: Any, tmp_path: Path) -> None:
    marker = tmp_path / "died"
    manifest = materialise(make_config(f"abort_once {marker}"))
    assert marker.exists(), "the worker did not die"
    assert manifest.num_rejects == 0
    assert written_indices(tmp_path / "out") == list(range(NUM_SAMPLES))


def test_a_bug_in_a_worker_stops_the_run_with_its_traceback(make_config: Any, tmp_path: Path) -> None:
    with pytest.raises(WorkerBug, match="ZeroDivisionError: a bug of ours"):
        materialise(make_config("bug"))
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_a_failing_disk_stops_the_run(make_config: Any, tmp_path: Path) -> None:
    with pytest.raises(FatalError, match="the disk failed"):
        materialise(make_config("disk"))
    assert not (tmp_path / "out" / "manifest.json").exists()
