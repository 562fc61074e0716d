"""What a dataset was made of: everything that determines its bytes, as preprocessing was told it.

The manifest holds these inputs, and its fingerprint is taken of them. From the beginning of a run they stand in
plan/inputs.json too, with more that only the run needs. Whoever preprocesses says what is in them; one value is known
here, `config.format`, the format of the shards: a conversion changes it, and nothing else of a plan depends on it. What
determines the bytes of one format alone stands in the `versions` of that format's inputs: MindSpore writes MindRecord,
and the zstd inside of pyarrow compresses.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from shards.files.atomic import write_atomically
from shards.files.formats import ARROW_ZSTD, MINDRECORD
from shards.files.names import INPUTS_NAME, PLAN_DIR
from shards.files.plain import read_own
from shards.files.records import Record

_WRITERS = {MINDRECORD: ("mindspore", "mindspore"), ARROW_ZSTD: ("zstd_of_pyarrow", "pyarrow")}  # name, package
WRITER_NAMES = frozenset(name for name, _ in _WRITERS.values())


def with_format(inputs: Mapping[str, Any], format: str) -> dict[str, Any]:
    """Those of the same plan in another file format; the version of what writes that format comes with it."""
    changed = without_format(inputs)
    changed["config"]["format"] = format
    if format in _WRITERS and "versions" in changed:
        name, package = _WRITERS[format]
        changed["versions"][name] = _installed(package)
    return changed


def without_format(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """What determines the plan: which samples and packs there are, and in which order."""
    of_format = {"config": {"format"}, "versions": WRITER_NAMES}
    kept = {
        section: {name: value for name, value in inputs.get(section, {}).items() if name not in dropped}
        for section, dropped in of_format.items()
        if section in inputs or section == "config"
    }
    return {**inputs, **kept}


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def names_format(inputs: Mapping[str, Any]) -> bool:
    """False for a dataset that no run of ours wrote."""
    return "format" in inputs.get("config", {})


def write_inputs(folder: Path, inputs: Mapping[str, Any]) -> None:
    """Into the plan of the dataset in `folder`: equal inputs give equal bytes."""
    write_atomically(folder / PLAN_DIR / INPUTS_NAME, json.dumps(inputs, indent=1, sort_keys=True) + "\n")


def read_inputs(folder: Path) -> dict[str, Any] | None:
    """None where there are none. Raises ValueError where they are damaged."""
    try:
        text = read_own(folder / PLAN_DIR / INPUTS_NAME)
    except (FileNotFoundError, NotADirectoryError):
        return None
    inputs = Record({INPUTS_NAME: dict(Record.parse(text).values)}).tree(INPUTS_NAME)
    if "config" in inputs:
        Record(inputs).record("config")
    return inputs
