"""The batch job: plan, materialise every index, publish. Interrupted anywhere, the same command goes on from there."""

from __future__ import annotations

import time
from pathlib import Path

from preprocess.config import RunConfig
from preprocess.jobs.executor import Executor, ThisProcess, WorkerPool
from preprocess.jobs.progress import StageProgress
from preprocess.jobs.ray_executor import RayExecutor
from preprocess.jobs.share import Claims, Share
from preprocess.output_dir import finished_plan, hold_of, remove_manifest
from preprocess.plan.holding import Hold
from preprocess.plan.inputs import Sources
from preprocess.plan.make import finish_plan, make_plan
from preprocess.plan.summary import PlanSummary
from preprocess.plan.tables import CLAIMS_DIR
from preprocess.plan.together import POLL_SECONDS, measure_with_others
from preprocess.write.index import build_index, has_index, notes_dir
from preprocess.write.materialise import ShardStage
from shards.files.names import PLAN_DIR
from shards.formats.writer import is_finished, remove_abandoned, sync_shard


def plan_into_output(config: RunConfig, sources: Sources, executor: Executor, share: Share) -> PlanSummary:
    """The plan in `config.output_dir`: read where it is finished, made where it is not."""
    folder, hold = config.output_dir / PLAN_DIR, hold_of(config, sources)
    if (plan := finished_plan(config, sources)) is not None:
        return plan
    if share.of == 1:
        return make_plan(config, sources, folder, executor, hold)
    with Claims(folder / CLAIMS_DIR, share) as claims:
        num_parts = measure_with_others(config, sources, executor, share, claims, hold)
        while not claims.take("plan"):
            time.sleep(POLL_SECONDS)
            hold.check()
            if (plan := finished_plan(config, sources)) is not None:
                return plan
        return finished_plan(config, sources) or finish_plan(config, sources, folder, num_parts, hold)


def choose_executor(config: RunConfig) -> Executor:
    """One for all stages of a run, because starting processes takes long."""
    if config.executor == "ray":
        return RayExecutor(config.sample_timeout)
    return WorkerPool(config.workers, config.sample_timeout) if config.workers else ThisProcess()


def index_once(old_dir: Path, plan: Path, share: Share, hold: Hold) -> None:
    """What the old run records, gathered by one array job; the others wait for it."""
    if share.of == 1:
        build_index(old_dir, plan)
        return
    with Claims(plan / CLAIMS_DIR, share) as claims:
        while not has_index(old_dir, plan):
            if claims.take(notes_dir(old_dir, plan).name):
                build_index(old_dir, plan)
            else:
                time.sleep(POLL_SECONDS)
                hold.check()


def materialise(config: RunConfig, plan: PlanSummary, executor: Executor, share: Share, hold: Hold) -> int:
    """Write the shards of this share that are not finished; return how many of other shares are not."""
    folder, all_shards = config.output_dir, range(plan.num_shards)
    fingerprint = plan.run_fingerprint(config.shard_format)
    missing = [index for index in all_shards if index in share and not is_finished(folder, index, fingerprint)]
    for index in missing:  # what a run with `durability: run` left when it was interrupted
        sync_shard(folder, index, fingerprint, verify=True)
    missing = [index for index in missing if not is_finished(folder, index, fingerprint)]
    if missing:
        hold.check()
        remove_manifest(folder)  # what is written now may differ from it: another decoder may crash
        remove_abandoned(folder, fingerprint)
        if config.reuse is not None:
            index_once(config.reuse, folder / PLAN_DIR, share, hold)
    with StageProgress("materialise", plan.totals.num_samples * len(missing) // max(plan.num_shards, 1)) as progress:
        for _, sidecar in executor.run(ShardStage(config=config, hold=hold), missing, progress.take_up):
            num_bytes = sidecar.shard.num_bytes if sidecar.shard else 0
            progress.finish_job(num_bytes=num_bytes, rejects=len(sidecar.rejects))
    for index in missing:
        sync_shard(folder, index, fingerprint, verify=False)
    return sum(not is_finished(folder, index, fingerprint) for index in all_shards if index not in share)
