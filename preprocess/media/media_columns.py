"""Where media stand within a column of a Parquet file: at its top, in a list, or deeper, as in contents of parts.

    image      struct<bytes, path>                                                            [()]
    images     list<struct<bytes, path>>                                                      [()]
    messages   list<struct<role, content: list<struct<type, text, image: struct<...>>>>>      [("content", "image")]

A path names the fields of structs on the way; lists are passed through. Its slots in a row are all places that it leads
to, in their order, null or not; a null in the place of a list of media is one, too. The slots of a row are those of one
path after another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

FieldPath = tuple[str, ...]
_LIST_LEVELS = {"list", "element", "item", "array", "bag", "array_element"}  # of Parquet's names, between fields


def media_within(type_: pa.DataType) -> list[FieldPath]:
    """The paths to the `{bytes, path}` structs in a column of that type."""
    import pyarrow as pa

    value_type = getattr(type_, "value_type", None)
    if value_type is not None and not pa.types.is_dictionary(type_):
        return media_within(value_type)
    if not pa.types.is_struct(type_):
        return []
    if _is_medium(type_):
        return [()]
    return [(field.name, *path) for field in type_ for path in media_within(field.type)]


def _is_medium(type_: pa.StructType) -> bool:
    import pyarrow as pa

    if {field.name for field in type_} != {"bytes", "path"}:
        return False
    of_bytes = type_.field("bytes").type
    kinds = {pa.binary(), pa.large_binary(), pa.binary_view(), pa.null()}
    return getattr(of_bytes, "value_type", of_bytes) in kinds  # also where it is encoded by a dictionary


def is_bytes_of(column: str, paths: list[FieldPath], leaf: str) -> bool:
    """Whether a leaf of the file, by Parquet's name, holds the bytes of media at one of the paths of a column."""
    if leaf != column and not leaf.startswith(f"{column}."):
        return False
    fields = [name for name in leaf.removeprefix(column).split(".")[1:] if name not in _LIST_LEVELS]
    return fields in ([*(name for name in path if name not in _LIST_LEVELS), "bytes"] for path in paths)


def slots_of(value: pa.Scalar, path: FieldPath) -> Iterator[pa.StructScalar | None]:
    """What one row holds at one path; None: nothing."""
    import pyarrow as pa

    if not value.is_valid:
        if not path:
            yield None
    elif isinstance(value, pa.ListScalar):
        for each in value:
            yield from slots_of(each, path)
    elif path:
        yield from slots_of(value[path[0]], path[1:])
    else:
        yield value


def replaced(value: Any, path: FieldPath, replace: Callable[[Any], Any]) -> Any:
    """A row as Python has it, with what `replace` makes of each slot at the path, in their order."""
    if isinstance(value, list):
        return [replaced(each, path, replace) for each in value]
    if not path:
        return replace(value)
    if not isinstance(value, dict):
        return value
    return {**value, path[0]: replaced(value.get(path[0]), path[1:], replace)}
