"""Which files `annotation_path` names, in which order, and what is said where it names none."""

from __future__ import annotations

from pathlib import Path

import pytest

from preprocess.errors import AnnotationError
from preprocess.read.annotation_files import find_files
from preprocess.read.formats.detect import AnnotationFormat


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (
        "data/train-00001-of-00002.parquet",
        "data/train-00000-of-00002.parquet",
        "data/README.md",
        "data/.hidden.parquet",
        "data/deep/x.parquet",
        "data/folder.parquet/y.parquet",
        "b.jsonl",
        "a.json",
        "ai2d(cauldron,llava_format)/train.parquet",
        "x[1].json",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def names(folder: Path, *written: str, format: AnnotationFormat = "auto") -> list[str]:
    paths = [folder / each for each in written]
    found = find_files(paths[0] if len(paths) == 1 else paths, "dataset 'd'", format)
    return [str(path.relative_to(folder)) for path in found]


SHARDS = ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (["a.json"], ["a.json"]),
        (["gone.json"], ["gone.json"]),  # which whoever opens it says
        (["data"], SHARDS),
        (["data/train-*.parquet"], SHARDS),
        (["data/train-*-of-0000[2]*"], SHARDS),
        (["da*"], SHARDS),
        (["**/x*.parquet"], ["data/deep/x.parquet"]),
        (["ai2d(cauldron,llava_format)"], ["ai2d(cauldron,llava_format)/train.parquet"]),
        (["x[1].json"], ["x[1].json"]),  # it is there, so it is no glob
        (["b.jsonl", "a.json"], ["b.jsonl", "a.json"]),
        (["a.json", "data"], ["a.json", *SHARDS]),
    ],
)
def test_files_folders_globs_and_lists_of_them(folder: Path, written: list[str], expected: list[str]) -> None:
    assert names(folder, *written) == expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (["empty"], r"dataset 'd': the folder .*/empty holds no file with a name in \.json, .*; check annotation_path"),
        (["outer"], r"its folders are inner: name them, or .*/outer/\*\*/\*\.json;"),
        (["parent"], r"its folders are empty, full: name them, or .*/parent/\*\*/\*\.parquet;"),
        (["data/*.md"], r"no file with a name in .* fits .*/data/\*\.md; it finds README\.md; check"),
        (["nothing*"], r"fits .*/nothing\*; check annotation_path"),
        (["a.json", "*.json"], r"names .*/a\.json twice"),
        (["."], r"means a\.json and c\.parquet, which may be the same records twice; say which with annotation_format"),
    ],
)
def test_what_names_no_file_or_one_twice_is_an_error(folder: Path, written: list[str], expected: str) -> None:
    (folder / "empty").mkdir()
    (folder / "outer" / "inner").mkdir(parents=True)
    for inner in ("empty", "full"):
        (folder / "parent" / inner).mkdir(parents=True)
    (folder / "parent" / "full" / "x.parquet").touch()
    (folder / "c.parquet").touch()
    with pytest.raises(AnnotationError, match=expected):
        names(folder, *written)


@pytest.mark.parametrize(
    ("written", "format", "expected"),
    [
        (".", "parquet", ["c.parquet"]),
        (".", "json", ["a.json", "b.jsonl", "x[1].json"]),
        (".", "csv", ["d.tsv", "e.csv"]),
        ("*.txt", "jsonl", ["f.txt"]),
    ],
)
def test_a_format_chooses_among_the_files_of_a_folder(
    folder: Path, written: str, format: AnnotationFormat, expected: list[str]
) -> None:
    for name in ("c.parquet", "d.tsv", "e.csv", "f.txt"):
        (folder / name).touch()
    assert names(folder, written, format=format) == expected


def test_a_folder_that_can_not_be_read_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(AnnotationError, match=r"/data: Permission denied; check annotation_path"):
        names(folder, "data")
