"""Text that came from data, made fit to show: it steers no terminal, and takes no more room than it may."""

from __future__ import annotations

import unicodedata

_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}  # Unicode categories


def visible(text: str, keep: str = "") -> str:
    """Control, format (bidirectional marks too), unassigned and lone surrogate characters written out, as `\\u202e`.

    What comes out can neither steer a terminal nor turn the text around it. Characters of `keep` stay.
    """
    if text.isprintable():
        return text
    return "".join(
        char.encode("unicode_escape").decode()
        if char not in keep and unicodedata.category(char) in _INVISIBLE
        else char
        for char in text
    )


def one_line(text: str) -> str:
    """The same on one line, for messages: line ends become spaces."""
    return visible(" ".join(text.splitlines()))


def shortened(text: str, most: int) -> str:
    """At most so many characters: what is left out of the middle is an ellipsis.

    Messages begin with what they are about and end with what to do.
    """
    if len(text) <= most:
        return text
    behind = most // 3
    return f"{text[: most - behind - 1]}…{text[-behind:]}"
