"""Annotation files, cut into parts of a plan; those that are missing are measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from preprocess.config import RunConfig
from preprocess.jobs.executor import Executor
from preprocess.jobs.progress import StageProgress
from preprocess.plan.holding import Hold
from preprocess.plan.inputs import Sources
from preprocess.plan.measure import MeasureJob, MeasureStage, is_measured
from preprocess.plan.tables import SAMPLES_DIR
from preprocess.read.annotations import AnnotationFile
from preprocess.read.dataset_use import DatasetUse
from preprocess.read.index import changed

RECORDS_PER_PART = 512
_RECORDS_AT_ONCE = 1 << 16  # whose copies are looked through
_END = object()
_SAMPLES_WORTH_A_PROCESS = 10  # photos that are decoded while one starts


def cut_into_jobs(
    use: DatasetUse,
    file: AnnotationFile,
    seed: int,
    first_part: int,
    is_wanted: Callable[[int, int], bool] = lambda part, num_records: True,
) -> Iterator[MeasureJob]:
    """The records that `dataset_use` takes, in runs of RECORDS_PER_PART; parts are numbered from `first_part`.

    Jobs are given that `is_wanted` (number of the part, of its records), and records before them are passed over
    where the file lets us.
    """
    copies = use.copies(len(file), seed)
    records, position = file.read_from(0), 0
    for part, indices in enumerate(_indices_of_parts(copies), start=first_part):
        if not is_wanted(part, len(indices)):
            continue
        checkpoint = file.checkpoint(int(indices[0]))
        if checkpoint > position:
            records, position = file.read_from(checkpoint), checkpoint
        batch = []
        for index in indices.tolist():
            record = next(islice(records, index - position, None), _END)
            if record is _END:
                raise changed(file.paths(index, index)[0])
            position = index + 1
            batch.append((index, record, int(copies[index])))
        yield MeasureJob(part=part, dataset=use.dataset, records=tuple(batch))
    if file.checkpoint(len(file)) <= position and position + sum(1 for _ in records) != len(file):
        raise changed(file.paths(len(file), len(file))[0])


def _indices_of_parts(copies: npt.NDArray[np.int32]) -> Iterator[npt.NDArray[np.int64]]:
    """The records that have copies, in runs of RECORDS_PER_PART; a stretch of the file at a time."""
    left = np.empty(0, np.int64)
    for start in range(0, len(copies), _RECORDS_AT_ONCE):
        chosen = np.concatenate([left, start + np.flatnonzero(copies[start : start + _RECORDS_AT_ONCE])])
        num_whole = len(chosen) // RECORDS_PER_PART * RECORDS_PER_PART
        yield from chosen[:num_whole].reshape(-1, RECORDS_PER_PART)
        left = chosen[num_whole:]
    if len(left):
        yield left


def measure_parts(
    config: RunConfig,
    sources: Sources,
    folder: Path,
    executor: Executor,
    progress: StageProgress,
    take: Callable[[int], bool] = lambda part: True,
    done: Callable[[int], None] = lambda part: None,
    hold: Hold | None = None,
    most_text_tokens: int | None = None,
) -> tuple[int, list[int]]:
    """Measure every part that is not measured yet and that `take` agrees to; then it is `done`.

    The number of all parts, and those that `take` left.
    """
    (folder / SAMPLES_DIR).mkdir(exist_ok=True)  # not its parents: where those are gone, another run took the folder
    num_parts, left = 0, []

    def is_wanted(part: int, num_records: int) -> bool:
        nonlocal num_parts
        num_parts = part + 1
        if is_measured(folder, part, sources.plan_fingerprint):
            progress.skip(num_records)
            return False
        if take(part):
            return True
        left.append(part)
        return False

    def missing_parts() -> Iterator[MeasureJob]:
        for use, file in zip(sources.uses, sources.files, strict=True):
            for job in cut_into_jobs(use, file, config.seed, num_parts, is_wanted):
                read = file.paths(job.records[0][0], job.records[-1][0])
                sources.check_unchanged(read)  # after its records were read, before they count as the old file's
                yield job

    stage = MeasureStage(
        config=config,
        folder=folder,
        fingerprint=sources.plan_fingerprint,
        hold=hold,
        most_text_tokens=most_text_tokens,
    )
    num_expected = sources.num_records // _SAMPLES_WORTH_A_PROCESS
    for job, num_rejects in executor.run(stage, missing_parts(), progress.take_up, num_expected):
        done(job.part)
        progress.finish_job(rejects=num_rejects)
    sources.check_unchanged()
    return num_parts, left


def measure(
    config: RunConfig,
    sources: Sources,
    folder: Path,
    executor: Executor,
    hold: Hold | None = None,
    *,
    most_text_tokens: int | None = None,
) -> int:
    """Measure the parts that are not measured yet; the number of all parts.

    Texts of more tokens than `most_text_tokens` (None: pack_length) may be refused without being counted.
    """
    with StageProgress("plan", sources.num_records) as progress:
        num_parts, _ = measure_parts(
            config, sources, folder, executor, progress, hold=hold, most_text_tokens=most_text_tokens
        )
    return num_parts
