"""Where golden files go, what each says about its origin, and the functions of the reference scripts.

Golden values are made from outside: nothing here imports preprocess, shards or train.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

GOLDEN = Path(__file__).resolve().parents[2] / "tests" / "golden"


def origin(what: str, *distributions: str) -> dict[str, str]:
    """`what` says whose values these are; `distributions` are those whose version may change them."""
    versions = {name: version(name) for name in ("numpy", *distributions)}
    return {"script": "scripts/make_golden.py", "what": what, "machine": platform.machine(), **versions}


def write_json(name: str, record: dict[str, Any]) -> None:
    """Two levels of keys on lines of their own: a changed value shows in a diff, without one line per number."""
    path = GOLDEN / name
    path.write_text(_spread(record, levels=2) + "\n", encoding="utf-8")
    print(f"{path}: {path.stat().st_size} bytes")


def _spread(value: Any, levels: int) -> str:
    if not levels or not isinstance(value, dict | list):
        return json.dumps(value, separators=(",", ":"))
    if isinstance(value, dict):
        items = [f"{json.dumps(key)}: {_spread(item, levels - 1)}" for key, item in value.items()]
        return "{\n" + ",\n".join(items) + "\n}"
    return "[\n" + ",\n".join(_spread(item, levels - 1) for item in value) + "\n]"


def write_arrays(name: str, source: dict[str, str], arrays: dict[str, np.ndarray]) -> None:
    """`source` is kept inside as the JSON text of the key `origin`."""
    path = GOLDEN / name
    np.savez_compressed(path, origin=np.array(json.dumps(source)), **arrays)
    print(f"{path}: {path.stat().st_size} bytes")


def sha256(array: np.ndarray) -> str:
    """Of the values' bytes, rows first, little-endian."""
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return hashlib.sha256(little.tobytes()).hexdigest()


def reference_folder() -> Path:
    """The value of --reference on the command line of a part that compares with QwenLM's scripts."""
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--reference", type=Path, required=True, help="folder qwen-vl-finetune/qwenvl/data of QwenLM/Qwen2.5-VL"
    )
    return parser.parse_args().reference


def reference_function(path: Path, name: str, namespace: dict[str, Any]) -> Callable[..., Any]:
    """One function of a file whose other imports (decord, torchcodec, its package) are not needed for it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    wanted = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
    if len(wanted) != 1:
        raise SystemExit(f"error: {path} holds {len(wanted)} functions named {name}; is this the right folder?")
    values = dict(namespace)
    # Annotations stay unread, and with them most of what the file imports.
    flags = annotations.compiler_flag
    exec(compile(ast.Module(body=wanted, type_ignores=[]), str(path), "exec", flags), values)
    return values[name]
