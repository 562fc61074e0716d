"""Paths stay below data_path, whatever is written; a wrong path is a reject, a failing disk is not."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocess.errors import FatalError, Reason, SampleError
from preprocess.media.paths import resolve_path
from preprocess.media.sources import open_medium, read_error, stamp_file
from preprocess.sample import FileStamp, MediaSource
from tests.preprocess.workshop import MEDIUM, Workshop, talk

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
        ("./b//a.png", "/data/media/b/a.png"),
        ("b/../a.png", "/data/media/a.png"),
        ("../media/a.png", "/data/media/a.png"),
        ("/data/media/b/a.png", "/data/media/b/a.png"),
        ("数据/é 1.png", "/data/media/数据/é 1.png"),
        ("..a.png", "/data/media/..a.png"),
        ("...", "/data/media/..."),
        ("b\\a.png", "/data/media/b\\a.png"),
        ("~/a.png", "/data/media/~/a.png"),
    ],
)
def test_paths_below_data_path_are_resolved(written: str, path: str) -> None:
    assert resolve(written) == path
    assert resolve(written, Path("/data/x/../media")) == path


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


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """real/ holds a.png and b/c.png; media/ holds d.png and links to all of it; alias is a link to media."""
    real, media = tmp_path / "real", tmp_path / "media"
    (real / "b").mkdir(parents=True)
    media.mkdir()
    for path in (real / "a.png", real / "b" / "c.png", media / "d.png"):
        path.write_bytes(b"content")
    (media / "a.png").symlink_to(real / "a.png")
    (media / "b").symlink_to(real / "b")
    (media / "inside.png").symlink_to(media / "d.png")
    (media / "loop.png").symlink_to(media / "loop.png")
    (tmp_path / "alias").symlink_to(media)
    return tmp_path


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


# --- files ---------------------------------------------------------------------------------------------------------


def missing(path: str | Path) -> SampleError:
    """The reject that both reading the stamp and opening give."""
    source = MediaSource(path=str(path))
    with pytest.raises(SampleError) as raised:
        stamp_file(source)
    assert raised.value.reason is Reason.MISSING_FILE
    return raised.value


def test_a_stamp_tells_a_changed_file(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"12345")
    os.utime(path, ns=(5, 7))
    assert stamp_file(MediaSource(path=str(path))) == FileStamp(num_bytes=5, mtime_ns=7)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("missing.png", "No such file"),
        ("d.png/below", "Not a directory"),
        ("loop.png", "Too many levels of symbolic links"),
        ("x" * 300, "File name too long"),
        ("x/" * 3000, "File name too long"),
        ("b", "is not a regular file"),
        (".", "is not a regular file"),
        ("pipe", "is not a regular file"),
    ],
)
def test_what_is_no_regular_file_is_missing(linked: Path, name: str, said: str) -> None:
    os.mkfifo(linked / "media" / "pipe")
    error = missing(linked / "media" / name)
    assert said in error.detail
    assert name.rstrip("/.") in error.detail


def test_devices_are_not_read() -> None:
    assert "is not a regular file" in missing("/dev/zero").detail


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.ENOENT, errno.ELOOP, errno.EISDIR])
def test_a_file_that_may_not_be_read_is_a_reject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    fail_with(number, monkeypatch)
    with pytest.raises(SampleError, match=os.strerror(number)) as raised:
        open_medium(MediaSource(path=str(tmp_path / "a.png")))
    assert raised.value.reason is Reason.MISSING_FILE


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENOMEM, errno.ETIMEDOUT])
def test_a_failing_disk_or_machine_is_fatal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    path = tmp_path / "a.png"
    path.touch()
    fail_with(number, monkeypatch)
    for read in (open_medium, stamp_file):
        with pytest.raises(FatalError, match="the disk or machine failed, not this sample") as raised:
            read(MediaSource(path=str(path)))
        assert str(path) in str(raised.value)


def fail_with(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: str, *_: object) -> None:
        raise OSError(number, os.strerror(number), path)

    monkeypatch.setattr("builtins.open", fail)
    monkeypatch.setattr(os, "stat", fail)


def test_a_path_that_python_refuses_is_a_reject() -> None:
    error = read_error(MediaSource(path="a\0b"), ValueError("embedded null byte"))
    assert isinstance(error, SampleError)
    assert error.reason is Reason.MISSING_FILE


# --- cells of Parquet files ----------------------------------------------------------------------------------------


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    path = tmp_path / "cells.parquet"
    rows = [[{"bytes": b"%d.%d" % (row, item), "path": None} for item in range(2)] for row in range(5)]
    pq.write_table(pa.table({"images": pa.array(rows, pa.list_(MEDIUM))}), path, row_group_size=2)
    return path


def cell(path: Path, row: int, item: int = 0, column: str = "images") -> bytes:
    with open_medium(MediaSource(path=str(path), row=row, column=column, item=item)) as file:
        return file.read()


def test_cells_are_found_in_any_order(cells: Path) -> None:
    assert pq.ParquetFile(cells).num_row_groups == 3
    for row, item in ((4, 1), (0, 0), (1, 1), (2, 0), (3, 1), (0, 1)):
        assert cell(cells, row, item) == b"%d.%d" % (row, item)


def test_the_footer_of_a_parquet_file_is_read_once(cells: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    class Counting(pq.ParquetFile):
        def __init__(self, path: str) -> None:
            opened.append(path)
            super().__init__(path)

    monkeypatch.setattr(pq, "ParquetFile", Counting)
    assert [cell(cells, row) for row in (4, 0, 2, 4)] == [b"4.0", b"0.0", b"2.0", b"4.0"]
    assert opened == [str(cells)]


@pytest.mark.parametrize(("row", "item", "column"), [(5, 0, "images"), (0, 2, "images"), (0, 0, "image")])
def test_a_cell_that_is_gone_is_fatal(cells: Path, row: int, item: int, column: str) -> None:
    with pytest.raises(FatalError, match="the annotation file changed or broke while it was read"):
        cell(cells, row, item, column)


def test_a_parquet_file_that_is_gone_is_fatal(tmp_path: Path) -> None:
    with pytest.raises(FatalError, match=r"gone\.parquet"):
        cell(tmp_path / "gone.parquet", 0)


def test_a_cell_says_where_it_is(cells: Path) -> None:
    source = MediaSource(path=str(cells), row=3, column="images", item=1)
    assert str(source) == f"{cells} (row 3, images[1])"
    assert stamp_file(source).num_bytes == cells.stat().st_size


def test_a_file_from_the_far_future_is_a_file(workshop: Workshop) -> None:
    name = workshop.image()
    os.utime(workshop.media / name, ns=(0, 2**63 + 10**18))
    workshop.dataset([talk("<image>", image=name)])
    assert workshop.run().keys == ["d:0"]
