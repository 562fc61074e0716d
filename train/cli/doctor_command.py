"""python -m train doctor: its flags, and the ranks that it starts."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from shards.errors import FlagError
from shards.flags.fields import read_fields
from shards.flags.settings import read_settings
from train.arguments import DEVICES
from train.cli.launch_command import split_nproc
from train.cluster.environment import ROLE
from train.cluster.launch.devices import count_devices
from train.cluster.launch.job import read_job
from train.cluster.launch.launcher import launch
from train.errors import UsageError

USAGE = "python -m train doctor [--nproc N] [--device auto|Ascend|CPU]"
_PROGRAM = "python -m train doctor"
_HELP = f"""usage: {USAGE}

Tries what training needs of this machine, in a minute or two: device and versions, what ranks exchange and how fast,
the attention kernel, dropout, and a step of a tiny model at every zero_stage against stored numbers. To be run first
on NPUs.

  --nproc N     ranks on this node; one for each NPU where left out, or one process without NPUs
  --device D    auto takes Ascend where MindSpore finds one

Several nodes: as `python -m train launch`. Exit code 0 where all that could be tried is
right, 1 where something failed.
"""


@dataclass(frozen=True, kw_only=True)
class DoctorArguments:
    device: str = "auto"


def describe_flags() -> str:
    return _HELP


def run(argv: Sequence[str], say: Callable[[str], None]) -> int | str:
    """The exit code of the ranks that were started; or the device to examine, where this process is a rank or alone.

    Raises UsageError or TrainingFailed where the ranks can't be started.
    """
    nproc, flags = split_nproc(argv)
    try:
        arguments = DoctorArguments(**read_fields(read_settings(flags), DoctorArguments, program=_PROGRAM).values)
    except FlagError as error:
        raise UsageError(str(error)) from None
    if arguments.device not in DEVICES:
        raise UsageError(f"device {arguments.device} is not supported: take one of {', '.join(DEVICES)}")
    if ROLE in os.environ:
        return arguments.device
    job = read_job(os.environ, nproc, (lambda: 0) if arguments.device == "CPU" else count_devices)
    if job.size == 1:
        return arguments.device
    logs = Path(mkdtemp(prefix="train-doctor-"))
    code = launch(job, [sys.executable, "-m", "train", "doctor", *flags], logs, say)
    if code == 0:
        shutil.rmtree(logs)
    return code
