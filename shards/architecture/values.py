"""Values of a config.json, checked: what is missing or not supported is an error that names the key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from shards.model_folder import ModelFolderError

_MOST_NUMBER = 1e30  # float32 holds it
_MOST_SIZE = (1 << 31) - 1


@dataclass(frozen=True, kw_only=True)
class Values:
    """An object of a parsed config.json. Every method raises ModelFolderError."""

    record: Mapping[str, Any]
    kind: str  # of the model, for messages: Qwen2.5-VL
    prefix: str = ""  # of its keys, for messages: `vision_config.`

    def only(self, key: str, *supported: Any, default: Any = None) -> None:
        """Refuse every other value."""
        value = self.record.get(key, default)
        if value is None:
            self._need(key)
        self._require(value in supported, key, f"is {value!r}; supported: {', '.join(map(repr, supported))}")

    def size(self, key: str) -> int:
        value = self._need(key)
        self._require(_is_index(value) and 0 < value <= _MOST_SIZE, key, f"is {value!r}, not a positive integer")
        return int(value)

    def sizes(self, key: str) -> tuple[int, ...]:
        values = self._need(key)
        is_list = isinstance(values, list) and all(_is_index(value) and 0 <= value <= _MOST_SIZE for value in values)
        self._require(is_list, key, f"is {values!r}, not a list of integers")
        return tuple(values)

    def number(self, key: str) -> float:
        """Above 0."""
        value = self._need(key)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        # NaN compares false, and an integer may be beyond any float.
        self._require(is_number and 0 < value <= _MOST_NUMBER, key, f"is {value!r}, not a number above 0")
        return float(value)

    def flag(self, key: str) -> bool:
        """False where it is not said, or null."""
        value = self.record.get(key)
        self._require(value is None or isinstance(value, bool), key, f"is {value!r}, not true or false")
        return bool(value)

    def all_of(self, key: str, supported: str) -> None:
        """Refuse a list that holds anything else; there may be none."""
        values = self.record.get(key) or []
        self._require(isinstance(values, list), key, f"is {values!r}, not a list")
        for value in values:
            self._require(value == supported, key, f"holds {value!r}; only {supported!r} is supported")

    def section(self, key: str) -> Values:
        value = self._need(key)
        self._require(isinstance(value, dict), key, "is not an object")
        return replace(self, record=value, prefix=f"{self.prefix}{key}.")

    def _need(self, key: str) -> Any:
        if self.record.get(key) is None:
            raise ModelFolderError(f"{self.prefix}{key} is missing; is this a {self.kind} model?")
        return self.record[key]

    def _require(self, holds: bool, key: str, message: str) -> None:
        require(holds, self.prefix + key, message)


def require(holds: bool, key: str, message: str) -> None:
    """Raises ModelFolderError."""
    if not holds:
        raise ModelFolderError(f"{key} {message}")


def _is_index(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
