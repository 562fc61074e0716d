"""Registries are read, relative to themselves; wrong ones are refused by name; several are merged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from preprocess.errors import ConfigError
from preprocess.read.dataset_use import choose_datasets
from preprocess.read.registry import Dataset, read_registries, read_registry


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
        (
            "a: {annotation_path: s3://b/x.json}",
            "annotation_path s3://b/x.json is a URL; download",
        ),
        ("a: {annotation_path: []}", "annotation_path is missing or not a string, or a list of strings"),
        ("a: {annotation_path: [x, 5]}", "annotation_path is missing or not a string, or a list of strings"),
        ("a: {annotation_path: x, annotation_format: xml}", "annotation_format must be one of auto, json, jsonl, "),
        ("a: {annotation_path: x, path_case: lower}", "path_case must be one of exact, ignore, not 'lower'"),
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


# --- names, variables, several ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a,b", ",", "a%50", "50%", " a", "a ", "a\n", "\u3000a", "x'y", '"', "*", "all"])
@pytest.mark.parametrize("suffix", [".yaml", ".py"])
def test_any_name_can_be_said_in_quotes(tmp_path: Path, name: str, suffix: str) -> None:
    entry = {name: {"annotation_path": "a.json"}}
    path = tmp_path / f"datasets{suffix}"
    path.write_text(f"data_dict = {entry!r}" if suffix == ".py" else json.dumps(entry), encoding="utf-8")
    mark = "'" if '"' in name else '"'
    [use] = choose_datasets(read_registry(path), f" {mark}{name}{mark} % 50 ")
    assert (use.dataset.name, use.percent) == (name, 50)


def test_a_name_with_quotes_of_both_kinds_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, json.dumps({"a'b\"c": {"annotation_path": "a.json"}}))
    assert "dataset_use could not name it, with quotes of both kinds in it; rename it" in refusal(path)


def test_variables_and_homes_in_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("DATA_1", "/data")
    text = """
a: {annotation_path: ~/a.json, data_path: $DATA_1/images}
b: {annotation_path: ["${DATA_1}/x/*.json", sub/$DATA_1.json], data_path: [~, a$]}
"""
    registry = read_registry(write(tmp_path, text.replace("[~,", "['~',")))
    assert (registry["a"].annotation_path, registry["a"].data_path) == (Path("/home/me/a.json"), Path("/data/images"))
    assert registry["b"].annotation_path == (Path("/data/x/*.json"), tmp_path / "sub/data.json")
    assert registry["b"].data_path == (Path("/home/me"), tmp_path / "a$")


@pytest.mark.parametrize("key", ["annotation_path", "data_path"])
def test_a_variable_that_is_not_set_is_named(tmp_path: Path, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UNSET_ROOT", raising=False)
    entry = {"annotation_path": "a.json", key: "${UNSET_ROOT}/a"}
    said = refusal(write(tmp_path, json.dumps({"d": entry})))
    assert "dataset 'd': the variable ${UNSET_ROOT} is not set; export UNSET_ROOT, or write the path out" in said


def test_several_registries_are_merged_unless_they_share_a_name(tmp_path: Path) -> None:
    first = write(tmp_path, "a: {annotation_path: a.json}", "1.yaml")
    second = write(tmp_path, "data_dict = {'b': {'annotation_path': 'b.json'}}", "2.py")
    third = write(tmp_path, "c: {annotation_path: c.json}\na: {annotation_path: a.json}", "3.yaml")
    assert list(read_registries([first, second])) == ["a", "b"]
    with pytest.raises(ConfigError, match=r"dataset 'a' stands in .*1\.yaml and in .*3\.yaml; rename one"):
        read_registries([first, second, third])
