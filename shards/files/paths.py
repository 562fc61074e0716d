"""What a text must be to be a path."""

from __future__ import annotations

import os
import re

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


def expanded(written: str) -> str:
    """A path as people configure it, with ~, ~user, $NAME and ${NAME} replaced.

    A $ before anything else stays, and so does a ~ before what is no user. Raises ValueError naming a variable that is
    not set.
    """
    path = os.path.expanduser(written)
    return re.sub(r"\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\})", _variable, path, flags=re.ASCII)


def _variable(found: re.Match[str]) -> str:
    name = found[1] or found[2]
    value = os.environ.get(name)
    if value is None:
        raise ValueError(f"the variable {found[0]} is not set; export {name}, or write the path out")
    return value
