"""The batch job: plan, materialise every task, publish."""

from __future__ import annotations

import shutil
from contextlib import suppress

from tqdm import tqdm

from preprocess.config import RunConfig
from preprocess.encode import SampleEncoder
from preprocess.errors import ConfigError
from preprocess.executor import EncoderLoader, run_tasks
from preprocess.plan import PlanSummary, Sources, make_plan, open_sources
from preprocess.plan_tables import PLAN_DIR
from preprocess.publish import Published, publish
from shards.writer import TEMPORARY_DIR


def prepare(config: RunConfig) -> Sources:
    """Check everything that can be wrong before anything is written. Raises ConfigError, AnnotationError."""
    folder = config.output_dir
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        what = "holds another run" if (folder / PLAN_DIR).exists() else "is not an empty folder"
        raise ConfigError(f"output_dir {folder} {what}; name another folder, or remove it first")
    return open_sources(config)


def run(
    config: RunConfig, sources: Sources, plan: PlanSummary, load_encoder: EncoderLoader = SampleEncoder.load
) -> Published | None:
    """Materialise and publish a plan that stands in `config.output_dir`. None where no sample was left."""
    num_samples = plan.totals.num_samples
    with tqdm(total=num_samples, desc="materialise", unit="sample", disable=None, leave=False) as progress:
        for taken_up in run_tasks(config, range(plan.num_shards), load_encoder):
            progress.update(taken_up)
    shutil.rmtree(config.output_dir / TEMPORARY_DIR, ignore_errors=True)
    return publish(config, plan, sources.constants)


def plan_into_output(config: RunConfig, sources: Sources) -> PlanSummary:
    """Plan into the new or empty `output_dir`; a plan that fails leaves nothing there."""
    existed = config.output_dir.exists()
    folder = config.output_dir / PLAN_DIR
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise ConfigError(f"output_dir {config.output_dir}: {error.strerror}; name another folder") from None
    try:
        return make_plan(config, sources, folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        if not existed:
            with suppress(OSError):
                config.output_dir.rmdir()
        raise
