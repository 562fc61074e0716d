"""Measuring together with the other jobs of an array."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from preprocess.config import RunConfig
from preprocess.jobs.executor import Executor
from preprocess.jobs.progress import StageProgress
from preprocess.jobs.share import Claims, Share
from preprocess.plan.holding import Hold
from preprocess.plan.inputs import Sources
from preprocess.plan.measure import is_measured
from preprocess.plan.parts import measure_parts
from shards.files.names import PLAN_DIR

POLL_SECONDS = 5.0  # between looks at what other jobs are at


def measure_with_others(
    config: RunConfig, sources: Sources, executor: Executor, share: Share, claims: Claims, hold: Hold
) -> int:
    """Measure together with other jobs: the parts of this share, then whatever no other job is at; the number of parts.

    Each pass reads the annotations once, so there is none for parts that others measured meanwhile.
    """
    folder = config.output_dir / PLAN_DIR

    def claim(part: int) -> str:
        return f"part-{part:06d}"

    def measure_those(stage: str, wanted: Callable[[int], bool]) -> tuple[int, list[int]]:
        def take(part: int) -> bool:
            return wanted(part) and claims.take(claim(part))

        def done(part: int) -> None:
            claims.release(claim(part))

        with StageProgress(stage, sources.num_records) as progress:
            return measure_parts(config, sources, folder, executor, progress, take, done, hold)

    num_parts, left = measure_those(f"plan, share {share}", lambda part: part in share)
    while True:
        # Whether a part is free is asked first: of one that was free and is not measured, no other job is at work.
        free = [part for part in left if claims.is_free(claim(part))]
        left = [part for part in left if not is_measured(folder, part, sources.plan_fingerprint)]
        if not left:
            return num_parts
        if set(free) & set(left):
            num_parts, left = measure_those("plan, other shares", lambda part: True)
        else:
            print(f"plan: waiting for {len(left)} parts that other jobs are measuring", file=sys.stderr, flush=True)
            time.sleep(POLL_SECONDS)
            hold.check()
