"""YAML files that people write. What PyYAML lets pass (a key given twice, aliases without
measure) or raises in many ways is a ValueError."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

_MOST_CHARACTERS = 100_000  # with all aliases written out; of a file of more than 10,000, ten times its own


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


class _Bounded:
    """Mixed into a PyYAML loader. An alias costs three characters and stands for whatever its anchor holds: a few lines
    of aliases of aliases are as large as the memory of the machine."""

    def get_single_node(self) -> Any:
        node = super().get_single_node()  # type: ignore[misc]
        if node is not None and _size(node, {}) > max(_MOST_CHARACTERS, 10 * node.end_mark.index):
            raise yaml.constructor.ConstructorError(problem="its aliases repeat too much; write out what is meant")
        return node


def _size(node: yaml.Node, sizes: dict[int, float]) -> float:
    """Characters and nodes with all aliases written out; infinite where an anchor holds itself."""
    if isinstance(node, yaml.ScalarNode):
        return 1 + len(node.value)
    if id(node) not in sizes:
        sizes[id(node)] = float("inf")  # while it is counted
        children = (child for item in node.value for child in (item if isinstance(item, tuple) else (item,)))
        sizes[id(node)] = 1 + sum(_size(child, sizes) for child in children)
    return sizes[id(node)]


class _TypedLoader(_Bounded, _UniqueKeys, yaml.SafeLoader):
    pass


class _VerbatimLoader(_Bounded, _UniqueKeys, yaml.BaseLoader):
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
