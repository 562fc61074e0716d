"""Paths stay below data_path, whatever is written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocess.errors import Reason, SampleError
from preprocess.media.paths import resolve_path
from preprocess.media.store import open_medium
from preprocess.sample import MediaSource

ROOT = Path("/data/media")


def resolve(written: str, data_path: Path | None = ROOT, *, follow_links: bool = True) -> str:
    return resolve_path(written, data_path, follow_links=follow_links)


def reject(written: str, data_path: Path | None = ROOT, *, follow_links: bool = True) -> SampleError:
    with pytest.raises(SampleError) as raised:
        resolve(written, data_path, follow_links=follow_links)
    return raised.value


# --- paths as written ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("a.png", "/data/media/a.png"),
        ("//data/media/a.png", "/data/media/a.png"),
        ("./b//a.png", "/data/media/b/a.png"),
        ("b/../a.png", "/data/media/a.png"),
        ("../media/a.png", "/data/media/a.png"),
        ("/data/media/b/a.png", "/data/media/b/a.png"),
        ("数据/é 1.png", "/data/media/数据/é 1.png"),
        ("//data/media/a.png", "/data/media/a.png"),
        ("..a.png", "/data/media/..a.png"),
        ("...", "/data/media/..."),
        ("b\\a.png", "/data/media/b\\a.png"),
        ("~/a.png", "/data/media/~/a.png"),
    ],
)
def test_paths_below_data_path_are_resolved(written: str, path: str) -> None:
    assert resolve(written) == path
    for same in ("/data/x/../media", "//data/media", "///data//media/"):
        assert resolve(written, Path(same)) == path


@pytest.mark.parametrize(
    "written",
    [
        "..",
        "../a.png",
        "b/../../a.png",
        "../media2/a.png",
        "/data/media2/a.png",
        "/data/a.png",
        "/etc/passwd",
        "//etc/passwd",
        "/data/media/../a.png",
        "/",
    ],
)
def test_paths_that_leave_data_path_are_rejected(written: str) -> None:
    error = reject(written)
    assert error.reason is Reason.PATH_OUTSIDE
    assert repr(written) in error.detail
    assert "leaves data_path /data/media" in error.detail


@given(st.lists(st.sampled_from(["..", ".", "a", "b c", "", "media", "/"]), max_size=8).map("/".join))
def test_what_is_resolved_is_always_below_data_path(written: str) -> None:
    try:
        path = resolve(written)
    except SampleError as error:
        assert error.reason is Reason.PATH_OUTSIDE
        assert not f"{os.path.normpath(ROOT / written)}/".startswith(f"{ROOT}/")
    else:
        assert f"{path}/".startswith(f"{ROOT}/")
        assert ".." not in path.split("/")


def test_nothing_is_touched_to_resolve_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("a file was touched")

    for name in ("stat", "lstat", "open", "readlink"):
        monkeypatch.setattr(os, name, fail)
    assert resolve("a.png") == "/data/media/a.png"
    assert reject("../a.png").reason is Reason.PATH_OUTSIDE


def test_without_data_path_only_absolute_paths_have_a_meaning() -> None:
    assert resolve("/anywhere/./a.png", None) == "/anywhere/a.png"
    error = reject("a.png", None)
    assert error.reason is Reason.PATH_OUTSIDE
    assert "relative, but the dataset has no data_path" in error.detail


@pytest.mark.parametrize("data_path", [ROOT, None])
@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("/data/media/a\0b.png", "holds a NUL character"),
        ("/data/media/\udce9.png", "is not UTF-8; rename the file"),
        ("/data/media/\ud800", "is not UTF-8"),
    ],
)
def test_texts_that_can_not_be_paths_are_rejected(data_path: Path | None, written: str, said: str) -> None:
    error = reject(written, data_path)
    assert error.reason is Reason.MISSING_FILE
    assert said in error.detail
    error.detail.encode()  # can be printed


# --- links ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("written", ["a.png", "b/c.png", "inside.png", "d.png"])
@pytest.mark.parametrize("folder", ["media", "alias"])
def test_links_are_followed_unless_told_otherwise(linked: Path, folder: str, written: str) -> None:
    path = resolve(written, linked / folder, follow_links=True)
    with open_medium(MediaSource(path=path)) as file:
        assert file.read() == b"content"


@pytest.mark.parametrize("written", ["a.png", "b/c.png", "inside.png"])
@pytest.mark.parametrize("folder", ["media", "alias"])
def test_links_below_data_path_are_rejected_when_they_are_not_followed(linked: Path, folder: str, written: str) -> None:
    error = reject(written, linked / folder, follow_links=False)
    assert error.reason is Reason.PATH_OUTSIDE
    assert "goes through a link, and follow_links is false" in error.detail


@pytest.mark.parametrize("folder", ["media", "alias"])
def test_data_path_itself_may_be_a_link(linked: Path, folder: str) -> None:
    assert resolve("d.png", linked / folder, follow_links=False) == str(linked / folder / "d.png")
    assert resolve("missing.png", linked / folder, follow_links=False) == str(linked / folder / "missing.png")


def test_without_data_path_no_part_of_a_path_may_be_a_link(linked: Path) -> None:
    base = os.path.realpath(linked)
    assert resolve(f"{base}/media/d.png", None, follow_links=False) == f"{base}/media/d.png"
    for written in ("alias/d.png", "media/a.png"):
        assert resolve(f"{base}/{written}", None, follow_links=True)
        assert reject(f"{base}/{written}", None, follow_links=False).reason is Reason.PATH_OUTSIDE


@pytest.mark.parametrize("root", ["//data/media", "///data/media", "/data//media/"])
def test_slashes_at_the_start_of_data_path_count_once(root: str) -> None:
    assert resolve("b/a.png", Path(root)) == resolve("/data/media/b/a.png", Path(root)) == "/data/media/b/a.png"
    assert reject("../a.png", Path(root)).reason is Reason.PATH_OUTSIDE
    assert resolve("//data/a.png", None) == "/data/a.png"
