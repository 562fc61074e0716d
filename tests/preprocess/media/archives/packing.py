"""Archives for tests, made of what stands in a folder."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path


def contents_of(folder: Path) -> dict[str, bytes]:
    """By the path below the folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def write_tar(path: Path, contents: Mapping[str, bytes], format: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=format) as archive:
        for name, content in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def write_zip(path: Path, contents: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return path


def write_tar_gz(path: Path, contents: Mapping[str, bytes]) -> Path:
    plain = write_tar(path.with_name(f"{path.name}.plain"), contents)
    path.write_bytes(gzip.compress(plain.read_bytes(), 1))
    plain.unlink()
    return path


def split(path: Path, num_parts: int, suffix: str = "_part{}", first: int = 1) -> list[Path]:
    """In place of the file, so many parts of it."""
    content = path.read_bytes()
    size = -(-len(content) // num_parts)
    parts = [path.with_name(path.name + suffix.format(number + first)) for number in range(num_parts)]
    for number, part in enumerate(parts):
        part.write_bytes(content[number * size : (number + 1) * size])
    path.unlink()
    return parts


def with_checksum(header: bytes) -> bytes:
    """Of a tar, with the sum that it should have."""
    blank = header[:148] + b" " * 8 + header[156:]
    return blank[:148] + b"%06o\0 " % sum(blank) + blank[156:]
