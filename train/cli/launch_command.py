"""python -m train launch: --nproc, and the flags of the trainer -> the ranks of this node."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from shards.errors import FlagError
from shards.flags.settings import Setting, split_flags
from train.cli.command_line import parse_command_line
from train.cluster.environment import ROLE
from train.cluster.launch.devices import count_devices
from train.cluster.launch.job import read_job
from train.cluster.launch.launcher import launch
from train.cluster.launch.processes import LOGS, PYTHON
from train.errors import UsageError
from train.models.backends import require_one_rank

USAGE = "python -m train launch [--nproc N] [flags of python -m train]"
_NPROC = "nproc"
_HELP = f"""usage: {USAGE}

Start the ranks of this node: one for each NPU, or one process where there is none.

  --nproc N     ranks on this node (also NPROC_PER_NODE)

Several nodes: start it on each, with NNODES, NODE_RANK, MASTER_ADDR and MASTER_PORT set, or under Slurm by
srun --ntasks-per-node=1. TRAIN_STOP_SECONDS (1800) is how long ranks may take to stop and save once they are told to.

The other flags are those of `python -m train`:
"""


def describe_flags() -> str:
    return _HELP


def run(argv: Sequence[str], say: Callable[[str], None]) -> int | list[str]:
    """The exit code of the job; or the flags of the trainer, where this process is all there is of it.

    Raises UsageError or TrainingFailed where the job can't begin.
    """
    nproc, flags = split_nproc(argv)
    if ROLE in os.environ:  # somebody else's launcher, as msrun, started this as a rank
        return flags
    arguments = parse_command_line(flags).arguments  # said once, not by each rank
    job = read_job(os.environ, nproc, (lambda: 0) if arguments.device == "CPU" else count_devices)
    require_one_rank(arguments.backend, job.size)
    if job.size == 1:
        return flags
    return launch(job, [*PYTHON, "train", *flags], arguments.output_dir / LOGS, say)


def split_nproc(argv: Sequence[str]) -> tuple[int | None, list[str]]:
    """--nproc, and the other flags. Raises UsageError."""
    nproc: int | None = None
    others: list[str] = []
    try:
        settings = list(split_flags(argv))
    except FlagError as error:
        raise UsageError(str(error)) from None
    for setting in settings:
        if setting.flag == _NPROC:
            nproc = _number_of_ranks(setting)
        else:
            others.append(setting.name if setting.value is None else f"{setting.name}={setting.value}")
    return nproc, others


def _number_of_ranks(setting: Setting) -> int:
    if setting.value is None or not setting.value.isdecimal() or int(setting.value) == 0:
        raise UsageError(f"{setting.name}: {setting.text!r} is not a number of ranks")
    return int(setting.value)
