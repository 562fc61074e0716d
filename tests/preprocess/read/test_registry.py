"""Registries are read as literals, wrong ones are refused by name; the choice of records is exact and seeded."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from demo_build import Demo
from hypothesis import given
from hypothesis import strategies as st

from preprocess.errors import ConfigError
from preprocess.read.registry import Dataset, DatasetUse, choose_datasets, read_registry

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


# --- YAML ----------------------------------------------------------------------------------------------------------


def test_a_yaml_registry_with_paths_relative_to_itself(tmp_path: Path) -> None:
    text = """
coco: {annotation_path: coco.json, data_path: ../images}
数据 1:
  annotation_path: /data/x.jsonl
  data_path:
  follow_links: false
"""
    assert read_registry(write(tmp_path, text)) == {
        "coco": Dataset(
            name="coco", annotation_path=tmp_path / "coco.json", data_path=tmp_path.parent / "images", follow_links=True
        ),
        "数据 1": Dataset(name="数据 1", annotation_path=Path("/data/x.jsonl"), data_path=None, follow_links=False),
    }


def test_relative_paths_do_not_depend_on_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "elsewhere").mkdir()
    write(tmp_path / "config", "d: {annotation_path: d.json, data_path: media}")
    monkeypatch.chdir(tmp_path)
    registry = read_registry(Path("config/datasets.yaml"))
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert registry["d"].annotation_path == tmp_path / "config" / "d.json"
    assert registry["d"].data_path == tmp_path / "config" / "media"
    assert read_registry(Path("../config/datasets.yaml")) == registry


def test_the_parent_of_a_folder_behind_a_link_is_that_of_the_file_system(tmp_path: Path) -> None:
    (tmp_path / "real" / "config").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real" / "config")
    write(tmp_path / "link", "d: {annotation_path: ../d.json, data_path: sub/../../media}")
    dataset = read_registry(tmp_path / "link" / "datasets.yaml")["d"]
    assert dataset.annotation_path == tmp_path / "real" / "d.json"
    assert dataset.data_path == tmp_path / "real" / "media"


def test_data_path_is_otherwise_as_written(tmp_path: Path) -> None:
    """Absolute paths in annotations must be seen to be below it."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    path = write(tmp_path, f"d: {{annotation_path: link/d.json, data_path: {tmp_path}/link}}")
    assert read_registry(path)["d"].data_path == tmp_path / "link"
    assert read_registry(path)["d"].annotation_path == tmp_path / "link" / "d.json"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "must be a YAML mapping"),
        ("[a, b]", "must be a YAML mapping"),
        ("a: {annotation_path: x", "can't be read as YAML"),
        ("a: {annotation_path: 2026-13-45}", "can't be read as YAML"),
        ("[" * 500, "can't be read as YAML"),
        ("a: {annotation_path: x}\na: {annotation_path: y}", "'a' stands twice"),
        ("a: {annotation_path: x, annotation_path: y}", "'annotation_path' stands twice"),
        ("a: coco.json", "dataset 'a' must be a mapping"),
        ("a:", "dataset 'a' must be a mapping"),
        ("2014: {annotation_path: x}", "dataset 2014: the name must be text; put it in quotes"),
        ("no: {annotation_path: x}", "dataset False: the name must be text"),
        ("2026-01-31: {annotation_path: x}", "the name must be text; put it in quotes"),
        ('"": {annotation_path: x}', "dataset '': the name must be text"),
        ('"\\ud800": {annotation_path: x}', "the name must be text"),
        ("a: {data_path: x}", "annotation_path is missing"),
        ("a: {annotation_path: }", "annotation_path is missing"),
        ("a: {annotation_path: 5}", "annotation_path is missing or not a string"),
        ('a: {annotation_path: "a\\0b"}', "annotation_path 'a\\x00b' holds a NUL"),
        ('a: {annotation_path: "\\udce9.json"}', "is not UTF-8"),
        ('a: {annotation_path: x, data_path: "\\udce9"}', "data_path '\\udce9' is not UTF-8"),
        ("a: {annotation_path: x, data_path: [y, 1]}", "data_path must be a string, or a list of strings"),
        ("a: {annotation_path: x, follow_links: 1}", "follow_links must be true or false"),
        ("a: {annotation_path: x, annotation_pth: y}", "'annotation_pth'; did you mean 'annotation_path'?"),
        (
            "a: {annotation_path: x, sampling: y}",
            "'sampling'; known are ",
        ),
    ],
)
def test_a_wrong_registry_is_refused_with_what_to_change(tmp_path: Path, text: str, expected: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as raised:
        read_registry(path)
    assert expected in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["datasets.yaml", "datasets.py"])
def test_a_registry_that_can_not_be_read_is_named(tmp_path: Path, name: str) -> None:
    assert "No such file" in refusal(tmp_path / name)
    (tmp_path / name).mkdir()
    assert "Is a directory" in refusal(tmp_path / name)
    (tmp_path / f"2{name}").write_bytes(b"\xff\xfe\x00")
    assert "not UTF-8" in refusal(tmp_path / f"2{name}")


@pytest.mark.parametrize("text", ["a: {annotation_path: x}\r\n", "\ufeffa: {annotation_path: x}\n"])
def test_line_endings_and_marks_of_other_systems_are_read(tmp_path: Path, text: str) -> None:
    path = tmp_path / "datasets.yaml"
    path.write_bytes(text.encode())
    assert list(read_registry(path)) == ["a"]


# --- Python --------------------------------------------------------------------------------------------------------


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
        ("data_dict = make()", "must assign a dict literal to data_dict"),
        ("if True:\n    data_dict = {}", "must assign a dict literal to data_dict"),
        ("data_dict = {'a': ", "line 1:"),
        ("data_dict = {'a': \x00}", "null bytes"),
        ("-" * 10_000 + "1", "can't be read as Python"),
        ("data_dict = {'a': load('a.json')}", "line 1: data_dict must hold literals"),
        ("data_dict = {'a': A}", "line 1: data_dict must hold literals"),
        ("A = {'annotation_path': ROOT + '/a.json'}\ndata_dict = {'a': A}", "line 2: data_dict must hold literals"),
        ("data_dict = {'a': {[]: 1}}", "data_dict must hold literals"),
        ("data_dict = {**others}", "** is not read"),
        ("data_dict = {\n'a': {'annotation_path': 'x'},\n'a': {'annotation_path': 'y'}}", "line 3: dataset 'a' stands"),
        ("data_dict = {5: {'annotation_path': 'x'}}", "dataset name 5 must be a string"),
        ("data_dict = {(1, []): {'annotation_path': 'x'}}", "must be a string"),
        ("data_dict = {'a': 'x.json'}", "dataset 'a' must be a mapping"),
    ],
)
def test_a_python_registry_of_more_than_literals_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in refusal(write(tmp_path, text, "datasets.py"))


# --- dataset_use ---------------------------------------------------------------------------------------------------


REGISTRY = {
    name: Dataset(name=name, annotation_path=Path(f"{name}.json"), data_path=None)
    for name in ("coco", "clips", "talk of town", "a%b")
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("coco", [("coco", 100)]),
        ("coco%50,clips", [("coco", 50), ("clips", 100)]),
        ("clips,coco%50", [("clips", 100), ("coco", 50)]),
        ("coco%250", [("coco", 250)]),
        (" coco %50 , clips% 5 ,", [("coco", 50), ("clips", 5)]),
        ("coco\n,clips\n", [("coco", 100), ("clips", 100)]),
        ("talk of town%007", [("talk of town", 7)]),
        ("coco%999999", [("coco", 999999)]),
        ("a%b", [("a%b", 100)]),
        ("a%b%50", [("a%b", 50)]),
    ],
)
def test_dataset_use_is_parsed(text: str, expected: list[tuple[str, int]]) -> None:
    assert [(use.dataset.name, use.percent) for use in choose_datasets(REGISTRY, text)] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "dataset_use is empty; name datasets of the registry: coco, clips, talk of town, a%b"),
        (" , ", "dataset_use is empty"),
        ("cocoo", "unknown dataset 'cocoo'; did you mean 'coco'?"),
        ("Clips%50", "unknown dataset 'Clips'; did you mean 'clips'?"),
        ("xyz", "unknown dataset 'xyz'; the registry has coco, clips, talk of town, a%b"),
        ("coco%0", "'coco%0' takes nothing; leave the dataset out"),
        ("coco%000", "takes nothing"),
        ("coco%1000000", "'coco%1000000' is too much; at most coco%999999"),
        ("coco%" + "9" * 5000, "is too much"),
        ("coco%", "dataset_use: 'coco%': after % stands a whole number, for example coco%50"),
        ("coco%x", "dataset_use: 'coco%x': after % stands a whole number, for example coco%50"),
        ("coco % -5", "'coco % -5': after % stands a whole number, for example coco%50"),
        ("coco%1.5", "'coco%1.5': after % stands a whole number"),
        ("a%b%x", "'a%b%x': after % stands a whole number, for example a%b%50"),
        ("coc%x", "unknown dataset 'coc%x'; did you mean 'coco'?"),
        ("%50", "unknown dataset ''"),
        ("coco,clips,coco", "'coco' stands twice; say how often with %, for example coco%200"),
        ("coco%50,coco%60", "'coco' stands twice"),
        ("coco clips", "unknown dataset 'coco clips'"),
        ("coco\nclips", "unknown dataset 'coco\\nclips'"),
    ],
)
def test_a_wrong_dataset_use_is_refused(text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as raised:
        choose_datasets(REGISTRY, text)
    assert expected in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_chosen_dataset_has_its_folder_of_media(tmp_path: Path) -> None:
    (tmp_path / "media").mkdir()
    (tmp_path / "file").touch()
    entries = {"here": "media", "gone": "elsewhere", "file": "file", "absolute": ""}
    lines = [f"{name}: {{annotation_path: a.json, data_path: '{path}'}}\n" for name, path in entries.items()]
    path = write(tmp_path, "".join(lines))
    registry = read_registry(path)
    assert len(choose_datasets(registry, "here,absolute")) == 2
    for name, flaw in (("gone", "not an existing folder"), ("file", "a file, and no archive")):
        with pytest.raises(ConfigError) as raised:
            choose_datasets(registry, f"here,{name}%50")
        folder = tmp_path / entries[name]
        assert f"{path}: dataset {name!r}: data_path {folder} is {flaw}" in str(raised.value)


# --- the choice of records -----------------------------------------------------------------------------------------


def copies(name: str, percent: int, num_records: int, seed: int = 0) -> np.ndarray:
    dataset = Dataset(name=name, annotation_path=Path("anywhere"), data_path=None)
    return DatasetUse(dataset=dataset, percent=percent).copies(num_records, seed)


@given(
    num_records=st.integers(0, 300),
    percent=st.integers(1, 1000),
    seed=st.integers(0, 2**63),
    name=st.text(min_size=1, alphabet=st.characters(codec="utf-8")),
)
def test_exactly_that_many_records_are_used_as_evenly_as_can_be(
    num_records: int, percent: int, seed: int, name: str
) -> None:
    counts = copies(name, percent, num_records, seed)
    assert counts.shape == (num_records,)
    assert counts.sum() == num_records * percent // 100
    if num_records:
        assert counts.max() - counts.min() <= 1
        assert counts.min() == percent // 100


def test_above_a_hundred_every_record_repeats_and_some_once_more() -> None:
    assert np.bincount(copies("coco", 250, 101)).tolist() == [0, 0, 51, 50]
    assert copies("coco", 100, 5).tolist() == [1, 1, 1, 1, 1]
    assert copies("coco", 300, 5).tolist() == [3, 3, 3, 3, 3]


def test_the_choice_depends_on_seed_and_name_alone() -> None:
    chosen = copies("coco", 50, 1000, seed=3)
    other_place = Dataset(name="coco", annotation_path=Path("/moved"), data_path=Path("/x"), follow_links=False)
    np.testing.assert_array_equal(DatasetUse(dataset=other_place, percent=50).copies(1000, 3), chosen)
    assert not np.array_equal(copies("coco", 50, 1000, seed=4), chosen)
    assert not np.array_equal(copies("clips", 50, 1000, seed=3), chosen)


def test_the_choice_does_not_depend_on_the_other_datasets_or_their_order() -> None:
    def choice(text: str) -> dict[str, list[int]]:
        return {use.dataset.name: use.copies(200, 7).tolist() for use in choose_datasets(REGISTRY, text)}

    alone = choice("coco%30")["coco"]
    assert 0 < sum(alone) < 200
    assert choice("coco%30,clips%40")["coco"] == choice("clips%40,coco%30")["coco"] == alone
    assert choice("clips%40")["clips"] == choice("coco%99,clips%40")["clips"]


def test_a_larger_share_contains_the_smaller_one() -> None:
    few, many = copies("coco", 20, 500, seed=1), copies("coco", 60, 500, seed=1)
    assert few.sum() == 100
    assert np.all(many[few == 1] == 1)


def test_the_choice_is_the_same_on_every_machine() -> None:
    """What this version chose: another result means that equal seeds no longer give equal samples."""
    assert np.flatnonzero(copies("coco", 1, 1000, seed=0)).tolist() == [93, 257, 267, 377, 554, 570, 684, 795, 815, 816]


@pytest.mark.parametrize("name", ["a,b", ",", "a%50", "50%", "a%b", " a", "a ", "a\n", "\u3000a"])
@pytest.mark.parametrize("suffix", [".yaml", ".py"])
def test_names_that_dataset_use_could_not_say_are_refused(tmp_path: Path, name: str, suffix: str) -> None:
    entry = {name: {"annotation_path": "a.json"}}
    path = tmp_path / f"datasets{suffix}"
    path.write_text(f"data_dict = {entry!r}" if suffix == ".py" else json.dumps(entry), encoding="utf-8")
    with pytest.raises(ConfigError) as raised:
        read_registry(path)
    assert f"dataset {name!r}: dataset_use could not name it" in str(raised.value)


def test_blanks_inside_of_a_name_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "datasets.yaml"
    path.write_text("a b: {annotation_path: a.json}", encoding="utf-8")
    [use] = choose_datasets(read_registry(path), " a b % 50 ")
    assert (use.dataset.name, use.percent) == ("a b", 50)
