"""Archives made to harm, or harmed on their way: each is a clear error, or a reject of whoever names a member."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from preprocess.errors import ConfigError, FatalError, Reason, SampleError
from preprocess.jobs.share import EVERYTHING
from preprocess.media import cache, store
from preprocess.media.archives import listing, members, unpack
from preprocess.media.archives.listing import ArchiveError
from preprocess.media.archives.prepare import prepare_archives
from preprocess.media.places import Archives
from tests.preprocess.media.archives.packing import split, with_checksum, write_tar, write_tar_gz, write_zip

CONTENT = bytes(range(256)) * 40
PLAIN = {"a.jpg": CONTENT, "b/c.jpg": CONTENT[::-1]}
ROOM = 1 << 30


def prepared(archive: Path, most_bytes: int = ROOM) -> tuple[Archives, list[str]]:
    """The archive as a place, and what was said."""
    used = cache.MediaCache(folder=archive.parent / "cache", most_bytes=most_bytes)
    cache.use(used)
    said: list[str] = []
    prepare_archives([[str(archive)]], used, EVERYTHING, said.append)
    return Archives(pattern=str(archive), archives=(str(archive),)), said


def read(place: Archives, name: str) -> bytes:
    source = store.locate(name, place, follow_links=True)
    with store.open_stamped(source)[0] as file:
        first = file.read()
    with store.open_medium(source) as file:
        content = file.read()
    assert first == content
    return content


def patched(path: Path, *changes: tuple[int, bytes]) -> Path:
    """With other bytes at these places."""
    content = bytearray(path.read_bytes())
    for place, new in changes:
        content[place : place + len(new)] = new
    path.write_bytes(content)
    return path


def header_of(name: bytes, size: int, kind: bytes = b"0", size_field: bytes | None = None) -> bytes:
    header = bytearray(512)
    header[: len(name)] = name
    header[124:136] = size_field or b"%011o\0" % size
    header[156:157] = kind
    header[257:265] = b"ustar\00000"
    return with_checksum(bytes(header))


def cut(path: Path, num_bytes: int) -> Path:
    path.write_bytes(path.read_bytes()[:num_bytes])
    return path


def directory_of(path: Path) -> tuple[int, int]:
    """Where the directory of a zip begins, and its end record."""
    content = path.read_bytes()
    return content.index(b"PK\1\2"), content.rindex(b"PK\5\6")


def tar_of(*blocks: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / "x.tar").write_bytes(b"".join(blocks))
        return folder / "x.tar"

    return make


def lying_zip(change: Callable[[Path], tuple[int, bytes]]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = write_zip(folder / "x.zip", PLAIN)
        return patched(path, change(path))

    return make


def overlapping(folder: Path) -> Path:
    path = write_zip(folder / "x.zip", {"a.jpg": CONTENT, "b.jpg": CONTENT})
    content = path.read_bytes()
    second = content.index(b"PK\1\2", directory_of(path)[0] + 4)
    return patched(path, (second + 42, struct.pack("<I", 10)))


def prefixed(folder: Path) -> Path:
    path = write_zip(folder / "x.zip", PLAIN)
    path.write_bytes(b"#!/bin/sh\n" + path.read_bytes())
    return path


def no_archive(folder: Path) -> Path:
    (folder / "x.zip").write_text("<html>404</html>" * 100)
    return folder / "x.zip"


def with_zip64_locator(folder: Path) -> Path:
    path = write_zip(folder / "x.zip", PLAIN)
    content, end = path.read_bytes(), directory_of(path)[1]
    path.write_bytes(content[:end] + b"PK\6\7" + struct.pack("<IQI", 0, 1 << 60, 1) + content[end:])
    return path


def gzipped(folder: Path, content: bytes) -> Path:
    (folder / "x.tar.gz").write_bytes(gzip.compress(content, 1))
    return folder / "x.tar.gz"


def without_a_part(folder: Path) -> Path:
    split(write_tar_gz(folder / "x.tar.gz", PLAIN), 4)[2].unlink()
    return folder / "x.tar.gz"


WHOLE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "cut tar": (lambda f: cut(write_tar(f / "x.tar", PLAIN), 9000), "in the middle of a member"),
    "cut header": (lambda f: cut(write_tar(f / "x.tar", {"a": b"x" * 512}), 1100), "in the middle of a member"),
    "damaged header": (
        lambda f: patched(write_tar(f / "x.tar", {"a": b"x", "b": b"y"}), (1024 + 10, b"\xff\xfe")),
        "no header of a member stands there",
    ),
    "size beyond the end": (tar_of(header_of(b"a", 8 << 30), bytes(4096)), "in the middle of a member"),
    "negative size": (tar_of(header_of(b"a", 0, size_field=b"\xff" * 12), bytes(1024)), "a member's size is"),
    "size that is no number": (tar_of(header_of(b"a", 0, size_field=b"zzzzzzzzzzz\0"), bytes(1024)), "size is"),
    "endless name": (tar_of(header_of(b"a", 1 << 32, b"L"), bytes(4096)), "bytes of names before"),
    "pax of garbage": (tar_of(header_of(b"a", 20, b"x"), b"99999 path=".ljust(512, b"\0")), "describes no member"),
    "pax size": (
        tar_of(header_of(b"a", 20, b"x"), b"20 size=-0000000000\n".ljust(512, b"\0"), header_of(b"a", 0)),
        "member's size is",
    ),
    "a name for nothing": (tar_of(header_of(b"a", 4, b"L"), b"abc\0".ljust(512, b"\0")), "in the middle of a member"),
    "cut zip": (lambda f: cut(write_zip(f / "x.zip", PLAIN), 15_000), "the directory at its end is missing"),
    "more members than there are": (
        lying_zip(lambda p: (directory_of(p)[1] + 8, struct.pack("<HH", 60_000, 60_000))),
        "60,000 members",
    ),
    "one more member": (lying_zip(lambda p: (directory_of(p)[1] + 8, struct.pack("<HH", 3, 3))), "is damaged"),
    "directory elsewhere": (lying_zip(lambda p: (directory_of(p)[1] + 16, struct.pack("<I", 3))), "directory ends at"),
    "member behind the end": (
        lying_zip(lambda p: (directory_of(p)[0] + 42, struct.pack("<I", 1 << 30))),
        "behind the archive's members",
    ),
    "larger than the archive": (
        lying_zip(lambda p: (directory_of(p)[0] + 20, struct.pack("<I", 1 << 30))),
        "behind the archive's members",
    ),
    "zip64 without sizes": (
        lying_zip(lambda p: (directory_of(p)[0] + 20, struct.pack("<II", 0xFFFFFFFF, 0xFFFFFFFF))),
        "zip64 sizes are missing",
    ),
    "zip64 directory nowhere": (with_zip64_locator, "zip64 directory is not where it says"),
    "one of several disks": (lying_zip(lambda p: (directory_of(p)[1] + 4, struct.pack("<H", 2))), "several disks"),
    "members that overlap": (overlapping, "share the same bytes"),
    "something before it": (prefixed, "neither a tar nor a zip"),
    "no archive": (no_archive, "neither a tar nor a zip"),
    "cut gzip": (lambda f: cut(write_tar_gz(f / "x.tar.gz", PLAIN), 500), "cut short"),
    "damaged gzip": (lambda f: patched(write_tar_gz(f / "x.tar.gz", PLAIN), (60, b"\xff\xff\xff\xff")), "is damaged"),
    "gzip of a text": (lambda f: gzipped(f, b"no tar" * 1000), "no header of a member"),
    "gzip that goes on": (lambda f: gzipped(f, bytes(80 << 20)), "goes on long after its last member"),
    "without a part": (without_a_part, "of its 3 parts number 3 is missing"),
}


@pytest.mark.parametrize("name", WHOLE)
def test_an_archive_that_is_wrong_as_a_whole_is_an_error_that_names_it(tmp_path: Path, name: str) -> None:
    make, flaw = WHOLE[name]
    archive = make(tmp_path)
    with pytest.raises((ArchiveError, ConfigError), match=flaw) as raised:
        prepared(archive)
    assert str(raised.value).startswith(str(archive))
    kept = [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.stat().st_size > 100]
    assert kept == []  # nothing half unpacked stays


def test_a_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack, "_BUT_AT_LEAST", 1 << 20)
    archive = gzipped(tmp_path, header_of(b"a", 300 << 20) + bytes(300 << 20))
    with pytest.raises(ArchiveError, match="more than 200 times as large"):
        prepared(archive)
    assert sum(path.stat().st_size for path in (tmp_path / "cache").rglob("*")) < 100_000


def test_nothing_is_unpacked_beyond_the_bound_of_the_cache(tmp_path: Path) -> None:
    archive = write_tar_gz(tmp_path / "x.tar.gz", PLAIN)
    with pytest.raises(FatalError, match=r"media_cache_bytes \(20,000\)"):
        prepared(archive, most_bytes=20_000)
    assert not list((tmp_path / "cache").rglob("*.unfinished"))
    assert read(prepared(archive, most_bytes=60_000)[0], "a.jpg") == CONTENT


@pytest.mark.parametrize("make", [write_tar, write_zip])
def test_too_many_members_are_an_error(
    tmp_path: Path, make: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = {f"{number}.jpg": b"" for number in range(11)}
    assert prepared(make(tmp_path / "a", contents))
    monkeypatch.setattr(listing, "MOST_MEMBERS", 10)
    with pytest.raises(ArchiveError, match="more than 10 members; divide it"):
        prepared(make(tmp_path / "b", contents))


# --- single members -------------------------------------------------------------------------------------------------


def refused(place: Archives, name: str) -> SampleError:
    with pytest.raises(SampleError) as raised:
        read(place, name)
    assert name in raised.value.detail and place.archives[0] in raised.value.detail
    return raised.value


@pytest.mark.parametrize("make", [write_tar, write_zip])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_stands_twice_is_ambiguous(tmp_path: Path, make: Callable[..., Path]) -> None:
    class Twice(dict[str, bytes]):
        def items(self):  # type: ignore[no-untyped-def]
            return [("a.jpg", b"1"), ("b.jpg", b"2"), ("./a.jpg", b"3"), ("b/../c.jpg", b"4")]

    place, _ = prepared(make(tmp_path / "x", Twice()))
    error = refused(place, "a.jpg")
    assert error.reason == Reason.AMBIGUOUS_PATH and "stands there 2 times" in error.detail
    assert read(place, "b.jpg") == b"2"


def test_links_devices_and_sparse_files_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    archive = tmp_path / "x.tar"
    with tarfile.open(archive, "w") as tar:
        for name, kind, target in (
            ("out", tarfile.SYMTYPE, "../secret"),
            ("absolute", tarfile.SYMTYPE, str(tmp_path / "secret")),
            ("hard", tarfile.LNKTYPE, str(tmp_path / "secret")),
            ("device", tarfile.CHRTYPE, ""),
            ("pipe", tarfile.FIFOTYPE, ""),
            ("sparse", tarfile.GNUTYPE_SPARSE, ""),
            ("folder", tarfile.DIRTYPE, ""),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            tar.addfile(info)
        info = tarfile.TarInfo("plain")
        info.size = len(CONTENT)
        tar.addfile(info, io.BytesIO(CONTENT))
        info = tarfile.TarInfo("again")
        info.type, info.linkname = tarfile.LNKTYPE, "plain"
        tar.addfile(info)
    place, _ = prepared(archive)
    for name, flaw in (("out", "link"), ("absolute", "link"), ("hard", "link"), ("device", "no plain file")):
        error = refused(place, name)
        assert error.reason == Reason.MISSING_FILE and flaw in error.detail
    for name in ("pipe", "sparse", "folder"):
        assert refused(place, name).reason == Reason.MISSING_FILE
    assert read(place, "plain") == read(place, "again") == CONTENT


@pytest.mark.parametrize("make", [write_tar, write_zip])
def test_names_that_leave_the_archive_are_left_out_and_counted(tmp_path: Path, make: Callable[..., Path]) -> None:
    names = ("../out.jpg", "/abs.jpg", "a/../../out.jpg", "good.jpg", "x/./y.jpg", "n" * 5000)
    place, said = prepared(make(tmp_path / "x", {name: b"x" for name in names}))
    assert said == [f"{place}: 4 members are left out, whose names are no paths below it"]
    assert read(place, "good.jpg") == read(place, "x/y.jpg") == b"x"
    for name in ("../out.jpg", "/abs.jpg", "a/../../out.jpg"):
        with pytest.raises(SampleError) as raised:
            store.locate(name, place, follow_links=True)
        assert raised.value.reason == Reason.PATH_OUTSIDE


def in_zip(change: Callable[[int, int], tuple[int, bytes]], method: int = zipfile.ZIP_STORED) -> Callable[[Path], Path]:
    """`change` gets where a.jpg stands, and its entry in the directory."""

    def make(folder: Path) -> Path:
        path = write_zip(folder / "x.zip", PLAIN, method)
        return patched(path, change(0, directory_of(path)[0]))

    return make


def without_header(folder: Path) -> Path:
    path = write_zip(folder / "x.zip", {"0": b"0", **PLAIN})
    return patched(path, (path.read_bytes().index(b"PK\3\4", 4), b"XX"))


SINGLE: dict[str, tuple[Callable[[Path], Path], Reason, str]] = {
    "encrypted": (in_zip(lambda _, d: (d + 8, b"\1\0")), Reason.UNDECODABLE, "is encrypted"),
    "compressed with lzma": (
        lambda f: write_zip(f / "x.zip", PLAIN, zipfile.ZIP_LZMA),
        Reason.UNDECODABLE,
        "in another way than deflate",
    ),
    "link in a zip": (
        in_zip(lambda _, d: (d + 38, struct.pack("<I", 0o120777 << 16))),
        Reason.MISSING_FILE,
        "is a link",
    ),
    "another name in its header": (in_zip(lambda h, _: (h + 30, b"z")), Reason.UNDECODABLE, "calls it b'z.jpg'"),
    "no header": (without_header, Reason.UNDECODABLE, "no header of a member"),
    "another checksum": (in_zip(lambda _, d: (d + 16, b"\1\2\3\4")), Reason.UNDECODABLE, "checksum"),
    "other bytes": (in_zip(lambda h, _: (h + 100, b"\xff\xfe\xff")), Reason.UNDECODABLE, "checksum"),
    "two sizes": (in_zip(lambda _, d: (d + 24, struct.pack("<I", 7))), Reason.UNDECODABLE, "two sizes"),
    "inflates to more": (
        in_zip(lambda _, d: (d + 24, struct.pack("<I", 100)), zipfile.ZIP_DEFLATED),
        Reason.UNDECODABLE,
        "do not inflate to the 100 bytes",
    ),
    "inflates to less": (
        in_zip(lambda _, d: (d + 24, struct.pack("<I", 100_000)), zipfile.ZIP_DEFLATED),
        Reason.UNDECODABLE,
        "do not inflate",
    ),
    "damaged deflate": (
        in_zip(lambda h, _: (h + 36, b"\xff" * 20), zipfile.ZIP_DEFLATED),
        Reason.UNDECODABLE,
        "do not inflate",
    ),
    "larger than its limit": (
        in_zip(lambda _, d: (d + 24, struct.pack("<I", (1 << 28) + 1)), zipfile.ZIP_DEFLATED),
        Reason.DECOMPRESSION_BOMB,
        "at most 268,435,456 are inflated",
    ),
}


@pytest.mark.parametrize("name", SINGLE)
def test_a_wrong_member_is_a_reject_of_whoever_names_it(tmp_path: Path, name: str) -> None:
    make, reason, flaw = SINGLE[name]
    place, _ = prepared(make(tmp_path))
    with pytest.raises(SampleError) as raised:
        store.open_medium(store.locate("a.jpg", place, follow_links=True))
    assert raised.value.reason == reason and flaw in raised.value.detail
    assert raised.value.detail.startswith(f"a.jpg in {place}")
    if "lzma" not in name:
        assert read(place, "b/c.jpg") == PLAIN["b/c.jpg"]


def test_a_large_member_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "_MOST_READ_BYTES", 100)
    for make in (write_tar, write_zip):
        place, _ = prepared(make(tmp_path / "x", PLAIN))
        with store.open_medium(store.locate("b/c.jpg", place, follow_links=True)) as file:
            assert file.seek(-3, 2) == len(CONTENT) - 3 and file.read() == PLAIN["b/c.jpg"][-3:]
            assert file.seek(5) == 5 and file.read(4) == PLAIN["b/c.jpg"][5:9]
            assert file.seek(1 << 40) and file.read() == b""
            with pytest.raises(OSError):
                file.seek(-1)
