"""What `annotation_path` of a registry names -> the files that it means, in an order that every machine gives.

    coco.json                                  a file, whatever its name
    data                                       a folder: the annotation files in it; not those of its folders
    data/train-*.parquet, the_cauldron/*       a glob, of files and folders; ** goes deeper
    [a.json, more/*.jsonl]                     a list of these

Files of a folder or a glob come in the order of their paths' characters, those of a list as listed. Names that begin
with a dot are no annotations, and neither are names without a suffix of `SUFFIXES` that a glob finds or a folder holds.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from preprocess.errors import AnnotationError
from preprocess.read.registry import Dataset

SUFFIXES = (".json", ".jsonl", ".ndjson", ".parquet")
_ADVICE = "check annotation_path in the registry"
_MOST_NAMED = 5  # in a message


def annotation_files(dataset: Dataset) -> tuple[Path, ...]:
    """Those of a dataset, at least one. Raises AnnotationError."""
    return find_files(dataset.annotation_path, dataset.where)


def find_files(written: Path | Sequence[Path], where: str) -> tuple[Path, ...]:
    """At least one. `where` names the dataset in messages. Raises AnnotationError."""
    paths = [written] if isinstance(written, Path) else list(written)
    try:
        files = [file for path in paths for file in _files_of(path, where)]
    except OSError as error:
        raise AnnotationError(f"{where}: {error.filename}: {error.strerror}; {_ADVICE}") from None
    seen: set[Path] = set()
    for file in files:
        if file in seen:
            raise AnnotationError(f"{where}: annotation_path names {file} twice; name it once")
        seen.add(file)
    return tuple(files)


def _files_of(path: Path, where: str) -> list[Path]:
    if os.path.isdir(path):
        return _in_folder(path, where)
    if not glob.has_magic(str(path)) or os.path.lexists(path):
        return [path]  # whether it can be read, its reader says
    found = [Path(each) for each in glob.glob(str(path), recursive=True)]
    files = [each for each in found if _is_annotation(each) and not each.is_dir()]
    if "**" not in path.parts:  # which finds what is in folders anyway
        files += [file for each in found if each.is_dir() for file in _annotations_in(each)]
    if not files:
        matches = f"; it finds {_some(found)}" if found else ""
        raise AnnotationError(f"{where}: no file with a name in {', '.join(SUFFIXES)} fits {path}{matches}; {_ADVICE}")
    return _one_kind(path, sorted(set(files), key=str), where)


def _in_folder(folder: Path, where: str) -> list[Path]:
    files = _annotations_in(folder)
    if not files:
        inner = [each for each in folder.iterdir() if each.is_dir() and not each.name.startswith(".")]
        deeper = f"; its folders are {_some(inner)}: name them, or {folder}/**/*{SUFFIXES[0]}" if inner else ""
        raise AnnotationError(
            f"{where}: the folder {folder} holds no file with a name in {', '.join(SUFFIXES)}{deeper}; {_ADVICE}"
        )
    return _one_kind(folder, files, where)


def _annotations_in(folder: Path) -> list[Path]:
    return sorted((each for each in folder.iterdir() if _is_annotation(each) and not each.is_dir()), key=str)


def _is_annotation(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def _one_kind(path: Path, files: list[Path], where: str) -> list[Path]:
    """Refuses Parquet beside JSON, which is likely one dataset twice, as some are published."""
    tables = [file for file in files if file.suffix.lower() == ".parquet"]
    if 0 < len(tables) < len(files):
        other = next(file for file in files if file not in tables)
        raise AnnotationError(
            f"{where}: {path} means {tables[0].name} and {other.name}, which may be the same records twice; say which "
            f"with a glob, such as {path if path.is_dir() else path.parent}/*.parquet"
        )
    return files


def _some(paths: Iterable[Path]) -> str:
    names = sorted(path.name for path in paths)
    others = f" and {len(names) - _MOST_NAMED:,} others" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + others
