"""Archives that anything happened to on their way: what is listed lies in the archive, or there is an error."""

from __future__ import annotations

import tarfile
import tempfile
import zipfile
from functools import lru_cache
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from preprocess.media.archives.listing import ArchiveError, Packing
from preprocess.media.archives.tar import list_tar
from preprocess.media.archives.zip import content_at, inflate, list_zip
from tests.preprocess.media.archives.packing import with_checksum, write_tar, write_zip


class Bytes:
    """What `PartsReader` does, of bytes at hand."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.num_bytes = len(content)

    def read_at(self, offset: int, num_bytes: int) -> bytes:
        assert 0 <= offset < 1 << 63 and 0 <= num_bytes < 1 << 30  # nothing asks for more memory than there may be
        return self._content[offset : offset + num_bytes]


@lru_cache(maxsize=1)
def whole_archives() -> dict[str, bytes]:
    contents = {"a.jpg": b"0123456789", "b/" + "n" * 120: bytes(range(256)) * 3, "caf\u00e9": b""}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x"
        return {
            "gnu": write_tar(path, contents, tarfile.GNU_FORMAT).read_bytes(),
            "pax": write_tar(path, contents).read_bytes(),
            "stored": write_zip(path, contents).read_bytes(),
            "deflated": write_zip(path, contents, zipfile.ZIP_DEFLATED).read_bytes(),
        }


@given(
    name=st.sampled_from(["gnu", "pax", "stored", "deflated"]),
    changes=st.lists(st.tuples(st.integers(0, 1 << 16), st.binary(min_size=1, max_size=12)), max_size=4),
    end=st.integers(0, 1 << 16),
    is_cut=st.booleans(),
    mends=st.booleans(),
)
@settings(max_examples=400, deadline=None)
def test_no_bytes_lead_to_anything_but_members_or_an_error(
    name: str, changes: list[tuple[int, bytes]], end: int, is_cut: bool, mends: bool
) -> None:
    content = bytearray(whole_archives()[name])
    for place, new in changes:
        place %= len(content)
        content[place : place + len(new)] = new
    if mends and name in ("gnu", "pax"):  # the sums of headers, so that what is behind them is looked at
        for start in range(0, len(content) - 511, 512):
            if content[start + 257 : start + 262] == b"ustar":
                content[start : start + 512] = with_checksum(bytes(content[start : start + 512]))
    reader = Bytes(bytes(content[: end % len(content)] if is_cut else content))
    try:
        found = list_tar("x", reader.read_at) if name in ("gnu", "pax") else list_zip("x", reader)  # type: ignore[arg-type]
    except ArchiveError:
        return
    ends = found.name_ends.tolist()
    for number in range(len(found)):
        path = bytes(found.names[ends[number] : ends[number + 1]])
        assert not path.startswith((b"/", b"../")) and path != b".."
        if found.packings[number] == Packing.PLAIN:
            assert found.offsets[number] + found.sizes[number] <= reader.num_bytes
        elif found.packings[number] in (Packing.STORED, Packing.DEFLATED):
            start, _ = content_at(reader, found.offsets[number], path)  # type: ignore[arg-type]
            inflate(reader.read_at(start, 5000), min(found.sizes[number], 5000))
