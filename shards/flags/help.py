"""What --help prints: a paragraph for each field of a dataclass."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from textwrap import fill
from typing import Any, get_type_hints

from shards.flags.settings import CONFIG
from shards.flags.values import choices_of, members_of

_CONFIG = (f"--{CONFIG} FILE", "YAML file that may hold any of these flags; the command line wins")
_INDENT = " " * 24
_PLACEHOLDERS = ((bool, "true,false"), (int, "N"), (float, "NUMBER"), (Path, "PATH"), (str, "TEXT"))


def help_text(owner: type, *, usage: str, about: str, more: Sequence[tuple[str, str]] = ()) -> str:
    """`more`: (flag and its placeholder, text) of flags that are no fields of `owner`."""
    width = max(shutil.get_terminal_size().columns - 2, 2 * len(_INDENT))
    entries = [_entry(*flag, width) for flag in (_CONFIG, *described(owner), *more)]
    return "\n".join([f"usage: {usage}", "", about, "", *entries])


def described(owner: type) -> Iterator[tuple[str, str]]:
    """(--flag PLACEHOLDER, text) of each field."""
    kinds = get_type_hints(owner)
    for field in fields(owner):
        ending = {MISSING: " (required)", None: ""}.get(field.default, f" (default: {field.default})")
        yield f"--{field.name} {_placeholder(kinds[field.name])}", field.metadata["help"] + ending


def _placeholder(kind: Any) -> str:
    """int -> N, bool -> {true,false}, int | Literal["auto"] -> {auto,N}"""
    words = [*choices_of(kind), *(word for member, word in _PLACEHOLDERS if member in members_of(kind))]
    text = ",".join(words)
    return f"{{{text}}}" if "," in text else text


def _entry(flag: str, text: str, width: int) -> str:
    paragraph = fill(
        text, width, initial_indent=_INDENT, subsequent_indent=_INDENT, break_long_words=False, break_on_hyphens=False
    )
    head = f"  {flag}"
    return head + paragraph[len(head) :] if len(head) <= len(_INDENT) - 2 else f"{head}\n{paragraph}"
