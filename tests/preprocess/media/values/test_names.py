"""Names that differ in case or in composed accents are found, one by one, and never guessed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from preprocess.errors import Reason, SampleError
from preprocess.media.store import PathCase, locate, open_medium

COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "Media"
    for name in (
        "Train/A.JPG",
        "train2/b.jpg",
        "twice/c.jpg",
        "twice/C.jpg",
        f"{DECOMPOSED}/{COMPOSED}.png",
        "a b.jpg",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (tmp_path / "secret.jpg").write_text("secret")
    return root


def found(written: str, root: Path | None, path_case: PathCase = "ignore", *, follow_links: bool = True) -> str:
    with open_medium(locate(written, root, follow_links=follow_links, path_case=path_case)) as file:
        return file.read().decode()


def refusal(written: str, root: Path | None, path_case: PathCase = "ignore", *, follow_links: bool = True) -> Reason:
    with pytest.raises(SampleError) as raised:
        found(written, root, path_case, follow_links=follow_links)
    return raised.value.reason


@pytest.mark.parametrize("written", ["train/a.jpg", "TRAIN/A.jpg", "Train/A.JPG", "train\\a.JPG"])
def test_case_counts_unless_it_is_ignored(folder: Path, written: str) -> None:
    assert found(written, folder) == "Train/A.JPG"
    if written != "Train/A.JPG":
        assert refusal(written, folder, "exact") == Reason.MISSING_FILE


@pytest.mark.parametrize(
    ("written", "there"),
    [
        ("Train/A.jpg", "A.JPG"),
        ("Train/a.jpg", "A.JPG"),
        ("train2/B.JPG", "b.jpg"),
        ("TRAIN2/b.jpg", "train2"),
        ("Train/c.jpg", None),
        ("none/a.jpg", None),
    ],
)
def test_a_missing_file_whose_name_differs_in_case_is_hinted_at(folder: Path, written: str, there: str | None) -> None:
    with pytest.raises(SampleError) as raised:
        found(written, folder, "exact")
    hint = f"; there is {there}: `path_case: ignore` in the registry lets case differ"
    assert str(raised.value).endswith("No such file or directory" + (hint if there else ""))


def test_the_exact_name_comes_first_and_two_others_are_ambiguous(folder: Path) -> None:
    assert found("twice/C.jpg", folder) == "twice/C.jpg"
    with pytest.raises(SampleError, match=r"fits 'C\.jpg' and 'c\.jpg' in .*/twice; write which") as raised:
        found("twice/C.JPG", folder)
    assert raised.value.reason == Reason.AMBIGUOUS_PATH


@pytest.mark.parametrize("path_case", ["exact", "ignore"])
@pytest.mark.parametrize("written", [f"{a}/{b}.png" for a in (COMPOSED, DECOMPOSED) for b in (COMPOSED, DECOMPOSED)])
def test_accents_may_be_composed_or_not_in_each_part(folder: Path, written: str, path_case: PathCase) -> None:
    assert found(written, folder, path_case) == f"{DECOMPOSED}/{COMPOSED}.png"


def test_absolute_paths_and_several_folders(folder: Path, tmp_path: Path) -> None:
    assert found(f"{tmp_path}/media/train/a.jpg", None) == "Train/A.JPG"
    assert found(f"file://{folder}/a%20b.jpg", folder, "exact") == "a b.jpg"
    (tmp_path / "other").mkdir()
    source = locate("train/a.jpg", (tmp_path / "other", folder), follow_links=True, path_case="ignore")
    assert source.path == f"{folder}/Train/A.JPG"


@pytest.mark.parametrize(
    "written", ["../SECRET.jpg", "..%2fsecret.jpg", "..\\secret.jpg", "train%2f..%2f..%2fsecret.jpg"]
)
def test_no_spelling_leaves_the_folder(folder: Path, written: str) -> None:
    assert refusal(written, folder) == Reason.PATH_OUTSIDE
    assert refusal(written, folder, "exact") == Reason.PATH_OUTSIDE


def test_links_are_not_followed_to_another_spelling_either(folder: Path, tmp_path: Path) -> None:
    os.symlink(tmp_path, folder / "Out")
    assert found("out/SECRET.jpg", folder) == "secret"
    assert refusal("out/secret.jpg", folder, follow_links=False) in (Reason.PATH_OUTSIDE, Reason.MISSING_FILE)
    assert refusal("Out/SECRET.jpg", folder, follow_links=False) in (Reason.PATH_OUTSIDE, Reason.MISSING_FILE)
    assert found("TRAIN/a.jpg", folder, follow_links=False) == "Train/A.JPG"
