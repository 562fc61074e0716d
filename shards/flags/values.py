"""Text -> a value of the type that an annotation gives.

    int             1, -1, 1_000, and products: 576*28*28; what 64 bits hold
    float           2, .5, 1e-6, nan, inf: whether such a number is allowed, its owner says
    bool            true, yes, on, false, no, off, in any case, as in YAML
    Path            anything but nothing; ~ and $NAME are replaced
    str             anything
    tuple[X, ...]   several X, each given for itself: `fields.py` puts them together
    Literal["a"]    a
    X | None        null and ~ are None: on a command line they take back what a file says

A union takes the first that fits, in this order: words of a Literal, None, bool, int, float, Path, str.
"""

from __future__ import annotations

from math import prod
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from shards.files.paths import expanded, path_flaw

_BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_NOTHING = ("null", "~")


def parse_value(text: str, kind: Any) -> Any:
    """The value of a text in the type of an annotation. Raises ValueError, which says what to say instead."""
    members, choices = members_of(kind), choices_of(kind)
    if text in choices:
        return text
    if NoneType in members and text in _NOTHING:
        return None
    if bool in members and text.lower() in _BOOLEANS:
        return _BOOLEANS[text.lower()]
    for number, read in ((int, _whole_number), (float, float)):
        if number in members:
            try:
                return read(text)
            except ValueError:
                continue
    if Path in members and text:
        path = expanded(text)
        flaw = path_flaw(path)
        if flaw:
            raise ValueError(f"say a path; this one {flaw}")
        return Path(path)
    if str in members:
        return text
    raise ValueError(f"say {_expected(kind)}")


def members_of(kind: Any) -> tuple[Any, ...]:
    """int | None -> (int, NoneType); int -> (int,)"""
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def item_of(kind: Any) -> Any:
    """tuple[Path, ...] | Path -> Path; None where several of nothing are taken."""
    return next((get_args(member)[0] for member in members_of(kind) if get_origin(member) is tuple), None)


def choices_of(kind: Any) -> tuple[str, ...]:
    """Literal["a", "b"] | int -> ("a", "b")"""
    return tuple(word for member in members_of(kind) if get_origin(member) is Literal for word in get_args(member))


def _whole_number(text: str) -> int:
    """ "576*28*28" -> 451584. Raises ValueError, also for what 64 bits don't hold."""
    number = prod(int(factor) for factor in text.split("*"))
    if abs(number) >= 1 << 63:
        raise ValueError
    return number


def _expected(kind: Any) -> str:
    """int | Literal["auto"] -> "a whole number, or auto" """
    members, words = members_of(kind), [*choices_of(kind)]
    if bool in members:
        words += ["True", "False"]
    if Path in members:
        words.append("a path")
    in_words = " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
    numbers = {int: "a whole number", float: "a number"}
    number = next((described for each, described in numbers.items() if each in members), "")
    if number and words:
        return f"{number}, or {in_words}"
    return f"{number}, or a product such as 576*28*28" if int in members else number or in_words
