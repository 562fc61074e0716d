"""Which format an annotation file has: what stands in it decides, and its name only where that says nothing.

| begins with | format |
| --- | --- |
| `PAR1` | `parquet` |
| `[` | `json`; `jsonl` where the first line ends the array and another value follows: lines of ready-made packs |
| `{` | `jsonl`; in a file that is not named so, the first line must end what it begins |
| something else, or nothing | what the name says |

Marks of byte order, blank lines and Windows line ends are passed over. A single line that holds an array is an array,
also where the name says JSON Lines: `annotation_format: jsonl` makes a ready-made pack of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, Literal, get_args

from preprocess.errors import AnnotationError

Format = Literal["json", "jsonl", "parquet", "csv"]
AnnotationFormat = Literal["auto", "json", "jsonl", "parquet", "csv"]
BY_SUFFIX: Mapping[str, Format] = {
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
}
_PACKED = {".gz", ".tgz", ".bz2", ".xz", ".zst", ".zip", ".7z", ".tar"}
_PACKED_HEADS = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"PK\x03\x04")
_BOM = b"\xef\xbb\xbf"
_READ_BYTES = 1 << 20


def detect_format(path: Path) -> Format:
    """Raises AnnotationError where it is none of ours, or OSError."""
    suffix = path.suffix.lower()
    named = BY_SUFFIX.get(suffix)
    with open(path, "rb") as file:
        head = file.read(8)
        if suffix in _PACKED or head.startswith(_PACKED_HEADS):
            raise AnnotationError(f"{path} is packed; unpack it first")
        if head.startswith(b"PAR1") or named == "parquet":
            return "parquet"
        file.seek(len(_BOM) if head.startswith(_BOM) else 0)
        last_of_line, next_line = b"", b""
        first = _next_mark(file)
        if first in (b"[", b"{"):
            last_of_line, next_line = _last_of_line(file) or first, _next_mark(file)
    if first == b"[":
        is_line = last_of_line == b"]" or (named == "jsonl" and last_of_line not in (b"[", b"{", b",", b":"))
        return "jsonl" if is_line and next_line not in (b"", b",", b"]", b"}", b":") else "json"
    if first == b"{" and named != "jsonl" and last_of_line != b"}":
        raise AnnotationError(
            f"{path} begins with an object that its first line does not end: it is neither an array of records nor has "
            "one on each line; make a list of them"
        )
    if first == b"{":
        return "jsonl"
    if named is None:
        raise AnnotationError(
            f"{path} looks like none of {', '.join(get_args(Format))}; its name does not end in "
            f"{', '.join(BY_SUFFIX)}: say annotation_format in the registry, or name another file"
        )
    return named


def _next_mark(file: BinaryIO) -> bytes:
    """The next byte that is no space, after which the file stands; b"" at its end."""
    while chunk := file.read(_READ_BYTES):
        rest = chunk.lstrip()
        if rest:
            file.seek(1 - len(rest), 1)
            return rest[:1]
    return b""


def _last_of_line(file: BinaryIO) -> bytes:
    """The last byte of this line that is no space, after which the file stands at the next one; b"" where none is."""
    last = b""
    while chunk := file.readline(_READ_BYTES):
        last = chunk.rstrip()[-1:] or last
        if chunk.endswith(b"\n"):
            break
    return last
