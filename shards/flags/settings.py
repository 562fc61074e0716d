"""The words of a command line and the YAML files that it names -> settings, each with the place where it stands.

A setting of a file counts as if its flag stood first on the command line: the command line wins, and of equal flags the
last. Paths in a file are relative to the file, those on the command line to the working directory.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shards.errors import FlagError
from shards.files.strict_yaml import read_yaml_mapping
from shards.flags.values import members_of, parse_value

CONFIG = "config"  # the flag that names a file


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One `--flag value`, or one `flag: value` of a YAML file."""

    flag: str  # its words are joined by underscores, however it was written
    value: Any  # text; None for a flag that stands alone; a list or a mapping, which no field takes, in a file
    file: str = ""  # "": it stands on the command line
    word: int = field(default=0, compare=False)  # of the command line, which word its flag is

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"--{CONFIG} {self.file}: {self.flag}" if self.file else f"--{self.flag}"

    @property
    def text(self) -> str:
        """The value in messages."""
        return "true" if self.value is None else str(self.value)

    def written(self, flag: str) -> str:
        """Another flag as it is written where this one stands."""
        return flag if self.file else f"--{flag}"


def read_settings(words: Sequence[str], lists: Collection[str] = ()) -> list[Setting]:
    """All settings but --config itself, those of files first. `lists` as in `split_flags`. Raises FlagError."""
    flags = list(split_flags(words, lists))
    files = [_file_of(setting) for setting in flags if setting.flag == CONFIG]
    from_files = [setting for path in files for setting in _read_file(path)]
    return [*from_files, *(setting for setting in flags if setting.flag != CONFIG)]


def split_flags(words: Sequence[str], lists: Collection[str] = ()) -> Iterator[Setting]:
    """["--a", "1", "--b=2", "--c"] -> a: 1, b: 2, c: None.

    A flag of `lists` takes all the words up to the next flag, and gives a setting for each of them. Raises FlagError.
    """
    position = 0
    while position < len(words):
        word, number = words[position], position
        position += 1
        if not word.startswith("--") or word == "--":
            is_file = word.lower().endswith((".yaml", ".yml"))
            advice = f"a file of flags is given as --{CONFIG} {word}" if is_file else "flags look like --name value"
            raise FlagError(f"{word!r} stands alone; {advice}")
        name, equals, value = word[2:].partition("=")
        flag = name.replace("-", "_")
        values = [value] if equals else []
        while position < len(words) and not words[position].startswith("--") and (flag in lists or not values):
            values.append(words[position])
            position += 1
        yield from (Setting(flag=flag, value=each, word=number) for each in values or (None,))


def convert(setting: Setting, kind: Any) -> Any:
    """The value of a setting in the type of an annotation. Raises FlagError with what to say instead."""
    text = setting.value
    if text is None and bool in members_of(kind):
        text = "true"
    if text is None:
        raise FlagError(f"{setting.name} needs a value")
    try:
        value = parse_value(text, kind)
    except ValueError as error:
        shown = text if re.fullmatch(r"[\w.*/+-]+", text) else repr(text)
        raise FlagError(f"{setting.name} {shown}: {error}") from None
    return Path(setting.file).absolute().parent / value if setting.file and isinstance(value, Path) else value


def require_plain(setting: Setting) -> None:
    """Raises FlagError where a file holds a list, a mapping or nothing."""
    if setting.file and setting.value in ("", "~", "null"):
        what = setting.value or "nothing"
        raise FlagError(f"{setting.name} must be one value, not {what}; leave the line out for the default")
    if not isinstance(setting.value, (str, type(None))):
        raise FlagError(f"{setting.name} must be one value, not {setting.value}")


def _file_of(setting: Setting) -> Path:
    if not setting.value:
        raise FlagError(f"--{CONFIG} needs a YAML file")
    return convert(setting, Path)


def _read_file(path: Path) -> list[Setting]:
    """Scalars stay the text that stands there, as on a command line: `save_strategy: no` is no boolean."""
    try:
        values = read_yaml_mapping(path, path.read_text(encoding="utf-8-sig"), verbatim=True)
    except (OSError, ValueError) as error:
        what = getattr(error, "strerror", None) or str(error).removeprefix(f"{path} ")
        raise FlagError(f"--{CONFIG} {path}: {what}") from None
    settings: dict[str, Setting] = {}
    for key, value in values.items():
        setting = Setting(flag=key.replace("-", "_"), value=value, file=str(path))
        if setting.flag == CONFIG:
            raise FlagError(f"{setting.name} can't stand in a file; give --{CONFIG} twice on the command line")
        if setting.flag in settings:
            raise FlagError(f"{setting.name} stands twice; keep one")
        settings[setting.flag] = setting
    return list(settings.values())
