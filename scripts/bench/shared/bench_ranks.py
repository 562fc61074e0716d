"""Ranks for benchmarks: real processes of MindSpore on CPU, under the project's launcher."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from train.cluster.launch.job import read_job
from train.cluster.launch.launcher import launch

_RESULT = "result "


def run_ranks(num_ranks: int, logs: Path, command: Sequence[str]) -> list[Any]:
    """What each rank printed in its last line: `result`, and JSON. Ends the program where a rank failed."""
    sys.stdout.flush()
    out = os.dup(1)
    with open(os.devnull, "wb") as nowhere:  # the first rank would be on the terminal too
        os.dup2(nowhere.fileno(), 1)
    try:
        code = launch(read_job({}, num_ranks, lambda: 0), command, logs, lambda line: None)
    finally:
        os.dup2(out, 1)
        os.close(out)
    texts = [(logs / f"rank_{rank}.log").read_text() for rank in range(num_ranks)]
    results = [line.removeprefix(_RESULT) for text in texts for line in text.splitlines() if line.startswith(_RESULT)]
    if code or len(results) != num_ranks:
        raise SystemExit("\n".join(text[-3000:] for text in texts))
    return [json.loads(result) for result in results]
