"""Files whose names differ from what is written in case alone (`path_case: ignore`), or in how accents are composed.

Each part of a path is taken as it stands where there is such a name in its folder, else the one name that is equal but
for that. Folders are listed once, and a few of them remembered.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator, Mapping
from functools import lru_cache

from preprocess.errors import Reason, SampleError


def find_name(path: str, root: str, *, ignore_case: bool, follow_links: bool) -> str | None:
    """The path of a file or folder that `path`, below `root`, may mean; None where there is none.

    Raises SampleError (ambiguous_path) where several names fit.
    """
    found = root
    for part in os.path.relpath(path, root).split("/"):
        exact = os.path.join(found, part)
        if not os.path.lexists(exact):
            if not follow_links and os.path.islink(found):
                return None
            names = _names_in(found, ignore_case).get(folded(part, ignore_case), ())
            if len(names) > 1:
                both = " and ".join(repr(name) for name in names[:2])
                raise SampleError(Reason.AMBIGUOUS_PATH, f"{path!r} fits {both} in {found}; write which is meant")
            if not names:
                return None
            exact = os.path.join(found, names[0])
        found = exact
    return found


def likely_names(path: str) -> Iterator[str]:
    """The path with its last part as programs often write it otherwise: `.JPG` for `.jpg`, or all in one case.

    For a hint where a file is missing, which must not list folders for each of many.
    """
    folder, name = os.path.split(path)
    stem, suffix = os.path.splitext(name)
    for other in dict.fromkeys((stem + suffix.lower(), stem + suffix.upper(), name.lower(), name.upper())):
        if other != name:
            yield os.path.join(folder, other)


def case_hint(found: str) -> str:
    """Behind what is wrong, where `found` differs in case alone from what was written. Short: details are cut."""
    return f"; there is {os.path.basename(found)}: `path_case: ignore` in the registry lets case differ"


def folded(name: str, ignore_case: bool) -> str:
    """What names that mean the same have in common."""
    return unicodedata.normalize("NFC", name.casefold() if ignore_case else name)


@lru_cache(maxsize=8)  # a folder of 100,000 names takes 25 MB
def _names_in(folder: str, ignore_case: bool) -> Mapping[str, tuple[str, ...]]:
    names: dict[str, tuple[str, ...]] = {}
    try:
        for name in sorted(os.listdir(folder)):
            common = folded(name, ignore_case)
            names[common] = (*names.get(common, ()), name)
    except OSError:
        return {}  # opening what is written says what is wrong
    return names
