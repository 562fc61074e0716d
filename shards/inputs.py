"""What a dataset was made of: everything that determines its bytes, as preprocessing was told it.

The manifest holds these inputs, and its fingerprint is taken of them. From the beginning of a run they stand in
plan/inputs.json too, with more that only the run needs. Whoever preprocesses says what is in them; one value is known
here, `config.format`, the file format: a conversion changes it, and nothing else of a plan depends on it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shards.files.atomic import write_atomically
from shards.files.names import INPUTS_NAME, PLAN_DIR


def with_format(inputs: Mapping[str, Any], format: str) -> dict[str, Any]:
    return {**inputs, "config": {**inputs.get("config", {}), "format": format}}


def without_format(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """What determines the plan: which samples and packs there are, and in which order."""
    return {**inputs, "config": {name: value for name, value in inputs["config"].items() if name != "format"}}


def names_format(inputs: Mapping[str, Any]) -> bool:
    """False for a dataset that no run of ours wrote."""
    return "format" in inputs.get("config", {})


def write_inputs(folder: Path, inputs: Mapping[str, Any]) -> None:
    """Into the plan of the dataset in `folder`: equal inputs give equal bytes."""
    write_atomically(folder / PLAN_DIR / INPUTS_NAME, json.dumps(inputs, indent=1, sort_keys=True) + "\n")


def read_inputs(folder: Path) -> dict[str, Any] | None:
    """None where there are none. Raises ValueError where they are damaged."""
    try:
        return json.loads((folder / PLAN_DIR / INPUTS_NAME).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
