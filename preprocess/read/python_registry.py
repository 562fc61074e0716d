"""A registry in Python, as users of the Qwen scripts have one, read as what it says and never executed.

    ROOT = "/data"
    COCO = {"annotation_path": f"{ROOT}/coco.json", "data_path": os.path.join(ROOT, "images")}
    data_dict = {"coco": COCO}

What is read: literals, names that the file assigned above, f-strings without formats, sums of texts, os.path.join, and
{**COMMON, ...}. What only running the file could tell, as a value that an `if` sets, is an error where data_dict
depends on it.
"""

from __future__ import annotations

import ast
import posixpath
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preprocess.errors import ConfigError

_MOST_VALUES = 100_000  # in one; names in names may stand for any number
_LONGEST_TEXT = 1 << 16  # characters
# Of what else there is at the level of the file, these may set or change a name.
_CHANGING = (ast.If, ast.For, ast.While, ast.With, ast.Try, ast.Match, ast.AugAssign, ast.Delete, ast.Expr)


class _NotRead(Exception):
    """What stands there can't be told without running it."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(line, what)
        self.line = line
        self.what = what


@dataclass(frozen=True)
class _Value:
    is_: Any
    num_values: int = 1  # with those in it


def read_python_registry(path: Path, text: str) -> dict[str, Any]:
    """The value of `data_dict`. Raises ConfigError naming the line."""
    try:
        module = ast.parse(text, filename=str(path))
    except SyntaxError as error:
        raise ConfigError(f"{path}: line {error.lineno}: {error.msg}") from None
    except (ValueError, MemoryError, RecursionError) as error:
        raise ConfigError(f"{path} can't be read as Python: {error or 'nested too deeply'}") from None
    names: dict[str, _Value | _NotRead] = {}
    for statement in module.body:
        _take(statement, names)
    data_dict = names.get("data_dict")
    if isinstance(data_dict, _NotRead):
        raise ConfigError(
            f"{path}: line {data_dict.line}: {data_dict.what}; data_dict must hold literals, f-strings and names of "
            "those: the file is read, not executed"
        )
    if data_dict is None or not isinstance(data_dict.is_, dict):
        raise ConfigError(f"{path} must assign a dict literal to data_dict")
    other = next((key for key in data_dict.is_ if not isinstance(key, str)), None)
    if other is not None:
        raise ConfigError(f"{path}: dataset name {other!r} must be a string")
    return data_dict.is_


def _take(statement: ast.stmt, names: dict[str, _Value | _NotRead]) -> None:
    """What the names are after the statement."""
    targets: list[ast.expr] = []
    value: ast.expr | None = None
    match statement:
        case ast.Assign() if all(isinstance(target, ast.Name) for target in statement.targets):
            targets, value = statement.targets, statement.value
        case ast.AnnAssign(target=ast.Name()):
            targets, value = [statement.target], statement.value
        case ast.Assign():
            pass
        case _ if not isinstance(statement, _CHANGING):
            return
    if value is None:
        for name in filter(None, map(_changed_name, ast.walk(statement))):
            names[name] = _NotRead(statement.lineno, f"{name} is set or changed there")
        return
    found: _Value | _NotRead
    try:
        found = _value(value, names)
    except _NotRead as error:
        found = error
    except RecursionError:
        found = _NotRead(statement.lineno, "this is nested too deeply")
    names.update((target.id, found) for target in targets if isinstance(target, ast.Name))


def _value(node: ast.expr, names: dict[str, _Value | _NotRead]) -> _Value:
    """Raises _NotRead."""
    match node:
        case ast.Constant(value=value):
            return _Value(value)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return _Value(-number)
        case ast.Name(id=name):
            found = names.get(name) or _NotRead(node.lineno, f"{name} is not assigned above in this file")
            if isinstance(found, _NotRead):
                raise found
            return found
        case ast.Dict():
            return _dict(node, names)
        case ast.List(elts=elements) | ast.Tuple(elts=elements):
            values = [_value(each, names) for each in elements]
            return _sized(node, [value.is_ for value in values], values)
        case ast.JoinedStr(values=pieces):
            return _text(node, [_piece(each, names) for each in pieces])
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _text(node, [_value(left, names).is_, _value(right, names).is_])
        case ast.Call(
            func=ast.Attribute(value=ast.Attribute(value=ast.Name(id="os"), attr="path"), attr="join"),
            args=[_, *_] as arguments,
            keywords=[],
        ):
            parts = [_value(each, names).is_ for each in arguments]
            return _text(node, [posixpath.join(*parts)] if all(isinstance(part, str) for part in parts) else parts)
    raise _NotRead(node.lineno, f"{type(node).__name__} is not read")


def _dict(node: ast.Dict, names: dict[str, _Value | _NotRead]) -> _Value:
    read: dict[Any, Any] = {}
    values = [_value(value, names) for value in node.values]
    for key, value in zip(node.keys, values, strict=True):
        if key is None and isinstance(value.is_, dict):  # {**COMMON, ...}
            read.update(value.is_)
            continue
        name = None if key is None else _value(key, names).is_
        if not isinstance(name, str | int):
            raise _NotRead(node.lineno, "this has keys that are no texts")
        if key is not None and name in read and not any(each is None for each in node.keys):
            raise _NotRead(key.lineno, f"{name!r} stands twice; keep one")
        read[name] = value.is_
    return _sized(node, read, values)


def _sized(node: ast.expr, value: Any, inner: list[_Value]) -> _Value:
    num_values = 1 + sum(each.num_values for each in inner)
    if num_values > _MOST_VALUES:
        raise _NotRead(node.lineno, "this stands for too many values")
    return _Value(value, num_values)


def _piece(node: ast.expr, names: dict[str, _Value | _NotRead]) -> Any:
    """A part of an f-string."""
    if not isinstance(node, ast.FormattedValue):
        return _value(node, names).is_
    if node.format_spec is not None or node.conversion not in (-1, ord("s")):
        raise _NotRead(node.lineno, "an f-string with a format is not read")
    value = _value(node.value, names).is_
    return str(value) if isinstance(value, str | int | float) else value


def _text(node: ast.expr, pieces: list[Any]) -> _Value:
    if not all(isinstance(piece, str) for piece in pieces):
        raise _NotRead(node.lineno, "this is not made of texts alone")
    text = "".join(pieces)
    if len(text) > _LONGEST_TEXT:
        raise _NotRead(node.lineno, f"a text of {len(text):,} characters is too long")
    return _Value(text)


def _changed_name(node: ast.AST) -> str | None:
    """The name that this node sets, deletes or may change: x = 1 in an `if`, x[...] = 1, x.update(...)."""
    match node:
        case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
            return name
        case ast.Subscript(value=ast.Name(id=name), ctx=ast.Store() | ast.Del()):
            return name
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name))):
            return name
    return None
