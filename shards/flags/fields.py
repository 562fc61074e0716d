"""Settings -> values of the fields of a dataclass."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from types import MappingProxyType
from typing import Any, get_type_hints

from shards.errors import FlagError
from shards.flags.elsewhere import Elsewhere, resolve
from shards.flags.nearest import nearest_name
from shards.flags.settings import CONFIG, Setting, convert
from shards.flags.values import item_of


@dataclass(frozen=True, kw_only=True)
class Read:
    """What settings say."""

    values: Mapping[str, Any]  # of the fields that are given, in the types of their annotations
    notes: tuple[str, ...]  # what the user should know of flags that do something else than they may think


def read_fields(
    settings: Iterable[Setting], owner: type, *, program: str, elsewhere: Elsewhere = MappingProxyType({})
) -> Read:
    """The values for `owner`, a dataclass. Every setting must be right, also one that a later one outdoes.

    A field that takes several values has those of one list, or of the words after one flag; one alone stays alone.

    Raises FlagError of one line; a name that is not known gets the nearest one, or is sent to the help of `program`.
    """
    kinds = get_type_hints(owner)
    values: dict[str, Any] = {}
    several: dict[str, list[Setting]] = {}
    notes: list[str] = []
    for setting in chain.from_iterable(_one_by_one(each, kinds) for each in settings):
        resolved, note = resolve(setting, elsewhere)
        notes += [note] if note else []
        if resolved is not None and resolved.flag not in kinds:
            raise FlagError(_unknown(resolved, [*kinds, *elsewhere, CONFIG], program))
        if resolved is not None and item_of(kinds[resolved.flag]) is not None:
            before = several.get(resolved.flag, [])
            several[resolved.flag] = [
                *(each for each in before if (each.file, each.word) == (resolved.file, resolved.word)),
                resolved,
            ]
        elif resolved is not None:
            values[resolved.flag] = convert(resolved, kinds[resolved.flag])
    for flag, given in several.items():
        read = [convert(setting, item_of(kinds[flag])) for setting in given]
        values[flag] = read[0] if len(read) == 1 else tuple(read)
    return Read(values=values, notes=tuple(dict.fromkeys(notes)))


def _one_by_one(setting: Setting, kinds: Mapping[str, Any]) -> list[Setting]:
    """A list in a file, for a field that takes several values, as a setting for each."""
    items = setting.value
    if isinstance(items, list) and items and item_of(kinds.get(setting.flag)) is not None:
        return [replace(setting, value=item) for item in items]
    return [setting]


def _unknown(setting: Setting, known: list[str], program: str) -> str:
    nearest = nearest_name(setting.flag, known)
    what = f"--{CONFIG} {setting.file}: unknown key" if setting.file else "unknown flag"
    hint = f"did you mean {setting.written(nearest)}?" if nearest else f"{program} --help lists them"
    return f"{what} {setting.written(setting.flag)}; {hint}"
