"""Who may import whom: preprocess and train meet only in shards, and nothing but train needs a deep-learning framework.

| package | imports of ours | mindspore | torch, transformers |
| --- | --- | --- | --- |
| preprocess | shards | no | no |
| shards | none | inside functions | no |
| train | shards | yes | no |

Inside a package, a wing (a folder, or a module beside it) imports only wings that stand further down in `WINGS`.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {"preprocess": {"shards"}, "shards": set(), "train": {"shards"}}
# From the top; wings of one line stand side by side, and none imports the other.
WINGS = {
    "preprocess": """
        __main__
        cli
        run
        report  certify
        output_dir
        write
        plan
        encode
        config
        read  ledger  timing
        media
        pixels
        arithmetic  jobs
        sample  streams
        errors
    """,
    "train": """
        __main__
        loop
        run
        building  graph_cache
        inputs  cli
        doctor  preflight  certify
        checkpoints
        adapters
        arguments
        steps
        cluster
        models
        weights
        reports
        errors  stop  terminal
    """,
    "shards": """
        __main__
        look  convert
        verify  dataset
        batch
        reader
        formats
        manifest
        segments  order
        inputs
        pack
        architecture  families
        model_folder
        model_constants
        flags
        files
        errors
    """,
}
MOST_MODULES = 14  # in a folder
MOST_LINES = 400  # of a file
MINDNLP = {"mindnlp", "mindtorch"}  # which puts a `torch` of its own into the process that imports it
FORBIDDEN_EVERYWHERE = {"torch", "torchvision", "transformers", "accelerate", "qwen_vl_utils"}


@dataclass(frozen=True)
class Import:
    package: str  # the first part of the module's name
    lazy: bool  # inside a function
    where: str


def imports(source: str, name: str) -> Iterator[Import]:
    """Imports of any kind, those inside of `if TYPE_CHECKING` and by name (import_module) included."""
    tree = ast.parse(source)
    inside_functions = {
        child
        for function in ast.walk(tree)
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for child in ast.walk(function)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module or ""] if not node.level else []
        elif isinstance(node, ast.Call) and _called(node.func) in {"import_module", "__import__"}:
            modules = [part.value for part in node.args[:1] if isinstance(part, ast.Constant)]
        else:
            continue
        for module in modules:
            yield Import(module.partition(".")[0], node in inside_functions, f"{name}:{node.lineno}")


def _called(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def imports_of(package: str) -> list[Import]:
    paths = sorted((ROOT / package).rglob("*.py"))
    assert len(paths) > 5
    return [
        found
        for path in paths
        for found in imports(path.read_text(encoding="utf-8"), str(path.relative_to(ROOT)))
        if found.package != package
    ]


def test_the_rule_sees_every_kind_of_import() -> None:
    source = """
import torch.nn as nn, os
from train.models.qwen2_5_vl.model import Model
from . import neighbour
if TYPE_CHECKING:
    from transformers import AutoModel
def load():
    import mindspore
    importlib.import_module("preprocess.plan.make")
    return lambda: __import__("torch")
"""
    found = {(each.package, each.lazy) for each in imports(source, "x.py")}
    assert found == {
        ("torch", False),
        ("os", False),
        ("train", False),
        ("transformers", False),
        ("mindspore", True),
        ("preprocess", True),
        ("torch", True),
    }


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_packages_import_only_the_packages_they_may(package: str) -> None:
    found = imports_of(package)
    ours = {each.package for each in found} & MAY_IMPORT.keys()
    assert ours == MAY_IMPORT[package], [each for each in found if each.package in ours - MAY_IMPORT[package]]


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_no_package_needs_another_framework(package: str) -> None:
    assert [each for each in imports_of(package) if each.package in FORBIDDEN_EVERYWHERE] == []


def test_mindnlp_is_imported_by_its_backend_alone_and_not_before_it_runs() -> None:
    found = [each for package in MAY_IMPORT for each in imports_of(package) if each.package in MINDNLP]
    assert {each.package for each in found} == MINDNLP
    assert [each for each in found if not each.lazy or not each.where.startswith("train/models/mindnlp/")] == []


def test_preprocess_and_shards_do_not_need_mindspore() -> None:
    assert [each for each in imports_of("preprocess") if each.package == "mindspore"] == []
    assert [each for each in imports_of("shards") if each.package == "mindspore" and not each.lazy] == []


def levels(package: str) -> dict[str, int]:
    """Wing -> its line, counted from the bottom."""
    lines = WINGS[package].split("\n")
    return {wing: len(lines) - number for number, line in enumerate(lines) for wing in line.split()}


def wing_imports(package: str) -> Iterator[tuple[str, str, str]]:
    """(wing, imported wing of the same package, where), for each import from another wing."""
    for path in sorted((ROOT / package).rglob("*.py")):
        wing = path.relative_to(ROOT / package).with_suffix("").parts[0]
        for module, name, line in modules_of_ours(path.read_text(encoding="utf-8")):
            parts = [*module.split("."), name]
            if parts[0] == package and parts[1] and wing not in ("__init__", parts[1]):
                yield wing, parts[1], f"{path.relative_to(ROOT)}:{line}"


def modules_of_ours(source: str) -> Iterator[tuple[str, str, int]]:
    """(module, name, line) of every import; the name is empty where a module as a whole is imported."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "", node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.module, alias.name, node.lineno) for alias in node.names)


@pytest.mark.parametrize("package", WINGS)
def test_a_wing_imports_only_wings_below_it(package: str) -> None:
    level = levels(package)
    found = list(wing_imports(package))
    assert len({wing for wing, _, _ in found}) > 5
    unknown = {wing for pair in found for wing in pair[:2]} - level.keys()
    assert not unknown, "give each a line in WINGS"
    assert [each for each in found if level[each[1]] >= level[each[0]]] == []


def test_the_rule_of_wings_sees_imports_inside_of_functions() -> None:
    source = "def load():\n    from preprocess import cli\n    import preprocess.run\n"
    assert list(modules_of_ours(source)) == [("preprocess", "cli", 2), ("preprocess.run", "", 3)]


@pytest.mark.parametrize("package", WINGS)
def test_rooms_stay_small(package: str) -> None:
    paths = sorted((ROOT / package).rglob("*.py"))
    folders = Counter(path.parent for path in paths if path.name != "__init__.py")
    assert {folder: count for folder, count in folders.items() if count > MOST_MODULES} == {}
    assert [path for path in paths if len(path.read_text(encoding="utf-8").splitlines()) > MOST_LINES] == []


IMPORT_EVERYTHING = """
import importlib, json, pkgutil, sys
for name in sys.argv[1:]:
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(package.__path__, name + "."):
        importlib.import_module(module.name)
print(json.dumps(sorted(sys.modules)))
"""


@pytest.mark.parametrize("packages", [("shards",), ("preprocess", "shards")])
def test_importing_every_module_loads_no_framework(packages: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_EVERYTHING, *packages], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    loaded = set(json.loads(done.stdout))
    assert {f"{package}.__main__" for package in packages if (ROOT / package / "__main__.py").exists()} <= loaded
    assert len([name for name in loaded if name.startswith(packages[0])]) > 5
    assert not loaded & ({"mindspore", "train"} | FORBIDDEN_EVERYWHERE)
    if "preprocess" not in packages:
        assert "preprocess" not in loaded
