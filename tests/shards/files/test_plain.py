"""Only plain files are opened and copied; nothing waits for a FIFO, reads a device or follows a link elsewhere."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest

from shards.files.hashing import sha256_of_file, sha256_of_own_file
from shards.files.plain import copy_plain_tree, open_own, open_plain, plain_tree, read_own


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def make_socket(path: Path) -> None:
    os.chdir(path.parent)  # its whole path is too long for a socket
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(path.name)


@pytest.mark.parametrize("make", [make_fifo, make_device, make_socket, Path.mkdir])
def test_what_is_no_plain_file_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: object
) -> None:
    monkeypatch.chdir(tmp_path)
    assert callable(make)
    make(tmp_path / "x")
    for read in (sha256_of_file, open_plain):
        with pytest.raises(OSError, match="not a plain file") as raised:
            read(tmp_path / "x")
        assert raised.value.errno == errno.EINVAL
        assert raised.value.filename == str(tmp_path / "x")


def test_links_to_plain_files_are_followed_unless_one_says_so(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(b"content")
    (tmp_path / "link").symlink_to("blob")
    assert open_plain(tmp_path / "link").read() == b"content"
    with pytest.raises(OSError, match="a link") as raised:
        open_plain(tmp_path / "link", follow_links=False)
    assert raised.value.errno == errno.ELOOP


@pytest.mark.parametrize("target", ["../secret", "/etc/passwd", "/dev/zero", "below/link"])
def test_links_out_of_a_folder_of_ours_are_not_followed(tmp_path: Path, target: str) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    folder = tmp_path / "out"
    (folder / "below").mkdir(parents=True)
    (folder / "below" / "link").symlink_to("../../secret")
    (folder / "x").symlink_to(target)
    for read in (open_own, read_own, sha256_of_own_file):
        with pytest.raises(OSError, match=r"a link out of its folder, to .*; put the file itself there") as raised:
            read(folder / "x")
        assert raised.value.errno == errno.ELOOP
        assert raised.value.filename == str(folder / "x")


def test_links_within_a_folder_or_the_repository_of_a_cache_are_followed(tmp_path: Path) -> None:
    snapshot = tmp_path / "datasets--us--ours" / "snapshots" / "1a2b"
    (snapshot / "plan").mkdir(parents=True)
    blob = tmp_path / "datasets--us--ours" / "blobs" / "3c4d"
    blob.parent.mkdir()
    blob.write_bytes(b"content")
    (snapshot / "manifest.json").symlink_to("../../blobs/3c4d")
    (snapshot / "plan" / "inputs.json").symlink_to("../../../blobs/3c4d")
    (snapshot / "again").symlink_to("manifest.json")
    (tmp_path / "other").symlink_to(snapshot)
    for path in ("manifest.json", "plan/inputs.json", "again"):
        assert read_own(snapshot / path) == b"content"
        assert read_own(tmp_path / "other" / path) == b"content"
    (tmp_path / "secret").write_bytes(b"secret")
    (snapshot / "out").symlink_to("../../../secret")
    with pytest.raises(OSError, match="a link out of its folder"):
        read_own(snapshot / "out")


@pytest.mark.parametrize("target", ["/etc/passwd", "/dev/zero", "/etc", "nowhere"])
def test_a_tree_with_a_link_is_not_copied(tmp_path: Path, target: str) -> None:
    (tmp_path / "source" / "below").mkdir(parents=True)
    (tmp_path / "source" / "below" / "x").symlink_to(target)
    with pytest.raises(OSError, match="a link") as raised:
        copy_plain_tree(tmp_path / "source", tmp_path / "target")
    assert raised.value.filename == str(tmp_path / "source" / "below" / "x")
    assert not (tmp_path / "target").exists()
    (tmp_path / "tree").symlink_to(tmp_path / "source")
    with pytest.raises(OSError, match="a link"):
        list(plain_tree(tmp_path / "tree"))


def test_a_tree_of_plain_files_is_copied(tmp_path: Path) -> None:
    contents = {Path("a"): b"1", Path("b/c"): b"2", Path("b/d/e"): b"3"}
    for path, content in contents.items():
        (tmp_path / "source" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "source" / path).write_bytes(content)
    copy_plain_tree(tmp_path / "source", tmp_path / "target", skip=lambda path: path.name == "e")
    assert {path: (tmp_path / "target" / path).read_bytes() for path in plain_tree(tmp_path / "target")} == {
        Path("a"): b"1",
        Path("b/c"): b"2",
    }
