"""A kind of source as someone might add one: media in memory, named `toy:NAME` in annotations."""

from __future__ import annotations

import io
from pathlib import Path
from typing import IO
from zlib import crc32

from preprocess.errors import FatalError, Reason, SampleError
from preprocess.sample import MediaSource, MediaStamp

SCHEME = "toy:"
CONTENTS: dict[str, bytes] = {}


def owns(source: MediaSource) -> bool:
    return source.path == SCHEME


def locate(written: str, _: Path | None, *, follow_links: bool) -> MediaSource | None:
    return MediaSource(path=SCHEME, column=written.removeprefix(SCHEME)) if written.startswith(SCHEME) else None


def describe(source: MediaSource) -> str:
    return f"toy {source.column}"


def open_medium(source: MediaSource) -> IO[bytes]:
    return io.BytesIO(_content(source))


def open_stamped(source: MediaSource) -> tuple[io.BytesIO, MediaStamp]:
    return io.BytesIO(_content(source)), stamp_of(source)


def local_path(_: MediaSource) -> None:
    return None


def stamp_of(source: MediaSource) -> MediaStamp:
    content = _content(source)
    return MediaStamp(num_bytes=len(content), version=crc32(content))


def stamped(source: MediaSource) -> str:
    return describe(source)


def describe_version(version: int) -> str:
    return f"checksum {version:08x}"


def read_error(source: MediaSource, error: OSError | ValueError) -> SampleError | FatalError:
    return FatalError(f"{describe(source)}: {error}")


def _content(source: MediaSource) -> bytes:
    try:
        return CONTENTS[source.column]
    except KeyError:
        raise SampleError(Reason.MISSING_FILE, f"{describe(source)} is not in the box", describe(source)) from None
