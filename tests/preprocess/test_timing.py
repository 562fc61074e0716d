"""What took longest, kept for the report and out of the dataset."""

from __future__ import annotations

from pathlib import Path

from preprocess.sample import MediaSource, Sample, Turn
from preprocess.timing import Timing, read_slowest, write_slowest


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
    slowest = read_slowest(tmp_path, 3)
    assert [(each.sample, each.seconds) for each in slowest] == [("a:9", 0.9), ("a:8", 0.8), ("a:20", 0.75)]
    assert slowest[0].media == ("/9.jpg",)


def test_a_shard_keeps_a_few_only(tmp_path: Path) -> None:
    write_slowest(tmp_path, 0, [timing(index, seconds=index / 10) for index in range(100)])
    assert len(read_slowest(tmp_path, 100)) == 5


def test_a_run_without_timings_has_none(tmp_path: Path) -> None:
    assert read_slowest(tmp_path, 3) == []
