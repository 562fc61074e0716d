"""Workers that die or hang: what is retried, what is rejected, and that nothing else is lost."""

from __future__ import annotations

import json
import multiprocessing
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
from preprocess.errors import FatalError, WorkerBug
from preprocess.jobs import executor as executor_module
from preprocess.jobs.executor import ThisProcess, WorkerPool
from preprocess.jobs.share import Share
from preprocess.ledger import read_ledger
from preprocess.output_dir import hold_of, prepare
from preprocess.plan.measure import MeasureStage
from preprocess.run import choose_executor, materialise, plan_into_output
from preprocess.sample import EncodedSample, MeasuredSample, Sample
from preprocess.write.materialise import ShardStage
from preprocess.write.publish import publish
from shards import Manifest, open_shards
from tests.preprocess.faulty_stage import FaultyStage, within

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
            owner = preprocess.run if name == "ShardStage" else preprocess.plan.parts
            self.monkeypatch.setattr(
                owner, name, lambda stage=stage, **given: stage(load_encoder=encoder.load, **given)
            )
        config = replace(self._config(command), **settings)
        with choose_executor(config) as executor:
            sources = prepare(config, Share())
            plan = plan_into_output(config, sources, executor, Share())
            assert plan.num_shards > 1, "one shard would not show what happens to the others"
            assert materialise(config, plan, executor, Share(), hold_of(config, sources)) == 0
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
    [reject] = read_ledger(bench.folder / "out" / "rejects.jsonl")
    assert reject.detail.startswith(f"{bench.folder / 'grey.png'}: ")
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
class Powers:
    """A stage without decoders: a job is a list of numbers."""

    exponent: int
    loads: Path  # a line for each time that a process loads the stage

    def load(self) -> Powers:
        with open(self.loads, "a") as file:
            file.write(f"{self.exponent}\n")
        return self

    def do_item(self, item: int) -> int:
        return item**self.exponent

    def do_job(self, job: list[int], do_item: Any, before_item: Any) -> tuple[int, list[int]]:
        results = []
        for item in job:
            before_item()
            results.append(do_item(item))
        return os.getpid(), results


@pytest.fixture
def squares(tmp_path: Path) -> Powers:
    return Powers(2, tmp_path / "loads")


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_every_job_is_done_once_and_every_item_announced(workers: int, squares: Powers) -> None:
    jobs = [[number, number + 1] for number in range(9)]
    items: list[None] = []
    with WorkerPool(workers, item_timeout=60) if workers else ThisProcess() as executor:
        done = list(executor.run(squares, iter(jobs), lambda: items.append(None)))
    assert sorted((job, result) for job, (_, result) in done) == [(job, [n * n for n in job]) for job in jobs]
    assert len(items) == 18
    processes = {pid for _, (pid, _) in done}
    assert (os.getpid() in processes) == (workers == 0)
    assert len(processes) <= max(workers, 1)


def test_the_same_processes_do_one_stage_after_another_and_load_each_once(squares: Powers) -> None:
    cubes = replace(squares, exponent=3)
    with WorkerPool(1, item_timeout=60) as pool:
        done = [list(pool.run(stage, [[2], [3]], lambda: None)) for stage in (squares, cubes)]
    assert [[result for _, (_, result) in of_stage] for of_stage in done] == [[[4], [9]], [[8], [27]]]
    assert len({pid for of_stage in done for _, (pid, _) in of_stage}) == 1
    assert squares.loads.read_text().split() == ["2", "3"]


def test_jobs_are_taken_as_workers_get_free(squares: Powers) -> None:
    taken: list[int] = []

    def jobs() -> Any:
        for number in range(50):
            taken.append(number)
            yield [number]

    with WorkerPool(1, item_timeout=60) as pool:
        for _ in pool.run(squares, jobs(), lambda: None):
            assert len(taken) <= 2
            break


def test_what_a_run_that_was_cut_short_had_begun_is_not_taken_for_the_next(squares: Powers) -> None:
    with WorkerPool(2, item_timeout=60) as pool:
        cut_short = pool.run(squares, [[number] for number in range(50)], lambda: None)
        next(iter(cut_short))
        cut_short.close()
        assert [result for _, (_, result) in pool.run(squares, [[7]], lambda: None)] == [[49]]


def test_leaving_a_pool_ends_its_processes(squares: Powers) -> None:
    with WorkerPool(2, item_timeout=60) as pool:
        processes = {pid for _, (pid, _) in pool.run(squares, [[number] for number in range(20)], lambda: None)}
        for pid in processes:
            os.kill(pid, 0)
    for pid in processes:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


# --- workers that die, hang or come late -----------------------------------------------------------------------------


def test_a_worker_killed_while_it_sends_is_a_dead_worker(tmp_path: Path) -> None:
    stage = FaultyStage(tmp_path)
    with within(60), WorkerPool(1, item_timeout=60) as pool:
        done = [result for _, result in pool.run(stage, [["a", "crash while sending", "b"], ["c"]], lambda: None)]
    assert (tmp_path / "crashed").exists()
    assert done == [["a", "crash while sending", "b"], ["c"]]
    assert stage.loads == ["worker", "worker"]


def test_a_worker_that_dies_while_loading_is_replaced_and_no_job_suffers(tmp_path: Path) -> None:
    stage = FaultyStage(tmp_path, on_load="crash the first two workers")
    with within(60), WorkerPool(1, item_timeout=60) as pool:
        assert [result for _, result in pool.run(stage, [["a"]], lambda: None)] == [["a"]]
    assert stage.loads == 3 * ["worker"]


@pytest.mark.parametrize(("on_load", "exit_code"), [("crash", -6), ("exit", 3)])
def test_workers_that_all_die_while_loading_stop_the_run(tmp_path: Path, on_load: str, exit_code: int) -> None:
    stage = FaultyStage(tmp_path, on_load)
    message = rf"3 workers died or hung while loading, the last with exit code {exit_code}; is memory short\?"
    with within(60), WorkerPool(2, item_timeout=60) as pool, pytest.raises(FatalError, match=message):
        list(pool.run(stage, [["a"], ["b"], ["c"]], lambda: None))


def test_a_disk_that_fails_while_loading_stops_the_run(tmp_path: Path) -> None:
    stage = FaultyStage(tmp_path, on_load="stale handle")
    with within(60), WorkerPool(1, item_timeout=60) as pool, pytest.raises(FatalError, match="Stale file handle"):
        list(pool.run(stage, [["a"]], lambda: None))


def test_all_workers_start_before_the_first_of_them_takes_a_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two starting interpreters wait for each other; no pipe can hold the jobs."""
    os.mkfifo(tmp_path / "meeting")
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if any('spawn_main' in word for word in sys.orig_argv):\n"
        "    folder = os.path.dirname(__file__)\n"
        "    try:\n"
        "        os.close(os.open(folder + '/first', os.O_CREAT | os.O_EXCL))\n"
        "        open(folder + '/meeting').close()\n"
        "    except FileExistsError:\n"
        "        open(folder + '/meeting', 'w').close()\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    jobs = [["a" * (4 << 20)], ["b" * (4 << 20)]]
    with within(60), WorkerPool(2, item_timeout=60) as pool:
        done = [result for _, result in pool.run(FaultyStage(tmp_path), jobs, lambda: None)]
    assert sorted(done) == jobs
    assert (tmp_path / "first").exists()


def test_there_are_no_more_processes_than_jobs(squares: Powers) -> None:
    cubes = replace(squares, exponent=3)
    with WorkerPool(64, item_timeout=60) as pool:
        assert list(pool.run(squares, [], lambda: None)) == []
        assert multiprocessing.active_children() == []
        assert len(list(pool.run(squares, [[2], [3]], lambda: None))) == 2
        assert 1 <= len(multiprocessing.active_children()) <= 2
        assert len(list(pool.run(cubes, [[2]], lambda: None))) == 1
    assert squares.loads.read_text().split().count("3") <= 1


def test_a_worker_that_spoke_is_not_hung_where_nobody_listened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is told of items and results may be busy for longer than an item may take."""
    for name in ("wait", "wait too"):
        os.mkfifo(tmp_path / name)
    num_items = hours = 0
    real_clock = time.monotonic
    monkeypatch.setattr(executor_module.time, "monotonic", lambda: real_clock() + 3600 * hours)

    def be_busy() -> None:
        nonlocal num_items, hours
        num_items += 1
        if num_items == 1:
            open(tmp_path / "wait", "w").close()
            open(tmp_path / "wait too", "w").close()  # it has announced this item, and is in it
            hours += 1

    stage = FaultyStage(tmp_path)
    with within(60), WorkerPool(1, item_timeout=60) as pool:
        assert [result for _, result in pool.run(stage, [["wait", "wait too"]], be_busy)] == [["wait", "wait too"]]
    assert num_items == 2
    assert stage.loads == ["worker"]
