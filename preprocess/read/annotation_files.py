"""What `annotation_path` of a registry names -> the files that it means, in an order that every machine gives.

    coco.json                                  a file, whatever its name
    data                                       a folder: the annotation files in it; not those of its folders
    data/train-*.parquet, the_cauldron/*       a glob, of files and folders; ** goes deeper
    [a.json, more/*.jsonl]                     a list of these

Files of a folder or a glob come in the order of their paths' characters, those of a list as listed. Of a folder, those
count whose names end as annotations do, and of a glob too, unless `annotation_format` says what they are.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import get_args

from preprocess.errors import AnnotationError
from preprocess.read.formats.detect import BY_SUFFIX, AnnotationFormat, Format
from preprocess.read.registry import Dataset

_JSON_FAMILY = ("json", "jsonl")
_ADVICE = "check annotation_path in the registry"
_MOST_NAMED = 5  # in a message


def annotation_files(dataset: Dataset) -> tuple[Path, ...]:
    """Those of a dataset, at least one. Raises AnnotationError."""
    return find_files(dataset.annotation_path, dataset.where, dataset.annotation_format)


def find_files(written: Path | Sequence[Path], where: str, format: AnnotationFormat = "auto") -> tuple[Path, ...]:
    """At least one. `where` names the dataset in messages. Raises AnnotationError."""
    paths = [written] if isinstance(written, Path) else list(written)
    try:
        files = [file for path in paths for file in _files_of(path, where, format)]
    except OSError as error:
        raise AnnotationError(f"{where}: {error.filename}: {error.strerror}; {_ADVICE}") from None
    seen: set[Path] = set()
    for file in files:
        if file in seen:
            raise AnnotationError(f"{where}: annotation_path names {file} twice; name it once")
        seen.add(file)
    return tuple(files)


def _files_of(path: Path, where: str, format: AnnotationFormat) -> list[Path]:
    if os.path.isdir(path):
        files = _annotations_in(path, format)
        if not files:
            inner = [each for each in path.iterdir() if each.is_dir() and not each.name.startswith(".")]
            deeper = f"; its folders are {_some(inner)}: name them, or {_deeper(path, inner, format)}" if inner else ""
            raise AnnotationError(f"{where}: the folder {path} holds no file {_named(format)}{deeper}; {_ADVICE}")
        return _one_kind(path, files, where)
    if not glob.has_magic(str(path)) or os.path.lexists(path):
        return [path]  # whether it can be read, its reader says
    found = [Path(each) for each in glob.glob(str(path), recursive=True)]
    files = [each for each in found if (format != "auto" or _is_annotation(each, format)) and not each.is_dir()]
    if "**" not in path.parts:  # which finds what is in folders anyway
        files += [file for each in found if each.is_dir() for file in _annotations_in(each, format)]
    if not files:
        matches = f"; it finds {_some(found)}" if found else ""
        raise AnnotationError(f"{where}: no file {_named(format)} fits {path}{matches}; {_ADVICE}")
    return _one_kind(path, sorted(set(files), key=str), where)


def _deeper(path: Path, inner: Iterable[Path], format: AnnotationFormat) -> str:
    """A glob of files that are there, if its folders hold some."""
    found = [file.suffix for folder in sorted(inner) for file in _annotations_in(folder, format)]
    return f"{path}/**/*{[*found, _suffixes(format)[0]][0]}"


def _annotations_in(folder: Path, format: AnnotationFormat) -> list[Path]:
    return sorted((each for each in folder.iterdir() if _is_annotation(each, format) and not each.is_dir()), key=str)


def _is_annotation(path: Path, format: AnnotationFormat) -> bool:
    return path.suffix.lower() in _suffixes(format) and not path.name.startswith(".")


def _suffixes(format: AnnotationFormat) -> list[str]:
    """JSON arrays are called .jsonl, and JSON Lines .json, often enough."""
    wanted = get_args(Format) if format == "auto" else _JSON_FAMILY if format in _JSON_FAMILY else (format,)
    return [suffix for suffix, named in BY_SUFFIX.items() if named in wanted]


def _named(format: AnnotationFormat) -> str:
    return f"with a name in {', '.join(_suffixes(format))}"


def _one_kind(path: Path, files: list[Path], where: str) -> list[Path]:
    """Refuses Parquet beside JSON, and such, which is likely one dataset twice, as some are published."""
    kinds: dict[str, Path] = {}
    for file in files:
        named = BY_SUFFIX.get(file.suffix.lower(), "")
        kinds.setdefault("json" if named in _JSON_FAMILY else named, file)
    if len(kinds) > 1:
        names = " and ".join(file.name for file in kinds.values())
        raise AnnotationError(
            f"{where}: {path} means {names}, which may be the same records twice; say which with annotation_format, "
            "or with a glob"
        )
    return files


def _some(paths: Iterable[Path]) -> str:
    names = sorted(path.name for path in paths)
    others = f" and {len(names) - _MOST_NAMED:,} others" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + others
