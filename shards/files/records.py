"""JSON that anyone may have changed: values taken out by name, each with its type and range checked first."""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, NoReturn, TypeVar

MOST = (1 << 63) - 1  # of any integer
_MOST_LEVELS = 50  # of objects and lists in each other
_Counts = TypeVar("_Counts")


class FieldError(ValueError):
    """A field is missing, unknown, or not what it must be; the message names it."""


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80


def shown(value: Any) -> str:
    """Enough of a value to recognise it by, whatever its size and depth."""
    text = _SHORT.repr(value)  # does not fail, however deep the value
    return text if len(text) <= 80 else f"{text[:77]}..."


@dataclass(frozen=True)
class Record:
    """A JSON object, and the name of the field that holds it. Every method raises FieldError."""

    values: Mapping[str, Any]
    name: str = ""

    @classmethod
    def parse(cls, text: str | bytes) -> Record:
        """Raises ValueError where `text` is not JSON, or another value than an object."""
        try:
            values = json.loads(text)
        except RecursionError:
            raise ValueError("it is nested too deeply") from None
        if not isinstance(values, dict):
            raise ValueError("it is not a JSON object")
        return cls(values)

    def only(self, names: Iterable[str]) -> None:
        for name in self.values.keys() - set(names):
            raise FieldError(f"{self._path(name)} is unknown")

    def value(self, key: str) -> Any:
        if key not in self.values:
            raise FieldError(f"{self._path(key)} is missing")
        return self.values[key]

    def integer(self, key: str, least: int = 0, most: int = MOST) -> int:
        value = self.value(key)
        if type(value) is not int or not least <= value <= most:
            self.refuse(key, f"an integer from {least}" + ("" if most == MOST else f" to {most}"))
        return value

    def number(self, key: str, *, above: float | None = None) -> int | float:
        """Finite and not negative; or greater than `above`."""
        expected = "a number from 0" if above is None else f"a number above {above:g}"
        value = self.value(key)
        return value if _is_number(value, above) else self.refuse(key, expected)

    def three_numbers(self, key: str, *, above: float | None = None) -> tuple[float, float, float]:
        values = self.value(key)
        if not isinstance(values, list) or len(values) != 3 or not all(_is_number(value, above) for value in values):
            self.refuse(key, "a list of three numbers" + ("" if above is None else f" above {above:g}"))
        first, second, third = values
        return first, second, third

    def text(self, key: str) -> str:
        value = self.value(key)
        return value if isinstance(value, str) else self.refuse(key, "a text")

    def record(self, key: str) -> Record:
        value = self.value(key)
        return Record(value, self._path(key)) if isinstance(value, dict) else self.refuse(key, "an object")

    def records(self, key: str) -> list[Record]:
        """A list of objects."""
        values = self.value(key)
        if not isinstance(values, list):
            self.refuse(key, "a list")
        for number, value in enumerate(values):
            if not isinstance(value, dict):
                self.refuse(f"{key}[{number}]", "an object", value)
        return [Record(value, self._path(f"{key}[{number}]")) for number, value in enumerate(values)]

    def tree(self, key: str) -> dict[str, Any]:
        """An object of anything, but not nested so deeply that walking through it could fail."""
        values = self.record(key).values
        level: list[Any] = [values]
        for _ in range(_MOST_LEVELS):
            inner = (value.values() if isinstance(value, dict) else value for value in level)
            level = [value for group in inner for value in group if isinstance(value, (dict, list))]
        return dict(values) if not level else self.refuse(key, f"an object of at most {_MOST_LEVELS} levels")

    def counts(self, kind: type[_Counts], most: int = MOST) -> _Counts:
        """A dataclass of integers from 0, all of them given."""
        names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
        self.only(names)
        return kind(**{name: self.integer(name, most=most) for name in names})

    def refuse(self, key: str, expected: str, value: Any = None) -> NoReturn:
        raise FieldError(f"{self._path(key)} is {shown(self.values.get(key, value))}, not {expected}")

    def _path(self, key: str) -> str:
        return f"{self.name}.{key}" if self.name else key


def _is_number(value: Any, above: float | None) -> bool:
    if type(value) is int:
        return (0 if above is None else above) <= value <= MOST and value != above
    return type(value) is float and math.isfinite(value) and (value >= 0 if above is None else value > above)
