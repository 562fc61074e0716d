"""Flags that people type and that are not fields: where each one went.

Together with the fields they are all that a command knows; any other name is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from shards.errors import FlagError
from shards.flags.settings import Setting, require_plain


@dataclass(frozen=True)
class Alias:
    """Another name of a field."""

    field: str


@dataclass(frozen=True)
class Ignored:
    """Accepted without effect; a note says why that is harmless."""

    why: str


@dataclass(frozen=True)
class Refused:
    """Would change the result, and this command can't do it."""

    why: str


@dataclass(frozen=True)
class Translated:
    """What becomes of it depends on its value: the setting that it means, if any, and a note, if any is needed.

    The function may raise FlagError.
    """

    translate: Callable[[Setting], tuple[Setting | None, str]]


Elsewhere: TypeAlias = Mapping[str, Alias | Ignored | Refused | Translated]


def resolve(setting: Setting, elsewhere: Elsewhere) -> tuple[Setting | None, str]:
    """(the setting under the name of its field, None where it has no effect; a note, or ""). Raises FlagError."""
    there = elsewhere.get(setting.flag)
    if isinstance(there, Refused):
        raise FlagError(f"{setting.name} {there.why}")
    require_plain(setting)
    match there:
        case Ignored(why):
            return None, f"{setting.name} is ignored: {why}"
        case Alias(field):
            return replace(setting, flag=field), f"{setting.name} is called {setting.written(field)} here"
        case Translated(translate):
            return translate(setting)
    return setting, ""
