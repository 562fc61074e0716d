"""The plan table and the summary of a run, as a user reads them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from preprocess.plan.summary import PlanSummary
from preprocess.report.terminal import note_lines, plan_table, reject_lines, run_summary
from preprocess.sample import Note
from preprocess.write.publish import Published
from shards import DatasetSummary, Manifest, PackCounts, PackMaxima, ShardEntry
from tests.shards.packs import CONSTANTS

COCO = PackCounts(
    num_samples=1200,
    num_tokens=900_000,
    num_label_tokens=40_000,
    num_images=1300,
    num_videos=2,
    num_image_patches=2_400_000,
    num_video_patches=400,
)
PLAN = PlanSummary(
    fingerprint="f00d",
    inputs={"config": {"pack_patches": "auto", "packing": "global"}},
    datasets={"coco": COCO, "数据": PackCounts(num_samples=3, num_tokens=100, num_label_tokens=9)},
    rejects={"coco": {"too_long": 7, "bad_json": 1000}, "other": {"too_long": 1}},
    num_records=2211,
    ignored_keys={},
    num_packs=250,
    num_shards=2,
    pack_length=4096,
    pack_patches=10_000,
    largest_unit_patches=3000,
    num_bytes=3 << 30,
    largest_row_bytes=0,
)


def test_the_plan_table() -> None:
    assert plan_table(PLAN, CONSTANTS).splitlines() == [
        "dataset  samples   tokens  visual tokens  label tokens  images  videos  rejects",
        "coco       1,200  900,000        600,100        40,000   1,300       2    1,007",
        "数据             3      100              0             9       0       0        0",
        "all        1,203  900,100        600,100        40,009   1,300       2    1,008",
        "250 packs: 87.9% of 4,096 tokens and 96.0% of 10,000 patches used; 2 shards, about 3.0 GiB",
        "pack_patches auto: from the data's 2.67 patches a token and 2.5% of room; "
        "the largest sample has 3,000 patches",
        "rejects: 1,008 of 2,211 samples (45.6%): bad_json 1,000, too_long 8",
    ]


def test_one_dataset_needs_no_sum() -> None:
    table = plan_table(replace(PLAN, datasets={"coco": COCO}, rejects={}), CONSTANTS)
    assert "all " not in table
    assert table.splitlines()[-1] == "rejects: none"


def test_a_plan_of_nothing_is_shown() -> None:
    nothing = replace(
        PLAN,
        datasets={"coco": PackCounts()},
        rejects={},
        num_records=0,
        num_packs=0,
        num_shards=0,
        num_bytes=0,
        pack_patches=0,
        largest_unit_patches=0,
    )
    assert plan_table(nothing, CONSTANTS).splitlines()[1:] == [
        "coco           0       0              0             0       0       0        0",
        "0 packs: 0.0% of 4,096 tokens and 0.0% of 0 patches used; 0 shards, about 0 B",
        "rejects: none",
    ]


def lines_about(word: str, **changes: Any) -> list[str]:
    return [line for line in plan_table(replace(PLAN, **changes), CONSTANTS).splitlines() if word in line]


def test_where_the_largest_sample_sets_the_capacity_the_plan_says_so() -> None:
    balanced = 11_200  # 4096 * 2,400,400 / 900,100 * 1.025, rounded up to a multiple of 4
    for largest, reason in (
        (balanced, "from the data's 2.67 patches a token and 2.5% of room; the largest sample has 11,200 patches"),
        (
            balanced + 4,
            "the largest sample's 11,204 patches; without it 11,200, "
            "from the data's 2.67 patches a token and 2.5% of room",
        ),
    ):
        assert lines_about("auto", largest_unit_patches=largest) == [f"pack_patches auto: {reason}"]


def test_without_packing_the_largest_sample_sets_the_capacity() -> None:
    config = {"pack_patches": "auto", "packing": "none"}
    assert lines_about("auto", inputs={"config": config}) == [
        "pack_patches auto: the largest sample's 3,000 patches, since nothing is packed"
    ]


def test_ignored_keys_are_named_the_frequent_ones_first() -> None:
    keys = {"id": 5, "source": 2000, "键": 1, "\ud800\n": 1}
    assert lines_about("ignored", ignored_keys=keys) == [r"ignored keys: source (2,000), id (5), 键 (1), \ud800\n (1)"]


def test_of_many_ignored_keys_the_most_frequent_are_named() -> None:
    [line] = lines_about("ignored", ignored_keys={f"key{n}": 1 + (n == 77) for n in range(100)})
    assert line.startswith("ignored keys: key77 (2), key0 (1), ")
    assert line.endswith("key18 (1), and 80 others")


def test_rejects_are_summed_over_datasets() -> None:
    assert reject_lines({"a": {"too_long": 1}, "b": {"too_long": 2, "bad_json": 1}}, 8) == [
        "rejects: 4 of 8 samples (50.0%): bad_json 1, too_long 3"
    ]
    assert reject_lines({"a": {}}, 8) == ["rejects: none"]
    assert reject_lines({}, 0) == ["rejects: none"]


def manifest(**rejects: int) -> Manifest:
    return Manifest(
        format="arrow",
        fingerprint="f00d",
        inputs={},
        model=CONSTANTS,
        pack_length=4096,
        pack_patches=10_000,
        maxima=PackMaxima(),
        totals=COCO,
        datasets={"coco": DatasetSummary(counts=COCO, rejects=rejects)},
        shards=(
            ShardEntry(name="a", num_packs=1000, num_bytes=1 << 20, sha256=""),
            ShardEntry(name="b", num_packs=234, num_bytes=1 << 19, sha256=""),
        ),
    )


def test_the_summary_of_a_run_as_planned() -> None:
    published = Published(manifest=manifest(), lost=PackCounts())
    assert run_summary(published, PLAN, Path("out")).splitlines() == [
        "wrote 1,234 packs, 1,200 samples, 1.5 MiB in 2 shards to out",
        "as planned: no sample was lost while decoding",
        "rejects: none",
    ]


def test_the_summary_of_a_run_that_lost_samples() -> None:
    published = Published(manifest=manifest(undecodable=3), lost=PackCounts(num_samples=6, num_tokens=12_345))
    assert run_summary(published, PLAN, Path("out")).splitlines()[1:] == [
        "differs from the plan: 6 samples (12,345 tokens) could not be decoded",
        "rejects: 3 of 2,211 samples (0.1%): undecodable 3",
        "each reject, with what is wrong, stands in out/rejects.jsonl; to use mended ones, run into a new folder",
    ]


def test_every_note_is_said_in_words_for_its_dataset() -> None:
    notes = {name: number for number, name in enumerate(get_args(Note), start=1000)}
    lines = note_lines({"a": notes, "b\x1b": {"other_answers": 1}})
    assert len(lines) == len(notes) + 1
    assert lines[0] == "a: 1,000 samples have videos and no images; their <image> tags mean videos"
    assert lines[-1] == r"b\x1b: 1 question has several answers; the first was taken"
