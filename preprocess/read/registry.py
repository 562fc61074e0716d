"""The registry of datasets, and which records of them a run uses.

YAML:     coco: {annotation_path: coco.json, data_path: images}
Python:   a file with `data_dict = {"coco": COCO}` and `COCO = {...}`, as users of the Qwen scripts have one. It is read
          as literals and never executed.

Relative paths are relative to the registry file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any, get_args

from preprocess.errors import ConfigError
from preprocess.media.data_path import parse_data_path
from preprocess.media.places import DataPath
from preprocess.media.store import PathCase
from preprocess.read.formats.detect import AnnotationFormat
from preprocess.read.forms.training_flags import LossTurns
from preprocess.read.options import MediaPosition, Reasoning, check_options, with_numbers
from preprocess.read.python_registry import read_python_registry
from preprocess.sample import BoxMode
from shards.files.paths import expanded, path_flaw
from shards.files.strict_yaml import read_yaml_mapping
from shards.flags.nearest import nearest_name

_MOST_PERCENT = 999_999


@dataclass(frozen=True, kw_only=True)
class Dataset:
    name: str
    annotation_path: Path | tuple[Path, ...]  # `annotation_files.py` says which files it names
    data_path: DataPath  # None: media paths are absolute
    annotation_format: AnnotationFormat = "auto"
    path_case: PathCase = "exact"  # ignore: a file whose name differs in case alone is taken, where there is no other
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


def read_registry(path: Path) -> dict[str, Dataset]:
    """Read a registry file. Raises ConfigError naming file, dataset and key."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; `datasets` must be a registry file (YAML or Python)") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text: {error}") from None
    entries = read_python_registry(path, text) if path.suffix == ".py" else _read_yaml(path, text)
    return {name: _dataset(path, name, entry) for name, entry in entries.items()}


def read_registries(paths: Sequence[Path]) -> dict[str, Dataset]:
    """Those of several files together. Raises ConfigError, too, where two of them list the same name."""
    merged: dict[str, Dataset] = {}
    for path in paths:
        for name, dataset in read_registry(path).items():
            if name in merged:
                raise ConfigError(
                    f"dataset {name!r} stands in {merged[name].registry} and in {path}; rename one, or leave one out"
                )
            merged[name] = dataset
    return merged


def _dataset(registry_path: Path, name: Any, entry: Any) -> Dataset:
    where = f"{registry_path}: dataset {name!r}"
    if not isinstance(name, str) or not name or path_flaw(name):
        raise ConfigError(f"{where}: the name must be text; put it in quotes")
    if "'" in name and '"' in name:
        raise ConfigError(f"{where}: dataset_use could not name it, with quotes of both kinds in it; rename it")
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
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", written):
            raise ConfigError(f"{where}: annotation_path {written} is a URL; download the annotations")
        if path_flaw(written):
            raise ConfigError(f"{where}: annotation_path {written!r} {path_flaw(written)}")
    absolute = partial(_absolute, registry_path=registry_path)
    try:
        files = tuple(map(absolute, annotation_paths))
        data_path = parse_data_path(where, entry.get("data_path"), absolute)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None
    options = {key: value for key, value in entry.items() if key not in ("annotation_path", "data_path")}
    return Dataset(
        name=name,
        annotation_path=files if isinstance(annotation_path, list) else files[0],
        data_path=data_path,
        registry=registry_path,
        **with_numbers(options),
    )


def _absolute(written: str, registry_path: Path) -> Path:
    """Relative to the registry, without `..`: what that means behind a link, only the file system knows."""
    path = registry_path.absolute().parent / expanded(written)
    return path.resolve() if ".." in path.parts else path


def _read_yaml(path: Path, text: str) -> dict[Any, Any]:
    try:
        return read_yaml_mapping(path, text)
    except ValueError as error:
        raise ConfigError(str(error)) from None
