"""Annotation files cut into parts: which records, and how little of a file is read for some of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from preprocess.errors import FatalError
from preprocess.jobs.share import Share
from preprocess.plan.measure import MeasureJob
from preprocess.plan.parts import RECORDS_PER_PART, cut_into_jobs
from preprocess.read.annotations import make_index, open_annotations
from preprocess.read.dataset_use import DatasetUse
from preprocess.read.registry import Dataset

NUM_JOBS = 64
TEXTS = [{"id": f"{number:0300}"} for number in range(NUM_JOBS * RECORDS_PER_PART)]


def write_array(path: Path) -> None:
    path.with_suffix(".json").write_text(json.dumps(TEXTS))


def write_lines(path: Path) -> None:
    path.with_suffix(".jsonl").write_text("\n".join(map(json.dumps, TEXTS)))


def write_parquet(path: Path) -> None:
    rows = [{"messages": [{"role": "user", "content": 4 * text["id"]}]} for text in TEXTS]  # beside the footer
    pq.write_table(
        pa.Table.from_pylist(rows),
        path.with_suffix(".parquet"),
        row_group_size=256,
        compression="none",
        use_dictionary=False,
        write_statistics=False,
    )


def use_of(path: Path, percent: int = 100) -> DatasetUse:
    return DatasetUse(dataset=Dataset(name="d", annotation_path=path, data_path=None), percent=percent)


def bytes_read() -> int:
    """By this process, until now."""
    return int(Path("/proc/self/io").read_text().split()[1])


def numbers(jobs: list[MeasureJob]) -> list[tuple[int, list[int], list[object]]]:
    return [
        (job.part, [index for index, _, _ in job.records], [record for _, record, _ in job.records]) for job in jobs
    ]


@pytest.mark.parametrize("write", [write_array, write_lines, write_parquet])
def test_one_job_of_64_reads_3_percent_of_an_indexed_file(tmp_path: Path, write: Callable[[Path], None]) -> None:
    write(tmp_path / "a")
    [path] = tmp_path.iterdir()
    index, share = make_index(path), Share(index=5, of=NUM_JOBS)
    before = bytes_read()
    jobs = list(cut_into_jobs(use_of(path), open_annotations(path, index), 0, 0, lambda part, _: part in share))
    num_bytes = bytes_read() - before
    assert [job.part for job in jobs] == [5]
    assert [index for index, _, _ in jobs[0].records] == list(range(5 * RECORDS_PER_PART, 6 * RECORDS_PER_PART))
    assert 0.015 < num_bytes / path.stat().st_size < 0.03


@pytest.mark.parametrize("percent", [30, 100, 250])
def test_wanted_parts_are_those_of_all_with_an_index_or_without(tmp_path: Path, percent: int) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(map(str, range(5 * RECORDS_PER_PART + 7))))
    use, plain, indexed = use_of(path, percent), open_annotations(path), open_annotations(path, make_index(path))
    everything = list(cut_into_jobs(use, plain, 0, 10))
    assert sum(len(job.records) for job in everything) == use.num_chosen(len(plain))
    assert all(float(index) == record for job in everything for index, record, _ in job.records)
    for wanted in ({10, 11}, {11}, {10, 12}, {everything[-1].part}, set[int]()):
        expected = [job for job in everything if job.part in wanted]
        for file in (plain, indexed):
            jobs = cut_into_jobs(use, file, 0, 10, partial(is_among, wanted))
            assert numbers(list(jobs)) == numbers(expected)


def is_among(parts: set[int], part: int, _: int) -> bool:
    return part in parts


@pytest.mark.parametrize("num_lines", [5, 15])
def test_a_file_that_grows_or_shrinks_while_it_is_read_stops_the_run(tmp_path: Path, num_lines: int) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("1\n" * 10)
    file = open_annotations(path)
    path.write_text("1\n" * num_lines)
    with pytest.raises(FatalError, match="changed while it was read"):
        list(cut_into_jobs(use_of(path), file, 0, 0))
