"""What `dataset_use` says; the choice of records is exact and seeded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocess.errors import ConfigError
from preprocess.read.dataset_use import DatasetUse, choose_datasets
from preprocess.read.registry import Dataset, read_registry

REGISTRY = {
    name: Dataset(name=name, annotation_path=Path(f"{name}.json"), data_path=None)
    for name in ("coco", "clips", "talk of town", "a%b", "x,y%7", 'say "a"')
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
        ('"coco"', [("coco", 100)]),
        (" 'coco' % 50 ,clips", [("coco", 50), ("clips", 100)]),
        ('"x,y%7"%50,coco', [("x,y%7", 50), ("coco", 100)]),
        ("'x,y%7', \"a%b\"%5", [("x,y%7", 100), ("a%b", 5)]),
        ("'say \"a\"'", [('say "a"', 100)]),
        ('say "a"%5', [('say "a"', 5)]),
        ("all", [(name, 100) for name in ("coco", "clips", "talk of town", "a%b", "x,y%7", 'say "a"')]),
        ("*%20", [(name, 20) for name in ("coco", "clips", "talk of town", "a%b", "x,y%7", 'say "a"')]),
        ("c*%20, a*", [("coco", 20), ("clips", 20), ("a%b", 100)]),
        ("[ac]*o", [("coco", 100)]),
        ("?oco", [("coco", 100)]),
    ],
)
def test_dataset_use_is_parsed(text: str, expected: list[tuple[str, int]]) -> None:
    assert [(use.dataset.name, use.percent) for use in choose_datasets(REGISTRY, text)] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 'dataset_use is empty; name datasets of the registry: coco, clips, talk of town, a%b, x,y%7, say "a"'),
        (" , ", "dataset_use is empty"),
        ("cocoo", "unknown dataset 'cocoo'; did you mean 'coco'?"),
        ("Clips%50", "unknown dataset 'Clips'; did you mean 'clips'?"),
        ("xyz", "unknown dataset 'xyz'; the registry has coco, clips, talk of town, a%b, x,y%7, say \"a\""),
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
        ("d*", "no dataset fits 'd*'; the registry has coco, clips, "),
        ("COCO*", "no dataset fits 'COCO*'"),
        ("coco,c*", "'coco' stands twice"),
        ("all,clips", "'clips' stands twice"),
        ('"coco', "no \" closes '\"coco'"),
        ("'coco\"", "no ' closes"),
        ('"coco"50', 'a quoted name ends its part, or % follows: "name"%50'),
        ('"coco"%', "a quoted name ends its part, or % follows"),
        ('"coco" "clips"', "a quoted name ends its part"),
        ('"c*"', "unknown dataset 'c*'"),
        ('"coco"%0', "takes nothing"),
        ("x,y%7", "unknown dataset 'x'; names with a comma or a % stand in quotes: \"x,y%7\""),
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
    entries = {"here": "media", "gone": "elsewhere", "file": "file", "absolute": "", "archive": "none.tar.gz"}
    lines = [f"{name}: {{annotation_path: a.json, data_path: '{path}'}}\n" for name, path in entries.items()]
    path = tmp_path / "datasets.yaml"
    path.write_text("".join(lines))
    registry = read_registry(path)
    assert len(choose_datasets(registry, "here,absolute")) == 2
    flaws = {
        "gone": " is not an existing folder",
        "file": " is a file, and no archive",
        "archive": ": there is no such",
    }
    for name, flaw in flaws.items():
        with pytest.raises(ConfigError) as raised:
            choose_datasets(registry, f"here,{name}%50")
        folder = tmp_path / entries[name]
        assert f"{path}: dataset {name!r}: data_path {folder}{flaw}" in str(raised.value)


# --- the choice of records -------------------------------------------------------------------------------------------


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


def test_blanks_inside_of_a_name_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "datasets.yaml"
    path.write_text("a b: {annotation_path: a.json}", encoding="utf-8")
    [use] = choose_datasets(read_registry(path), " a b % 50 ")
    assert (use.dataset.name, use.percent) == ("a b", 50)


def test_a_dataset_called_all_is_that_one() -> None:
    registry = {**REGISTRY, "all": Dataset(name="all", annotation_path=Path("all.json"), data_path=None)}
    assert [use.dataset.name for use in choose_datasets(registry, "all")] == ["all"]


@pytest.mark.parametrize("percent", [30, 100, 250])
def test_a_limit_takes_the_first_of_the_chosen_records(percent: int) -> None:
    everything = copies("coco", percent, 100)
    for limit in (1, 7, 30, 100, 1000):
        [use] = choose_datasets(REGISTRY, f"coco%{percent}", limit)
        limited = use.copies(100, 0)
        last = np.flatnonzero(everything)[:limit][-1]
        np.testing.assert_array_equal(limited[: last + 1], everything[: last + 1])
        assert not limited[last + 1 :].any()
        assert use.num_chosen(100) == np.count_nonzero(limited) == min(limit, np.count_nonzero(everything))
