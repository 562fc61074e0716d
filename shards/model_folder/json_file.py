"""JSON objects of a model folder, and how to take checked values out of them."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from shards.files.plain import read_own

SIZE = "a positive integer below 2**31"


class ModelFolderError(Exception):
    """The model folder lacks a file or a value, or is of a family that is not known; the message names it."""


@dataclass(frozen=True)
class JsonFile:
    """An object of one of the files, and how to take checked values out of it."""

    path: Path
    record: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> JsonFile:
        """Raises ModelFolderError."""
        return cls.parse(path, read_file(path))

    @classmethod
    def parse(cls, path: Path, content: bytes) -> JsonFile:
        """The content of that file. Raises ModelFolderError."""
        try:
            record = json.loads(content.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise ModelFolderError(f"{path} is not JSON: {error}; copy the model folder again") from None
        if not isinstance(record, dict):
            raise ModelFolderError(f"{path} does not hold a JSON object; copy the model folder again")
        return cls(path, record)

    def section(self, key: str) -> JsonFile:
        return JsonFile(self.path, self._value(key, dict, "an object"))

    def size(self, key: str) -> int:
        value = self._value(key, int, SIZE)
        return value if 0 < value < 1 << 31 else self._refuse(key, SIZE)

    def number(self, key: str, default: float | None = None) -> float:
        if default is not None and key not in self.record:
            return default
        value = self._value(key, (int, float), "a number")
        return value if _is_finite(value) else self._refuse(key, "a number")

    def positive_number(self, key: str) -> float:
        value = self.number(key)
        return value if value > 0 else self._refuse(key, "a positive number")

    def three_numbers(self, key: str) -> tuple[float, float, float]:
        values = self._value(key, list, "a list of three numbers")
        if len(values) != 3 or not all(map(_is_finite, values)):
            self._refuse(key, "a list of three numbers")
        red, green, blue = values
        return red, green, blue

    def three_positive_numbers(self, key: str) -> tuple[float, float, float]:
        values = self.three_numbers(key)
        return values if min(values) > 0 else self._refuse(key, "a list of three positive numbers")

    def token_id(self, token: str) -> int:
        return self._value(token, int, "a token")

    def _value(self, key: str, kind: type | tuple[type, ...], expected: str) -> Any:
        value = self.record.get(key)
        return value if isinstance(value, kind) and not isinstance(value, bool) else self._refuse(key, expected)

    def _refuse(self, key: str, expected: str) -> NoReturn:
        found = f"is {self.record[key]!r}, not {expected}" if key in self.record else "is missing"
        raise ModelFolderError(f"{self.path}: {key!r} {found}; is this a Hugging Face model folder?")


def _is_finite(value: object) -> bool:
    """Of a number, also of an integer that no float holds; False of anything else."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def read_file(path: Path) -> bytes:
    """Raises ModelFolderError."""
    try:
        return read_own(path)
    except OSError as error:
        raise ModelFolderError(f"{path}: {error.strerror}; `model` must be a Hugging Face model folder") from None
