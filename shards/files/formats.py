"""The formats of shards: their names in manifests, the suffixes of their files, and the flags that ask for them.

Arrow is one format where patches are stored as they are, and another where they are compressed: who knows the first
only must refuse the second.
"""

from __future__ import annotations

ARROW, ARROW_ZSTD, MINDRECORD = "arrow", "arrow_zstd", "mindrecord"
SUFFIXES = {ARROW: ".arrow", ARROW_ZSTD: ".arrow", MINDRECORD: ".mindrecord"}
FILE_FORMATS = (ARROW, MINDRECORD)  # values of --format
COMPRESSIONS = ("none", "zstd")  # values of --compress


def format_of(file_format: str, compress: str) -> str | None:
    """That of `--format` and `--compress`; None where they don't go together."""
    if compress == "none":
        return file_format
    return ARROW_ZSTD if file_format == ARROW else None


def flags_of(format: str) -> tuple[str, ...]:
    """Those that ask for it."""
    return ("--compress", "zstd") if format == ARROW_ZSTD else ("--format", format)
