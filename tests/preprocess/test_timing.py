"""What took longest, kept for the report and out of the dataset."""

from __future__ import annotations

import json
from pathlib import Path

from preprocess.sample import MediaSource, Sample, Turn
from preprocess.timing import Timing, read_slowest, slowest_of_all, slowest_of_shard, write_slowest
from shards.formats.writer import sidecar_path
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
    shards = [slowest_of_shard(timing(index, seconds=index / 10) for index in range(10))]
    shards.append(slowest_of_shard([timing(20, seconds=0.75)]))
    write_slowest(tmp_path, slowest_of_all(Timing.from_json(record) for shard in shards for record in shard))
    slowest = read_slowest(tmp_path, 3)
    assert [(each.sample, each.seconds) for each in slowest] == [("a:9", 0.9), ("a:8", 0.8), ("a:20", 0.75)]
    assert slowest[0].media == ("/9.jpg",)


def test_few_are_kept() -> None:
    timings = [timing(index, seconds=index / 10) for index in range(1000)]
    assert len(slowest_of_shard(timings)) == 5
    assert len(slowest_of_all(timings)) == 100


def test_a_run_without_timings_has_none(tmp_path: Path) -> None:
    assert read_slowest(tmp_path, 3) == []
    write_slowest(tmp_path, [])
    assert read_slowest(tmp_path, 3) == []


def test_a_resumed_run_keeps_the_timings_of_finished_shards_and_measures_the_others(workshop: Workshop) -> None:
    workshop.dataset([talk("so " * n) for n in range(6)])
    flags = ("--packing=none", "--shard_bytes=1")
    plan = workshop.run(*flags).folder / "plan"
    assert {each.sample for each in read_slowest(plan, 100)} == {f"d:{index}" for index in range(6)}
    for index, seconds in ((0, 999.0), (1, 888.0)):
        path = sidecar_path(plan.parent, index)
        slowest = slowest_of_shard([timing(100 + index, seconds)])
        path.write_text(json.dumps({**json.loads(path.read_text()), "slowest": slowest}))
    (plan.parent / "shard-000001.arrow").unlink()
    assert workshop.run(*flags).code == 0
    slowest_now = read_slowest(plan, 100)
    assert len(slowest_now) == 6
    assert slowest_now[0].sample == "a:100"
    assert all(each.seconds < 888.0 for each in slowest_now[1:])
