"""A wrong path is a reject, a failing disk is not."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest

from preprocess.errors import FatalError, Reason, SampleError
from preprocess.media.store import open_medium, open_stamped, read_error, stamp_of
from preprocess.sample import MediaSource, MediaStamp
from tests.preprocess.workshop import Workshop, talk


def missing(path: str | Path) -> SampleError:
    """The reject that reading the stamp gives, be it alone or while opening."""
    source = MediaSource(path=str(path))
    with pytest.raises(SampleError) as raised:
        open_medium(source)
    said = raised.value.detail
    with pytest.raises(SampleError) as raised:
        stamp_of(source)
    assert raised.value.detail == said
    assert raised.value.reason is Reason.MISSING_FILE
    with pytest.raises(SampleError) as together:
        open_stamped(source)
    assert (together.value.reason, together.value.detail) == (raised.value.reason, raised.value.detail)
    return raised.value


def test_a_stamp_tells_a_changed_file(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"12345")
    os.utime(path, ns=(5, 7))
    assert stamp_of(MediaSource(path=str(path))) == MediaStamp(num_bytes=5, version=7)
    file, stamp = open_stamped(MediaSource(path=str(path)), hash_content=True)
    with file:
        assert file.read() == b"12345"
    assert stamp == stamp_of(MediaSource(path=str(path)), hash_content=True)


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


def test_a_socket_is_no_image_and_no_failing_disk(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s.png"))
        with pytest.raises(SampleError, match="is not a regular file"):
            open_stamped(MediaSource(path=str(tmp_path / "s.png")))


@pytest.mark.parametrize("name", ["/dev/zero", "/proc/self/mem", "/proc/self/status"])
def test_devices_and_files_of_the_kernel_are_not_read(name: str, tmp_path: Path) -> None:
    """Those below /proc say that they are regular files, and fail as disks do."""
    (tmp_path / "link").symlink_to(name)
    for path in (name, tmp_path / "link"):
        assert "is not a regular file" in missing(path).detail


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
    for read in (open_medium, stamp_of):
        with pytest.raises(FatalError, match="the disk or machine failed, not this sample") as raised:
            read(MediaSource(path=str(path)))
        assert str(path) in str(raised.value)


def fail_with(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: str, *_: object) -> None:
        raise OSError(number, os.strerror(number), path)

    monkeypatch.setattr(os, "open", fail)
    monkeypatch.setattr(os, "stat", fail)


def test_a_path_that_python_refuses_is_a_reject() -> None:
    error = read_error(MediaSource(path="a\0b"), ValueError("embedded null byte"))
    assert isinstance(error, SampleError)
    assert error.reason is Reason.MISSING_FILE


def test_a_file_from_the_far_future_is_a_file(workshop: Workshop) -> None:
    name = workshop.image()
    os.utime(workshop.media / name, ns=(0, 2**63 + 10**18))
    workshop.dataset([talk("<image>", image=name)])
    assert workshop.run().keys == ["d:0"]
