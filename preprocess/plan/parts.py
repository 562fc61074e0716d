"""Annotation files, cut into parts of a plan; those that are missing are measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from preprocess.config import RunConfig
from preprocess.errors import FatalError
from preprocess.jobs.executor import Executor
from preprocess.jobs.progress import StageProgress
from preprocess.plan.holding import Hold
from preprocess.plan.inputs import Sources
from preprocess.plan.measure import MeasureJob, MeasureStage, is_measured
from preprocess.plan.tables import SAMPLES_DIR
from preprocess.read.annotations import AnnotationFile
from preprocess.read.registry import DatasetUse

RECORDS_PER_PART = 512
_SAMPLES_WORTH_A_PROCESS = 10  # photos that are decoded while one starts


def cut_into_jobs(use: DatasetUse, file: AnnotationFile, seed: int, first_part: int) -> Iterator[MeasureJob]:
    """The records that `dataset_use` takes, in runs of RECORDS_PER_PART; parts are numbered from `first_part`."""
    copies = use.copies(len(file), seed)
    part, batch, num_read = first_part, [], 0
    for index, record in enumerate(file):
        num_read += 1
        if num_read > len(copies):
            break
        if copies[index]:
            batch.append((index, record, int(copies[index])))
        if len(batch) == RECORDS_PER_PART:
            yield MeasureJob(part=part, dataset=use.dataset, records=tuple(batch))
            part, batch = part + 1, []
    if num_read != len(copies):
        raise FatalError(f"{use.dataset.annotation_path} changed while it was read; run again with --overwrite")
    if batch:
        yield MeasureJob(part=part, dataset=use.dataset, records=tuple(batch))


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
    (folder / SAMPLES_DIR).mkdir(parents=True, exist_ok=True)
    num_parts, left = 0, []

    def missing_parts() -> Iterator[MeasureJob]:
        nonlocal num_parts
        for use, file in zip(sources.uses, sources.files, strict=True):
            for job in cut_into_jobs(use, file, config.seed, num_parts):
                num_parts = job.part + 1
                if is_measured(folder, job.part, sources.plan_fingerprint):
                    progress.skip(len(job.records))
                elif take(job.part):
                    sources.check_unchanged()  # after its records were read, before they count as the old file's
                    yield job
                else:
                    left.append(job.part)

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
