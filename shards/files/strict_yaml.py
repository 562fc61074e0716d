"""YAML files that people write. What PyYAML lets pass (a key given twice) or raises in many ways is a ValueError."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


class _UniqueKeys:
    """Mixed into a PyYAML loader, which otherwise keeps the last of two equal keys and says nothing."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(problem=f"{key.value!r} stands twice; keep one")
                seen.add(key.value)
        return super().construct_mapping(node, deep)  # type: ignore[misc]


class _TypedLoader(_UniqueKeys, yaml.SafeLoader):
    pass


class _VerbatimLoader(_UniqueKeys, yaml.BaseLoader):
    pass


def read_yaml_mapping(path: Path, text: str, *, verbatim: bool = False) -> dict[Any, Any]:
    """The mapping that `text`, the content of `path`, holds. `verbatim` keeps every scalar as the text that stands
    there (007, no, 2026-01-31). Raises ValueError in one line that names the file."""
    try:
        values = yaml.load(text, _VerbatimLoader if verbatim else _TypedLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} can't be read as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path} must be a YAML mapping of names to values")
    return values
