"""Media that annotations hold as text in base64, in a `data:` URI or bare: the kind of source that is a stretch of an
annotation file.

`MediaSource.path` is `inline:` and the path of the file, `row` the byte at which the text begins and `item` how many
bytes it takes there, `column` the sha256 of the medium: it is the medium that was measured, or an error. The bytes
stay where they are, and are read when they are needed. Size and version are those of the file.
"""

from __future__ import annotations

import binascii
import hashlib
import io
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

from preprocess.errors import FatalError, Reason, SampleError
from preprocess.media import files
from preprocess.media.places import Place
from preprocess.sample import MediaSource, MediaStamp

SCHEME = "inline:"
MOST_BYTES = 1 << 26  # of the text of a medium
LEAST_CHARACTERS = 64  # of a bare text; anything that is a medium has more
_HEAD = re.compile(r"data:[^,\s]{0,200};base64,", re.IGNORECASE)
# How JPEG, PNG, GIF, WebP (AVI), BMP, TIFF, Matroska and MP4 files begin in base64.
_STARTS = r"/9j/|iVBORw0KGgo|R0lGOD|UklGR|Qk[0-3]|SUkqA|TU0AK|GkXfo|AAAA[A-Za-z0-9+/]{2}Z0eX"
_BARE = re.compile(rf"(?:{_STARTS})[A-Za-z0-9+/\s]*={{0,2}}\s*")
MARK = ";base64,"  # which is in every data: URI that is read
_UNESCAPED = re.compile(rb"\\+[nrt]|[\\\s]")  # what is no part of the base64: line ends, and escapes in JSON


@dataclass(frozen=True, kw_only=True, slots=True)
class InlineMedium:
    """The value of a record in the place of such a text."""

    path: str  # of the annotation file
    offset: int
    num_bytes: int
    sha256: str
    flaw: str = ""  # why it can't be read

    def reveal(self) -> MediaSource:
        """Raises SampleError (unsupported_location, undecodable)."""
        if self.flaw:
            reason = Reason.UNDECODABLE if self.num_bytes <= MOST_BYTES else Reason.UNSUPPORTED_LOCATION
            raise SampleError(reason, f"a medium in base64: {self.flaw}")
        return MediaSource(path=f"{SCHEME}{self.path}", row=self.offset, column=self.sha256, item=self.num_bytes)


def payload_of(text: str) -> str | None:
    """What of a text is a medium in base64, if it is one."""
    if (head := _HEAD.match(text)) is not None:
        return text[head.end() :]
    return text if is_bare(text) and _BARE.fullmatch(text) is not None else None


def is_bare(text: str) -> bool:
    """Whether a text begins as a medium in base64 does that stands for itself."""
    return len(text) >= LEAST_CHARACTERS and _BARE.fullmatch(text[:LEAST_CHARACTERS]) is not None


def place_in(raw: bytes, payload: str, path: str, offset: int) -> InlineMedium:
    """Of a medium whose `payload` stands in `raw`, which begins at byte `offset` of the file."""
    if len(payload) > MOST_BYTES:
        flaw = f"{len(payload):,} characters, at most {MOST_BYTES:,}; write it to a file of its own"
        return InlineMedium(path=path, offset=offset, num_bytes=len(payload), sha256="", flaw=flaw)
    try:
        content = binascii.a2b_base64(re.sub(r"\s", "", payload).encode(), strict_mode=True)
    except (ValueError, UnicodeEncodeError) as error:
        return InlineMedium(path=path, offset=offset, num_bytes=0, sha256="", flaw=f"it is no base64: {error}")
    if not content:
        return InlineMedium(path=path, offset=offset, num_bytes=0, sha256="", flaw="it is empty")
    for written in _as_written(payload):
        start = raw.find(written)
        if start >= 0:
            sha256 = hashlib.sha256(content).hexdigest()
            return InlineMedium(path=path, offset=offset + start, num_bytes=len(written), sha256=sha256)
    flaw = "its characters are escaped in an unknown way; write it to a file of its own"
    return InlineMedium(path=path, offset=offset, num_bytes=0, sha256="", flaw=flaw)


def _as_written(payload: str) -> Iterator[bytes]:
    """In the file: verbatim, in a JSON string, and in one that is a JSON string itself; slashes may be escaped, too."""
    spelled = payload
    for _ in range(3):
        for slash in ("/", "\\/", "\\\\/"):
            for equals in ("=", "\\u003d"):
                yield spelled.replace("/", slash).replace("=", equals).encode()
        spelled = json.dumps(spelled)[1:-1]


def owns(source: MediaSource) -> bool:
    return source.path.startswith(SCHEME)


def locate(_: str, __: Place | None, *, follow_links: bool) -> None:
    """No text names a stretch of a file: `InlineMedium` does."""


def describe(source: MediaSource) -> str:
    return f"{_file(source)} (base64 at byte {source.row})"


def open_medium(source: MediaSource) -> io.BytesIO:
    """Raises FatalError: the file is the annotation file, which could be read when the record was."""
    try:
        with open(_file(source), "rb") as file:
            file.seek(source.row)
            raw = file.read(min(source.item, MOST_BYTES))
        content = binascii.a2b_base64(_UNESCAPED.sub(b"", raw.replace(b"\\u003d", b"=")), strict_mode=True)
    except (OSError, ValueError) as error:
        if isinstance(error, OSError):
            raise FatalError(f"{describe(source)}: {error}; mend that and run again") from None
        content = b""
    if hashlib.sha256(content).hexdigest() != source.column:
        raise FatalError(f"{describe(source)}: the annotation file changed; run again with --overwrite")
    return io.BytesIO(content)


def open_stamped(source: MediaSource) -> tuple[io.BytesIO, MediaStamp]:
    stamp = stamp_of(source)
    return open_medium(source), stamp


def local_path(_: MediaSource) -> None:
    """The path is that of another file."""


def stamp_of(source: MediaSource) -> MediaStamp:
    return files.stamp_of_file(_file(source), describe(source))


def stamped(source: MediaSource) -> str:
    return _file(source)


describe_version = files.describe_version


def read_error(source: MediaSource, error: OSError | ValueError) -> SampleError | FatalError:
    return files.error_of_file(describe(source), error)


def _file(source: MediaSource) -> str:
    return os.fspath(source.path.removeprefix(SCHEME))
