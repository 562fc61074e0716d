"""Workers that die or hang: what is retried, what is rejected, and that nothing else is lost."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from demo_build import Demo
from PIL import Image

import preprocess.run
from preprocess.config import RunConfig
from preprocess.encode import SampleEncoder
from preprocess.errors import FatalError
from preprocess.executor import LocalExecutor, WorkerBug
from preprocess.ledger import read_ledger
from preprocess.materialise import ShardStage
from preprocess.measure import MeasureStage
from preprocess.publish import publish
from preprocess.run import Share, materialise, plan_into_output, prepare
from preprocess.sample import EncodedSample, MeasuredSample, Sample
from shards import Manifest, open_shards

NUM_SAMPLES = 6
FAULTY = 3  # index of the record that misbehaves


def obey(command: str) -> None:
    """Do to this process what the answer of a sample says, as a broken decoder would."""
    verb, _, argument = command.partition(" ")
    if verb == "abort":
        os.abort()
    if verb == "abort_once" and not os.path.exists(argument):
        Path(argument).touch()
        os.abort()
    if verb == "hang":
        time.sleep(3600)
    if verb == "bug":
        raise ZeroDivisionError("a bug of ours")
    if verb == "disk":
        raise OSError("the disk failed")


class EncodeObeys(SampleEncoder):
    def encode(self, measured: MeasuredSample) -> EncodedSample:
        obey(measured.sample.turns[-1].text)
        return super().encode(measured)


class MeasureObeys(SampleEncoder):
    def measure(self, sample: Sample) -> MeasuredSample:
        obey(sample.turns[-1].text)
        return super().measure(sample)


@dataclass(frozen=True)
class Bench:
    """A run of NUM_SAMPLES one-image samples in several shards, of which one carries a command."""

    folder: Path
    demo: Demo
    monkeypatch: pytest.MonkeyPatch

    def run(self, command: str, encoder: type[SampleEncoder], **settings: Any) -> Manifest:
        for name, stage in (("ShardStage", ShardStage), ("MeasureStage", MeasureStage)):
            owner = preprocess.run if name == "ShardStage" else preprocess.plan
            self.monkeypatch.setattr(
                owner, name, lambda stage=stage, **given: stage(load_encoder=encoder.load, **given)
            )
        config = replace(self._config(command), **settings)
        sources = prepare(config)
        plan = plan_into_output(config, sources, Share())
        assert plan.num_shards > 1, "one shard would not show what happens to the others"
        assert materialise(config, plan, sources.constants, Share()) == 0
        published = publish(config, plan, sources.constants)
        assert published is not None
        return published.manifest

    def _config(self, command: str) -> RunConfig:
        Image.fromarray(np.full((56, 56, 3), 200, np.uint8)).save(self.folder / "grey.png")
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
        (self.folder / "grey.json").write_text(json.dumps(records))
        (self.folder / "datasets.yaml").write_text("grey: {annotation_path: grey.json, data_path: .}\n")
        return RunConfig(
            model=self.demo.model,
            datasets=self.folder / "datasets.yaml",
            dataset_use="grey",
            output_dir=self.folder / "out",
            packing="none",
            shard_bytes=3000 * 3,
            workers=2,
            sample_timeout=60,
        )

    @property
    def written(self) -> list[int]:
        return sorted(int(pack.sample_keys[0].split(":")[1]) for pack in open_shards(self.folder / "out"))


@pytest.fixture
def bench(tmp_path: Path, demo: Demo, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, demo, monkeypatch)


ALL_BUT_FAULTY = [index for index in range(NUM_SAMPLES) if index != FAULTY]


@pytest.mark.parametrize("encoder", [EncodeObeys, MeasureObeys])
def test_a_decoder_that_always_crashes_costs_its_own_sample_only(bench: Bench, encoder: type[SampleEncoder]) -> None:
    manifest = bench.run("abort", encoder)
    assert manifest.datasets["grey"].rejects == {"crash": 1}
    [reject] = read_ledger(bench.folder / "out" / "rejects.jsonl")
    assert reject.index == FAULTY
    assert "grey.png" in reject.detail
    assert bench.written == ALL_BUT_FAULTY


def test_a_decoder_that_hangs_is_killed_and_costs_its_own_sample_only(bench: Bench) -> None:
    manifest = bench.run("hang", EncodeObeys, sample_timeout=2.0)
    assert manifest.datasets["grey"].rejects == {"timeout": 1}
    assert bench.written == ALL_BUT_FAULTY


@pytest.mark.parametrize("encoder", [EncodeObeys, MeasureObeys])
def test_a_worker_that_dies_once_changes_nothing(bench: Bench, encoder: type[SampleEncoder]) -> None:
    marker = bench.folder / "died"
    manifest = bench.run(f"abort_once {marker}", encoder)
    assert marker.exists(), "the worker did not die"
    assert manifest.num_rejects == 0
    assert bench.written == list(range(NUM_SAMPLES))


def test_a_bug_in_a_worker_stops_the_run_with_its_traceback(bench: Bench) -> None:
    with pytest.raises(WorkerBug, match="ZeroDivisionError: a bug of ours"):
        bench.run("bug", EncodeObeys)
    assert not (bench.folder / "out" / "manifest.json").exists()


def test_a_failing_disk_stops_the_run(bench: Bench) -> None:
    with pytest.raises(FatalError, match="the disk failed"):
        bench.run("disk", EncodeObeys)
    assert not (bench.folder / "out" / "manifest.json").exists()


# --- the executor alone ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Squares:
    """A stage without decoders: a job is a list of numbers; -1 kills the worker, unless it is done alone."""

    def load(self) -> Squares:
        return self

    def do_item(self, item: int) -> int:
        return item * item

    def do_job(self, job: list[int], do_item: Any, before_item: Any) -> tuple[int, list[int]]:
        results = []
        for item in job:
            before_item()
            results.append(do_item(item))
        return os.getpid(), results


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_every_job_is_done_once_and_every_item_announced(workers: int) -> None:
    jobs = [[number, number + 1] for number in range(9)]
    items: list[None] = []
    executor = LocalExecutor(workers=workers, item_timeout=60)
    done = list(executor.run(Squares(), iter(jobs), lambda: items.append(None)))
    assert sorted((job, result) for job, (_, result) in done) == [(job, [n * n for n in job]) for job in jobs]
    assert len(items) == 18
    processes = {pid for _, (pid, _) in done}
    assert (os.getpid() in processes) == (workers == 0)
    assert len(processes) <= max(workers, 1)


def test_jobs_are_taken_as_workers_get_free() -> None:
    taken: list[int] = []

    def jobs() -> Any:
        for number in range(50):
            taken.append(number)
            yield [number]

    for _ in LocalExecutor(workers=1, item_timeout=60).run(Squares(), jobs(), lambda: None):
        assert len(taken) <= 2
        break
