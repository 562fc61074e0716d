"""What a text must be to be a path."""

from __future__ import annotations

LONGEST_PATH = 4095  # bytes, of Linux


def path_flaw(path: str) -> str | None:
    """What keeps a text from being a path, if anything does."""
    if "\0" in path:
        return "holds a NUL character, which no path can"
    try:
        num_bytes = len(path.encode("utf-8"))
    except UnicodeEncodeError:
        return "is not UTF-8; rename the file or folder"
    return None if num_bytes <= LONGEST_PATH else f"is longer than {LONGEST_PATH:,} bytes, which no path can be"
