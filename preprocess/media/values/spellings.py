"""A text that names a medium -> the paths that it may mean: as it stands, and then as other programs write it.

    file:///data/a%20b.jpg       /data/a b.jpg
    images\\a.jpg                images/a.jpg
    a%20b.jpg                    a b.jpg
    café.jpg                     the same, composed and decomposed (NFC, NFD)

What is nowhere on the disk, as http://..., is a reject. The rules of paths hold for each spelling.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from urllib.parse import unquote

from preprocess.errors import Reason, SampleError
from preprocess.media.values.inline import payload_of
from shards.files.text import shortened

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")
_FETCHED = ("http", "https", "ftp")
_LONGEST_SHOWN = 80  # characters of a value in a message
_LONGEST_HEAD = 256  # characters of a data: URI before its data
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")


def spellings_of(written: str) -> tuple[str, ...]:
    """At least one; most texts have no other. Raises SampleError (unsupported_location)."""
    if payload_of(written) is not None:
        raise SampleError(
            Reason.UNSUPPORTED_LOCATION,
            f"{shortened(written, _LONGEST_SHOWN)!r}: media in base64 are read from JSON and CSV; in Parquet, write "
            "{bytes, path} cells",
        )
    if ":" in written and (scheme := _SCHEME.match(written)):
        written = _without_scheme(written, scheme[1].lower())
    if written.isascii() and "%" not in written and "\\" not in written:
        return (written,)
    return tuple(dict.fromkeys(_spellings(written)))


def _spellings(written: str) -> Iterator[str]:
    slashed = written.replace("\\", "/")
    for spelled in (written, slashed, _unescaped(written), _unescaped(slashed)):
        yield spelled
        for form in ("NFC", "NFD"):
            yield unicodedata.normalize(form, spelled)


def _unescaped(written: str) -> str:
    """Once: what is escaped twice stays so. What would not be UTF-8 stays as it is."""
    if not _ESCAPE.search(written):
        return written
    try:
        return unquote(written, errors="strict")
    except UnicodeDecodeError:
        return written


def _without_scheme(written: str, scheme: str) -> str:
    """The path of a file:// URI; any other text that is no URI as it stands."""
    if scheme == "data" and "," in written[:_LONGEST_HEAD]:
        raise SampleError(
            Reason.UNSUPPORTED_LOCATION,
            f"{shortened(written, _LONGEST_SHOWN)!r}: of data: URIs, those in base64 are read",
        )
    rest = written[len(scheme) + 1 :]
    if scheme == "file" and rest.startswith("/"):
        return _path_of_file_uri(written, rest)
    if rest.startswith("//"):
        advice = "download it first" if scheme in _FETCHED else "say where it lies with data_path, or download it first"
        raise SampleError(Reason.UNSUPPORTED_LOCATION, f"{written!r} is not on this machine; {advice}")
    return written


def _path_of_file_uri(written: str, rest: str) -> str:
    """file:/path, file:///path and file://localhost/path mean the same; escapes belong to all of them."""
    if rest.startswith("//"):
        host, slash, path = rest[2:].partition("/")
        if host not in ("", "localhost"):
            raise SampleError(
                Reason.UNSUPPORTED_LOCATION, f"{written!r} is on the machine {host!r}; copy it here, and say its path"
            )
        rest = slash + path
    return _unescaped(rest)
