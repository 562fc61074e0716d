"""DeepSpeed's JSON file, of which one number is of use here: zero_optimization.stage."""

from __future__ import annotations

import json
from pathlib import Path

from train.arguments import STAGES
from train.errors import UsageError

_OFFLOADS = ("offload_optimizer", "offload_param")


def read_stage(path: Path) -> tuple[int, str]:
    """The stage, and a note that names the keys that are ignored. Raises UsageError."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"deepspeed {path} can't be read: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"deepspeed {path} is not JSON: {error}") from None
    zero = record.get("zero_optimization") if isinstance(record, dict) else None
    if not isinstance(zero, dict) or zero.get("stage") not in STAGES:
        raise UsageError(f"deepspeed {path}: zero_optimization.stage must be one of {', '.join(map(str, STAGES))}")
    for name in _OFFLOADS:
        given = zero.get(name)
        if isinstance(given, dict) and given.get("device", "none") != "none":
            raise UsageError(
                f"deepspeed {path}: zero_optimization.{name} is not supported, state stays on the devices: take a "
                "higher stage, or more of them"
            )
    ignored = [name for name in record if name != "zero_optimization"]
    ignored += [f"zero_optimization.{name}" for name in zero if name != "stage"]
    tail = f"; ignored: {', '.join(ignored)}" if ignored else ""
    return zero["stage"], f"deepspeed {path} is read as zero_stage {zero['stage']}{tail}"
