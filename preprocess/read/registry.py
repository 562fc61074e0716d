"""The registry of datasets, and which records of them a run uses.

YAML:     coco: {annotation_path: coco.json, data_path: images}
Python:   a file with `data_dict = {"coco": COCO}` and `COCO = {...}`, as users of the Qwen scripts have one. It is read
          as literals and never executed.

Relative paths are relative to the registry file.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from preprocess.errors import ConfigError
from preprocess.media.data_path import find_places, parse_data_path
from preprocess.media.places import DataPath
from preprocess.read.formats.detect import AnnotationFormat
from preprocess.read.forms.training_flags import LossTurns
from preprocess.read.options import MediaPosition, Reasoning, check_options, with_numbers
from preprocess.sample import BoxMode
from preprocess.streams import stream
from shards.files.paths import path_flaw
from shards.files.strict_yaml import read_yaml_mapping
from shards.flags.nearest import nearest_name

_MOST_PERCENT = 999_999


@dataclass(frozen=True, kw_only=True)
class Dataset:
    name: str
    annotation_path: Path | tuple[Path, ...]  # `annotation_files.py` says which files it names
    data_path: DataPath  # None: media paths are absolute
    annotation_format: AnnotationFormat = "auto"
    follow_links: bool = True  # False: media behind links below data_path are rejected
    boxes: BoxMode = "none"  # what bbox_2d and point_2d in answers mean; they are rewritten to resized pixels
    columns: Mapping[str, str] = field(default_factory=dict)  # by a key of a form: what the records call it
    media_position: MediaPosition = "tags"
    loss_turns: LossTurns = "all"  # which answers are learned, where a record does not say it itself
    reasoning: Reasoning = "refuse"  # what becomes of reasoning_content
    allow_tokens: Sequence[str] = ()  # special tokens that may stand in its texts
    min_pixels: int | None = None  # of each image and each frame, where a record says nothing; None: as the run says
    max_pixels: int | None = None
    nframes: int | None = None  # of each video
    fps: float | None = None  # sampled frames per second; of lists of frames those that they hold
    registry: Path | None = field(default=None, compare=False)  # the file that lists it, for messages

    def __post_init__(self) -> None:
        if not isinstance(self.follow_links, bool):
            raise ConfigError(f"dataset {self.name!r}: follow_links must be true or false, not {self.follow_links!r}")
        if self.boxes not in get_args(BoxMode):
            raise ConfigError(
                f"dataset {self.name!r}: boxes must be one of {', '.join(get_args(BoxMode))}, not {self.boxes!r}"
            )
        check_options(f"dataset {self.name!r}", self)

    @property
    def where(self) -> str:
        """What messages call it."""
        return f"{self.registry}: dataset {self.name!r}" if self.registry else f"dataset {self.name!r}"


@dataclass(frozen=True, kw_only=True)
class DatasetUse:
    """One entry of `dataset_use`: which dataset, and how much of it."""

    dataset: Dataset
    percent: int  # 100: every record once; above: repeats

    def num_chosen(self, num_records: int) -> int:
        """How many of the records are used at all."""
        return min(num_records, num_records * self.percent // 100)

    def copies(self, num_records: int, seed: int) -> npt.NDArray[np.int32]:
        """(num_records,) how often each record is used; the sum is num_records * percent // 100.

        The records that are used once more than the others are chosen by a permutation that depends on the seed and
        the dataset's name alone.
        """
        every, total = self.percent // 100, num_records * self.percent // 100
        copies = np.full(num_records, every, np.int32)
        order = stream("records", seed, self.dataset.name).permutation(num_records)
        copies[order[: total - every * num_records]] += 1
        return copies


def read_registry(path: Path) -> dict[str, Dataset]:
    """Read a registry file. Raises ConfigError naming file, dataset and key."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; `datasets` must be a registry file (YAML or Python)") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text: {error}") from None
    entries = _read_python(path, text) if path.suffix == ".py" else _read_yaml(path, text)
    return {name: _dataset(path, name, entry) for name, entry in entries.items()}


def choose_datasets(registry: Mapping[str, Dataset], dataset_use: str) -> tuple[DatasetUse, ...]:
    """Parse `dataset_use`, for example "coco%50,clips". Raises ConfigError for unknown names and bad percentages, and
    for a chosen dataset whose data_path is no folder; the others may stand on another machine."""
    chosen: dict[str, DatasetUse] = {}
    for part in filter(None, (part.strip() for part in dataset_use.split(","))):
        share = re.search(r"%\s*([0-9]+)$", part)
        name = part[: share.start()].rstrip() if share else part
        if name not in registry and (before := name.rpartition("%")[0].rstrip()) in registry:
            raise ConfigError(f"dataset_use: {part!r}: after % stands a whole number, for example {before}%50")
        if name not in registry:
            raise ConfigError(f"dataset_use: unknown dataset {name!r}{_nearest(name, registry)}")
        if share and len(share[1]) > len(str(_MOST_PERCENT)):
            raise ConfigError(f"dataset_use: {part!r} is too much; at most {name}%{_MOST_PERCENT}")
        percent = int(share[1]) if share else 100
        if percent == 0:
            raise ConfigError(f"dataset_use: {part!r} takes nothing; leave the dataset out")
        if name in chosen:
            raise ConfigError(f"dataset_use: {name!r} stands twice; say how often with %, for example {name}%200")
        chosen[name] = DatasetUse(dataset=_with_places(registry[name]), percent=percent)
    if not chosen:
        raise ConfigError(f"dataset_use is empty; name datasets of the registry: {', '.join(registry)}")
    return tuple(chosen.values())


def _with_places(dataset: Dataset) -> Dataset:
    return replace(dataset, data_path=find_places(dataset.where, dataset.data_path))


def _nearest(name: str, registry: Mapping[str, Dataset]) -> str:
    nearest = nearest_name(name, registry)
    return f"; did you mean {nearest!r}?" if nearest else f"; the registry has {', '.join(registry) or 'none'}"


def _dataset(registry_path: Path, name: Any, entry: Any) -> Dataset:
    where = f"{registry_path}: dataset {name!r}"
    if not isinstance(name, str) or not name or path_flaw(name):
        raise ConfigError(f"{where}: the name must be text; put it in quotes")
    if re.search(r"[,%]|^\s|\s$", name):
        raise ConfigError(
            f"{where}: dataset_use could not name it: names have no comma or %, nor a blank at either end; rename it"
        )
    if not isinstance(entry, dict):
        raise ConfigError(f"{where} must be a mapping with annotation_path and data_path")
    known = {each.name for each in fields(Dataset)} - {"name", "registry"}
    for key in entry:
        if key not in known:
            nearest = nearest_name(key, known)
            hint = f"; did you mean {nearest!r}?" if nearest else f"; known are {', '.join(sorted(known))}"
            raise ConfigError(f"{where}: unknown key {key!r}{hint}")
    annotation_path = entry.get("annotation_path")
    annotation_paths: list[Any] = annotation_path if isinstance(annotation_path, list) else [annotation_path]
    if not annotation_paths or not all(isinstance(each, str) and each for each in annotation_paths):
        raise ConfigError(f"{where}: annotation_path is missing or not a string, or a list of strings")
    for written in annotation_paths:
        if path_flaw(written):
            raise ConfigError(f"{where}: annotation_path {written!r} {path_flaw(written)}")
    files = tuple(_absolute(each, registry_path) for each in annotation_paths)
    options = {key: value for key, value in entry.items() if key not in ("annotation_path", "data_path")}
    return Dataset(
        name=name,
        annotation_path=files if isinstance(annotation_path, list) else files[0],
        data_path=parse_data_path(where, entry.get("data_path"), partial(_absolute, registry_path=registry_path)),
        registry=registry_path,
        **with_numbers(options),
    )


def _absolute(written: str, registry_path: Path) -> Path:
    """Relative to the registry, without `..`: what that means behind a link, only the file system knows."""
    path = registry_path.absolute().parent / written
    return path.resolve() if ".." in path.parts else path


def _read_yaml(path: Path, text: str) -> dict[Any, Any]:
    try:
        return read_yaml_mapping(path, text)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _read_python(path: Path, text: str) -> dict[str, Any]:
    """The literal value of `data_dict`; its values may be names of dict literals assigned above."""
    try:
        module = ast.parse(text, filename=str(path))
    except SyntaxError as error:
        raise ConfigError(f"{path}: line {error.lineno}: {error.msg}") from None
    except (ValueError, MemoryError, RecursionError) as error:
        raise ConfigError(f"{path} can't be read as Python: {error or 'nested too deeply'}") from None
    assigned: dict[str, ast.expr] = {}
    for statement in module.body:
        if isinstance(statement, ast.Assign):
            targets: list[ast.expr] = statement.targets
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            targets = [statement.target]
        else:
            continue
        assert statement.value is not None
        assigned.update({target.id: statement.value for target in targets if isinstance(target, ast.Name)})
    data_dict = assigned.get("data_dict")
    if not isinstance(data_dict, ast.Dict):
        raise ConfigError(f"{path} must assign a dict literal to data_dict")
    entries: dict[str, Any] = {}
    for key, value in zip(data_dict.keys, data_dict.values, strict=True):
        if key is None:
            raise ConfigError(f"{path}: line {value.lineno}: data_dict must list its datasets; ** is not read")
        literal = assigned.get(value.id, value) if isinstance(value, ast.Name) else value
        try:
            name, entry = ast.literal_eval(key), ast.literal_eval(literal)
        except (ValueError, TypeError, MemoryError, RecursionError):
            raise ConfigError(
                f"{path}: line {value.lineno}: data_dict must hold literals or names of literals; "
                "the file is read, not executed"
            ) from None
        if not isinstance(name, str):
            raise ConfigError(f"{path}: line {key.lineno}: dataset name {name!r} must be a string")
        if name in entries:
            raise ConfigError(f"{path}: line {key.lineno}: dataset {name!r} stands twice; keep one")
        entries[name] = entry
    return entries
