"""The NPUs of this node."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from train.errors import UsageError

_VISIBLE = "ASCEND_RT_VISIBLE_DEVICES"  # CANN's: the NPUs that a process may use
_COMMAND = ("npu-smi", "info")
_SECONDS = 60.0  # it takes one for each NPU
_BUS_ID = re.compile(r"\b[0-9A-Fa-f]{4}:[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.[0-9A-Fa-f]\b")  # one in the table for each NPU
_DEVICE_FILE = re.compile(r"davinci\d+")  # beside davinci_manager, which is no NPU


def count_devices(environment: Mapping[str, str] = os.environ, files: Path = Path("/dev")) -> int:
    """Those that ASCEND_RT_VISIBLE_DEVICES names, else those of `npu-smi info`, else files /dev/davinciN; or 0."""
    visible = environment.get(_VISIBLE)
    if visible is not None:
        return _count_visible(visible)
    return count_in_table(_table()) or sum(bool(_DEVICE_FILE.fullmatch(path.name)) for path in files.iterdir())


def count_in_table(table: str) -> int:
    """NPUs in what `npu-smi info` prints: each has one bus id."""
    return len(_BUS_ID.findall(table))


def _count_visible(text: str) -> int:
    """`0,1,2`, `0-3` or a mixture of both."""
    count = 0
    for part in filter(None, (each.strip() for each in text.split(","))):
        first, _, last = part.partition("-")
        if not first.isdecimal() or not (last or first).isdecimal() or int(last or first) < int(first):
            raise UsageError(f"{_VISIBLE} is {text!r}; it must be numbers with commas, such as 0,1,2,3")
        count += int(last or first) - int(first) + 1
    return count


def _table() -> str:
    try:
        done = subprocess.run(_COMMAND, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""  # not installed, as in many containers, or its driver hangs: the device files remain
    return done.stdout if done.returncode == 0 else ""
