"""Registries in Python are read as what they say, and never executed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from demo_build import Demo

from preprocess.errors import ConfigError
from preprocess.read.registry import Dataset, read_registry

QWEN_STYLE = '''\
"""Datasets, as the Qwen fine-tuning scripts register them."""
import re
from pathlib import Path

Path({marker!r}).touch()  # would be noticed if this file were executed

COCO = {{"annotation_path": "coco.json", "data_path": "images"}}

CLIPS: dict = {{
    "annotation_path": "/data/clips.jsonl",
    "data_path": "",
}}

data_dict = {{
    "coco": COCO,
    "clips": CLIPS,
    "inline": {{"annotation_path": "a.parquet", "data_path": None, "follow_links": False}},
}}


def parse_sampling_rate(dataset_name):
    match = re.search(r"%(\\d+)$", dataset_name)
    return int(match.group(1)) / 100.0 if match else 1.0


if __name__ == "__main__":
    raise SystemExit(data_dict)
'''


def write(folder: Path, text: str, name: str = "datasets.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def refusal(path: Path) -> str:
    with pytest.raises(ConfigError) as raised:
        read_registry(path)
    message = str(raised.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def test_a_python_registry_is_read_and_never_executed(tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    path = write(tmp_path, QWEN_STYLE.format(marker=str(marker)), "datasets.py")
    registry = read_registry(path)
    assert not marker.exists()
    exec(QWEN_STYLE.format(marker=str(marker)), {"__name__": "registry"})  # that it would have had an effect
    assert marker.exists()
    assert registry == {
        "coco": Dataset(name="coco", annotation_path=tmp_path / "coco.json", data_path=tmp_path / "images"),
        "clips": Dataset(name="clips", annotation_path=Path("/data/clips.jsonl"), data_path=None),
        "inline": Dataset(name="inline", annotation_path=tmp_path / "a.parquet", data_path=None, follow_links=False),
    }


def test_both_registries_of_the_demo_say_the_same(demo: Demo) -> None:
    registry = read_registry(demo.registry)
    assert len(registry) == 8
    assert read_registry(demo.python_registry) == registry


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "must assign a dict literal to data_dict"),
        ("data_dict = []", "must assign a dict literal to data_dict"),
        ("data_dict = make()", "line 1: Call is not read; data_dict must hold literals"),
        ("if True:\n    data_dict = {}", "line 1: data_dict is set or changed there"),
        ("data_dict = {}\ndata_dict['a'] = {}", "line 2: data_dict is set or changed there"),
        ("data_dict = {}\ndata_dict.update(a={})", "line 2: data_dict is set or changed there"),
        ("data_dict = {}\nfor data_dict in x:\n    pass", "line 2: data_dict is set or changed there"),
        ("R = 'a'\nif x:\n    R = 'b'\ndata_dict = {'a': {'annotation_path': R}}", "line 2: R is set or changed"),
        ("R = 'a'\nR += 'b'\ndata_dict = {'a': {'annotation_path': R}}", "line 2: R is set or changed there"),
        ("data_dict = {'a': {'annotation_path': R}}\nR = 'a'", "line 1: R is not assigned above in this file"),
        ("data_dict = {'a': {'annotation_path': f'{1:03}'}}", "line 1: an f-string with a format is not read"),
        ("data_dict = {'a': {'annotation_path': f'{[1]}'}}", "line 1: this is not made of texts alone"),
        ("data_dict = {'a': {'annotation_path': 'a' + 1}}", "line 1: this is not made of texts alone"),
        ("data_dict = {'a': {'annotation_path': 'a' * 9}}", "line 1: BinOp is not read"),
        ("import os\ndata_dict = {'a': {'annotation_path': os.path.join('a', 1)}}", "this is not made of texts alone"),
        ("import os\ndata_dict = {'a': {'annotation_path': os.environ['A']}}", "line 2: Subscript is not read"),
        ("A = 'a'\n" + "A = f'{A}{A}'\n" * 40 + "data_dict = {A: {}}", "a text of 131,072 characters is too long"),
        ("A = ['a']\n" + "A = [A, A]\n" * 40 + "data_dict = {'a': A}", "this stands for too many values"),
        ("data_dict = {'a': " + "('a' + " * 90 + "'a'" + ")" * 90 + "}", "dataset 'a' must be a mapping"),
        ("data_dict = {'a': ", "line 1:"),
        ("data_dict = {'a': \x00}", "null bytes"),
        ("-" * 10_000 + "1", "can't be read as Python"),
        ("data_dict = {'a': load('a.json')}", "line 1: Call is not read; data_dict must hold literals"),
        ("data_dict = {'a': A}", "line 1: A is not assigned above in this file; data_dict must hold literals"),
        ("A = {'annotation_path': ROOT + '/a.json'}\ndata_dict = {'a': A}", "line 1: ROOT is not assigned above"),
        ("data_dict = {'a': {[]: 1}}", "line 1: this has keys that are no texts"),
        ("data_dict = {**others}", "line 1: others is not assigned above"),
        ("A = 'a'\ndata_dict = {**A}", "line 2: this has keys that are no texts"),
        (
            "data_dict = {\n'a': {'annotation_path': 'x'},\n'a': {'annotation_path': 'y'}}",
            "line 3: 'a' stands twice; keep one",
        ),
        ("data_dict = {5: {'annotation_path': 'x'}}", "dataset name 5 must be a string"),
        ("data_dict = {(1, []): {'annotation_path': 'x'}}", "this has keys that are no texts"),
        ("data_dict = {'a': 'x.json'}", "dataset 'a' must be a mapping"),
    ],
)
def test_a_python_registry_of_more_than_literals_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in refusal(write(tmp_path, text, "datasets.py"))


def test_constants_of_the_file_f_strings_and_joined_paths_are_read(tmp_path: Path) -> None:
    text = """
import os
ROOT = "/data"
VERSION: int = 2
IMAGES = os.path.join(ROOT, "images")
COMMON = {"data_path": IMAGES, "boxes": "original"}
A = {"annotation_path": f"{ROOT}/a_v{VERSION}.json", **COMMON}
ROOT = ROOT + "/more"
B = {**A, "annotation_path": [f"{ROOT!s}/b.json", ROOT + "/c" + ".json"], "boxes": "none"}
NAME = "b"
data_dict = {"a": A, f"{NAME}%1": B}
"""
    registry = read_registry(write(tmp_path, text, "datasets.py"))
    names: dict[str, Any] = {}
    exec(text, names)  # what Python makes of it
    said = names["data_dict"]
    assert list(registry) == list(said) == ["a", "b%1"]
    assert registry["a"].annotation_path == Path(said["a"]["annotation_path"]) == Path("/data/a_v2.json")
    assert registry["b%1"].annotation_path == tuple(map(Path, said["b%1"]["annotation_path"]))
    assert registry["b%1"].data_path == Path(said["b%1"]["data_path"]) == Path("/data/images")
    assert [registry[name].boxes for name in said] == [said[name]["boxes"] for name in said] == ["original", "none"]


def test_an_expression_that_is_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(1_000)  # Python's own; what else was imported may have raised it
    try:
        said = refusal(write(tmp_path, "data_dict = {'a': " + "'a' + " * 990 + "'a'}", "datasets.py"))
    finally:
        sys.setrecursionlimit(limit)
    assert "line 1: this is nested too deeply" in said
