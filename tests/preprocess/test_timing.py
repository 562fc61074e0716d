"""What took longest, kept for the report and out of the dataset."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

from preprocess.sample import MediaSource, Sample, Turn
from preprocess.timing import Timing, fold_slowest, read_slowest, write_slowest
from shards.writer import sidecar_path
from tests.preprocess.workshop import Workshop, talk


def timing(index: int, seconds: float) -> Timing:
    sample = Sample(
        dataset="a",
        index=index,
        member=None,
        turns=(Turn(role="user", text="?"), Turn(role="assistant", text="!")),
        images=(MediaSource(path=f"/{index}.jpg"),),
        videos=(),
    )
    return Timing.of(sample, seconds)


def test_the_slowest_of_all_shards_come_first(tmp_path: Path) -> None:
    write_slowest(tmp_path, 0, [timing(index, seconds=index / 10) for index in range(10)])
    write_slowest(tmp_path, 1, [timing(20, seconds=0.75)])
    fold_slowest(tmp_path)
    slowest = read_slowest(tmp_path, 3)
    assert [(each.sample, each.seconds) for each in slowest] == [("a:9", 0.9), ("a:8", 0.8), ("a:20", 0.75)]
    assert slowest[0].media == ("/9.jpg",)


def test_a_shard_keeps_a_few_only(tmp_path: Path) -> None:
    write_slowest(tmp_path, 0, [timing(index, seconds=index / 10) for index in range(100)])
    fold_slowest(tmp_path)
    assert len(read_slowest(tmp_path, 100)) == 5


def test_a_run_without_timings_has_none(tmp_path: Path) -> None:
    assert read_slowest(tmp_path, 3) == []
    fold_slowest(tmp_path)
    assert read_slowest(tmp_path, 3) == []


def test_a_resumed_run_keeps_the_timings_of_finished_shards_and_measures_the_others(workshop: Workshop) -> None:
    workshop.dataset([talk("so " * n) for n in range(6)])
    flags = ("--packing=none", "--shard_bytes=1")
    plan = workshop.run(*flags).folder / "plan"
    assert {each.sample for each in read_slowest(plan, 100)} == {f"d:{index}" for index in range(6)}
    write_slowest(plan, 0, [timing(100, seconds=999.0)])
    write_slowest(plan, 1, [timing(101, seconds=888.0)])
    sidecar_path(plan.parent, 1).unlink()
    assert workshop.run(*flags).code == 0
    slowest = read_slowest(plan, 100)
    assert len(slowest) == 6
    assert slowest[0].sample == "a:100"
    assert all(each.seconds < 888.0 for each in slowest[1:])


def test_jobs_that_do_the_same_shards_at_once_leave_whole_timings(tmp_path: Path) -> None:
    by_job = [[timing(index, seconds=job + index / 10) for index in range(1, 6)] for job in range(4)]
    start = Barrier(len(by_job))

    def do_job(job: int) -> list[list[Timing]]:
        start.wait(timeout=60)
        seen = []
        for _ in range(10):
            for task in (0, 1):
                write_slowest(tmp_path, task, by_job[job])
            fold_slowest(tmp_path)
            seen.append(read_slowest(tmp_path, 5))
        return seen

    with ThreadPoolExecutor(len(by_job)) as jobs:
        seen = [slowest for of_job in jobs.map(do_job, range(len(by_job))) for slowest in of_job]
    written = {each for of_job in by_job for each in of_job}
    assert len(seen) == 40
    assert all(len(slowest) == 5 and set(slowest) <= written for slowest in seen)
    assert len(list((tmp_path / "timing").glob("*"))) == 3
