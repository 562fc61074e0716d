"""The name that someone may have meant. A suggestion in a message: nothing is done on the strength of it.

What counts is the share of letters that two names have in common, since people leave out whole words: `vision_lr` for
`vision_tower_lr`. To refuse a key for its likeness to another takes a stricter rule: `preprocess.read.forms.near_miss`.
"""

from __future__ import annotations

from collections.abc import Iterable


def nearest_name(name: object, known: Iterable[str]) -> str | None:
    """The known name that is most like this one; None where none is."""
    from difflib import get_close_matches  # only an error needs it

    return next(iter(get_close_matches(str(name), list(known), n=1)), None)
