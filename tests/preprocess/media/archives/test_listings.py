"""What is listed of whole archives is what Python's own readers find."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from preprocess.jobs.share import EVERYTHING
from preprocess.media import cache, store
from preprocess.media.archives.prepare import prepare_archives
from preprocess.media.places import Archives
from tests.preprocess.media.archives.packing import split, write_tar, write_tar_gz, write_zip

LONG = "folder/" * 20 + "x.jpg"
NAMES = ("a.jpg", "b/c.jpg", "caf\u00e9/\u56fe.png", LONG, f"{'n' * 200}.jpg", "d/" + "\u56fe" * 60 + "/e.jpg")
CONTENTS = {
    name: np.random.default_rng(len(name)).bytes(size)
    for name, size in zip(NAMES, (10, 0, 512, 513, 5000, 70_000), strict=True)
}


def all_read(archive: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    used = cache.MediaCache(folder=archive.parent / "cache", most_bytes=1 << 30)
    prepare_archives([[str(archive)]], used, EVERYTHING)
    cache.use(used)
    place = Archives(pattern=str(archive), archives=(str(archive),))
    found = {}
    for name in names:
        with store.open_medium(store.locate(name, place, follow_links=True)) as file:
            found[name] = file.read()
    return found


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_tars_with_long_and_foreign_names(tmp_path: Path, format: int) -> None:
    assert all_read(write_tar(tmp_path / "x.tar", CONTENTS, format), NAMES) == CONTENTS


def test_a_tar_of_posix_has_prefixes(tmp_path: Path) -> None:
    contents = {name: content for name, content in CONTENTS.items() if len(name.encode()) < 150}
    assert LONG in contents
    assert all_read(write_tar(tmp_path / "x.tar", contents, tarfile.USTAR_FORMAT), tuple(contents)) == contents


def test_several_gzip_streams_are_one_tar(tmp_path: Path) -> None:
    archive = write_tar_gz(tmp_path / "x.tar.gz", CONTENTS)
    plain = gzip.decompress(archive.read_bytes())
    pieces = [gzip.compress(plain[start : start + 30_000]) for start in range(0, len(plain), 30_000)]
    assert len(pieces) > 2
    archive.write_bytes(b"".join(pieces) + bytes(100))
    assert all_read(archive, NAMES) == CONTENTS


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_zips_with_long_and_foreign_names(tmp_path: Path, method: int) -> None:
    assert all_read(write_zip(tmp_path / "x.zip", CONTENTS, method), NAMES) == CONTENTS


def test_zips_that_were_written_to_a_pipe_have_sizes_behind_the_members(tmp_path: Path) -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def seek(self, *_: int) -> int:
            raise OSError("a pipe")

        def tell(self) -> int:
            raise OSError("a pipe")

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:  # type: ignore[arg-type]
        for name, content in CONTENTS.items():
            with archive.open(name, "w", force_zip64=name == LONG) as file:
                file.write(content)
    (tmp_path / "x.zip").write_bytes(pipe.getvalue())
    assert all_read(tmp_path / "x.zip", NAMES) == CONTENTS


def test_a_zip_of_more_than_65535_members_has_a_zip64_directory(tmp_path: Path) -> None:
    contents = {f"{number}.jpg": b"" for number in range(66_000)} | {"last.jpg": b"last"}
    archive = write_zip(tmp_path / "x.zip", contents)
    assert b"PK\6\6" in archive.read_bytes()[-200:]
    assert all_read(archive, ("0.jpg", "65999.jpg", "last.jpg")) == {
        "0.jpg": b"",
        "65999.jpg": b"",
        "last.jpg": b"last",
    }


def test_names_of_old_zips_are_those_of_dos(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "x.zip", {"caf_.jpg": b"coffee", "b\\c.jpg": b"slashed"})
    archive.write_bytes(archive.read_bytes().replace(b"caf_.jpg", b"caf\x82.jpg"))
    found = all_read(archive, ("caf\u00e9.jpg", "b/c.jpg"))
    assert found == {"caf\u00e9.jpg": b"coffee", "b/c.jpg": b"slashed"}


SPELLINGS: dict[str, Callable[[Path], list[Path]]] = {
    "_part1": lambda path: split(path, 12),
    ".part001": lambda path: split(path, 12, ".part{:03}"),
    "_part-00": lambda path: split(path, 12, "_part-{:02}", first=0),
    ".001": lambda path: split(path, 12, ".{:03}"),
    "letters": lambda path: [
        part.rename(part.with_name(f"{path.name}.a{chr(ord('a') + number)}"))
        for number, part in enumerate(split(path, 12))
    ],
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("name", ["x.tar", "x.zip", "x.tgz"])
def test_parts_are_read_as_one(tmp_path: Path, name: str, spelling: str) -> None:
    write = {"x.tar": write_tar, "x.zip": write_zip, "x.tgz": write_tar_gz}[name]
    assert len(SPELLINGS[spelling](write(tmp_path / name, CONTENTS))) == 12
    assert all_read(tmp_path / name, NAMES) == CONTENTS
