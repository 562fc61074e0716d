"""The plan says what a run writes, is a pure function of its input, and keeps together what belongs together."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ImageFile

import preprocess.media.videos.frames
from preprocess.arithmetic.chat import ChatEncoder
from preprocess.errors import FatalError
from preprocess.jobs.executor import ThisProcess
from preprocess.plan.inputs import open_sources
from preprocess.plan.make import make_plan
from preprocess.plan.summary import PlanSummary
from preprocess.plan.tables import read_table
from preprocess.run import choose_executor
from shards import PackCounts, count_pack
from shards.inputs import without_format
from shards.manifest import fingerprint_of
from tests.preprocess.workshop import Outcome, Workshop, samples_of, talk


def contents(folder: Path) -> dict[str, bytes]:
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert found
    return found


def keys_by_pack(outcome: Outcome) -> list[set[str]]:
    return [set(pack.sample_keys) for pack in outcome.packs]


def words(number: int) -> dict[str, Any]:
    """A record whose number of tokens grows with `number`."""
    return talk("Count: " + "one " * number, "Done.")


# --- what is planned is what is written ----------------------------------------------------------------------------


def test_counts_of_the_plan_are_those_of_what_is_written(demo_run: Outcome) -> None:
    plan, manifest = demo_run.plan, demo_run.manifest
    assert plan.totals == manifest.totals
    assert plan.totals.num_images > 0
    assert plan.totals.num_videos > 0
    assert plan.datasets == {name: dataset.counts for name, dataset in manifest.datasets.items()}
    assert (plan.num_packs, plan.num_shards) == (manifest.num_packs, len(manifest.shards))
    assert plan.num_shards > 2
    assert plan.rejects == {name: dict(d.rejects) for name, d in manifest.datasets.items() if d.rejects}
    assert sum((count_pack(pack) for pack in demo_run.packs), PackCounts()) == plan.totals


def test_every_row_of_the_packs_table_is_the_pack_that_was_written(demo_run: Outcome) -> None:
    samples = samples_of(demo_run.folder / "plan")
    rows = read_table(demo_run.folder / "plan" / "packs.arrow").to_pylist()
    packs = demo_run.packs
    assert len(rows) == len(packs) > 10
    for row, pack in zip(rows, packs, strict=True):
        keys = [samples[n].sample.key(repeat) for n, repeat in zip(row["samples"], row["repeats"], strict=True)]
        assert keys == list(pack.sample_keys)
        assert row["num_tokens"] == pack.num_tokens
        assert row["num_patches"] == len(pack.image_patches) + len(pack.video_patches)
        lengths = [samples[n].num_tokens for n in row["samples"]]
        np.testing.assert_array_equal(np.diff(pack.cu_seqlens), lengths)


def test_packs_stay_within_both_capacities(demo_run: Outcome) -> None:
    plan, maxima = demo_run.plan, demo_run.manifest.maxima
    assert 0 < maxima.tokens <= plan.pack_length == demo_run.manifest.pack_length
    assert 0 < maxima.patches <= plan.pack_patches == demo_run.manifest.pack_patches


def test_bytes_are_estimated_closely(demo_run: Outcome) -> None:
    written = sum(entry.num_bytes for entry in demo_run.manifest.shards)
    assert 0.97 < demo_run.plan.num_bytes / written <= 1.0
    sizes = [entry.num_bytes for entry in demo_run.manifest.shards]
    assert min(sizes[:-1]) > 5_000_000 * 0.9
    assert max(sizes) < 5_000_000 * 1.5


def test_planning_decodes_no_pixel(workshop: Workshop, demo_run: Outcome, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("a pixel was decoded")

    names = ["a.png", "a.jpg", "a.bmp", "a.gif", "a.tif", "a.webp"]
    workshop.dataset([talk("<image>", image=workshop.image(name)) for name in names])
    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    monkeypatch.setattr(preprocess.media.videos.frames, "decode_frames", fail)
    outcome = workshop.command("plan", *workshop.flags())
    assert outcome.code == 0, outcome.out + outcome.err
    assert "rejects: none" in outcome.out


def test_plan_prints_what_run_prints_and_writes_nothing(workshop: Workshop) -> None:
    workshop.dataset([talk(), talk("<image>", image=workshop.image()), talk(answer="")])
    before = contents(workshop.root)
    planned = workshop.command("plan", *workshop.flags("--max_reject_share=1"))
    assert planned.code == 0
    assert contents(workshop.root) == before
    ran = workshop.run("--max_reject_share=1")
    assert ran.out.startswith(planned.out)
    assert "1 pack: " in planned.out


def test_plan_answers_what_if_beside_a_finished_run(workshop: Workshop) -> None:
    workshop.dataset([talk("<image>", image=workshop.image(size=(280, 280)))])
    ran = workshop.run()
    assert ran.code == 0
    before = contents(ran.folder)
    smaller = workshop.command("plan", *workshop.flags("--max_pixels=28*28*4"))
    assert smaller.code == 0
    assert smaller.out != ran.out
    assert contents(ran.folder) == before


# --- a pure function -----------------------------------------------------------------------------------------------


def test_two_plans_are_byte_equal(workshop: Workshop, tmp_path: Path) -> None:
    image = workshop.image()
    workshop.dataset([words(n) for n in range(30)] + [talk("<image>", image=image), talk(answer="")])
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        config = workshop.config(output_dir=tmp_path / "out" / name, workers=2 if name == "one" else 0)
        with choose_executor(config) as executor:
            make_plan(config, open_sources(config), tmp_path / name, executor)
    assert set(contents(tmp_path / "one")) == {
        "plan.json",
        "samples/part-000000.arrow",
        "parts.arrow",
        "packs.arrow",
        "tasks.arrow",
        "rejects.jsonl",
    }
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_the_fingerprint_is_of_what_determines_the_bytes_and_nothing_else(workshop: Workshop, tmp_path: Path) -> None:
    workshop.dataset([talk(), talk("Two")])

    def fingerprint(**changes: Any) -> str:
        config = workshop.config(**changes)
        return open_sources(config).fingerprint

    base = fingerprint()
    same = {"workers": 3, "output_dir": tmp_path / "elsewhere", "max_reject_share": 0.9, "sample_timeout": 9.0}
    same |= {"executor": "ray", "task": "0/2", "reuse": tmp_path / "old", "overwrite": True, "hash_media": True}
    assert [fingerprint(**{name: value}) for name, value in same.items()] == [base] * len(same)
    different = {
        "seed": 1,
        "pack_length": 300,
        "pack_patches": 4000,
        "packing": "none",
        "max_pixels": 28 * 28 * 30,
        "base_interval": 1.0,
        "supervise_newline": False,
        "video_decoder": "decord",
        "dataset_use": "d%50",
        "shard_bytes": 12345,
    }
    prints = [fingerprint(**{name: value}) for name, value in different.items()]
    assert len({base, *prints}) == 1 + len(different)
    workshop.dataset([talk(), talk("Three")])
    assert fingerprint() != base
    workshop.dataset([talk(), talk("Two")], follow_links=False)
    assert fingerprint() != base
    workshop.dataset([talk(), talk("Two")], boxes="relative_1000")
    assert fingerprint() != base
    workshop.dataset([talk(), talk("Two")])
    assert fingerprint() == base
    config = workshop.config()
    plan = make_plan(config, open_sources(config), tmp_path, ThisProcess())
    assert plan.run_fingerprint("arrow") == base != plan.run_fingerprint("mindrecord")
    assert fingerprint(format="mindrecord") == plan.run_fingerprint("mindrecord")


def test_the_plan_is_the_same_for_every_file_format(workshop: Workshop, tmp_path: Path) -> None:
    workshop.dataset([talk("<image>", image=workshop.image())] * 3)
    for format in ("arrow", "mindrecord"):
        config = workshop.config(format=format)
        (tmp_path / format).mkdir()
        make_plan(config, open_sources(config), tmp_path / format, ThisProcess())
    assert contents(tmp_path / "arrow") == contents(tmp_path / "mindrecord")


def test_packs_are_in_seeded_order_and_not_in_order_of_length(workshop: Workshop) -> None:
    workshop.dataset([words(n) for n in range(60)])
    first, again, other = (
        keys_by_pack(workshop.run("--packing=none", f"--seed={seed}", out=f"out{n}"))
        for n, seed in enumerate((0, 0, 1))
    )
    assert first == again
    assert first != other
    assert sorted(map(sorted, first)) == sorted(map(sorted, other))
    lengths = [int(key.split(":")[1]) for keys in first for key in keys]
    assert abs(np.corrcoef(lengths, range(60))[0, 1]) < 0.4


# --- which samples -------------------------------------------------------------------------------------------------


def test_repeats_are_numbered_and_counted_each_time(workshop: Workshop) -> None:
    workshop.dataset([words(n) for n in range(4)], name="a")
    workshop.dataset([words(n) for n in range(4)], name="b")
    outcome = workshop.run("--dataset_use=a%250,b%50")
    copies = Counter(key.partition("#")[0] for key in outcome.keys)
    assert sorted(copies[f"a:{n}"] for n in range(4)) == [2, 2, 3, 3]
    assert sum(copies[f"b:{n}"] for n in range(4)) == 2
    assert len(set(outcome.keys)) == len(outcome.keys) == 12
    thrice = next(key for key, number in copies.items() if number == 3)
    assert {thrice, f"{thrice}#1", f"{thrice}#2"} <= set(outcome.keys)
    assert outcome.manifest.datasets["a"].counts.num_samples == 10
    assert outcome.plan.num_records == 6


def test_a_use_of_no_record_is_an_empty_dataset(workshop: Workshop) -> None:
    workshop.dataset([words(1)] * 9, name="few")
    workshop.dataset([words(1)], name="one")
    outcome = workshop.run("--dataset_use=few%10,one")
    assert outcome.code == 0
    assert outcome.keys == ["one:0"]
    assert outcome.manifest.datasets["few"].counts == PackCounts()


def test_keys_that_mean_nothing_are_counted(workshop: Workshop) -> None:
    workshop.dataset([talk(id=1, source="x"), talk(id=2), [talk(id=3), talk()], talk(id=4, imgae=1)], suffix=".json")
    outcome = workshop.run("--max_reject_share=1")
    assert outcome.plan.ignored_keys == {"id": 3, "source": 1}
    assert "ignored keys: id (3), source (1)" in outcome.out.splitlines()


# --- ready-made packs ----------------------------------------------------------------------------------------------


def test_a_ready_made_pack_stays_together_among_others(workshop: Workshop) -> None:
    records: list[Any] = [words(n) for n in range(20)]
    records[5:5] = [[words(3), words(40), words(1)]]
    records[11:11] = [[words(2), words(2)]]
    workshop.dataset(records)
    for seed in range(3):
        packs = keys_by_pack(workshop.run(f"--seed={seed}", out=f"out{seed}"))
        assert len(packs) > 3
        for together in ({"d:5.0", "d:5.1", "d:5.2"}, {"d:11.0", "d:11.1"}):
            assert [pack for pack in packs if pack & together] == [pack for pack in packs if together <= pack] != []


def test_a_repeated_ready_made_pack_stays_together_in_each_repeat(workshop: Workshop) -> None:
    workshop.dataset([[words(30), words(30)], *[words(20)] * 5])
    packs = keys_by_pack(workshop.run("--dataset_use=d%300"))
    for repeat in ("", "#1", "#2"):
        [home] = [pack for pack in packs if f"d:0.0{repeat}" in pack]
        assert f"d:0.1{repeat}" in home


def test_a_bad_member_of_a_ready_made_pack_loses_only_itself(workshop: Workshop) -> None:
    workshop.dataset([[words(1), talk(answer=""), words(2), "text", [words(1)]], words(3)])
    outcome = workshop.run("--max_reject_share=1")
    assert outcome.keys == ["d:0.0", "d:0.2", "d:1"]
    places = [(reject["index"], reject["member"], reject["reason"]) for reject in outcome.rejects]
    assert places == [(0, 1, "nothing_to_learn"), (0, 3, "bad_json"), (0, 4, "bad_json")]


@pytest.mark.parametrize(
    ("flag", "reason"), [("--pack_length=100", "too_long"), ("--pack_patches=40", "too_many_patches")]
)
def test_a_ready_made_pack_over_capacity_is_rejected_whole(workshop: Workshop, flag: str, reason: str) -> None:
    sample = talk("<image> " + "one " * 20, image=workshop.image())
    workshop.dataset([[sample, talk(answer=""), sample], sample])
    outcome = workshop.run(flag, "--max_reject_share=1")
    assert outcome.keys == ["d:1"]
    assert [(r["index"], r["member"], r["reason"]) for r in outcome.rejects] == [
        (0, 0, reason),
        (0, 1, "nothing_to_learn"),
        (0, 2, reason),
    ]
    assert "2 samples of a ready-made pack have" in outcome.rejects[0]["detail"]


def test_a_ready_made_pack_fits_when_its_bad_member_is_gone(workshop: Workshop) -> None:
    workshop.dataset([[words(60), {**words(60), "image": "missing.png"}, words(60)]], annotation_format="jsonl")
    outcome = workshop.run("--pack_length=200", "--max_reject_share=1")
    assert outcome.keys == ["d:0.0", "d:0.2"]


@pytest.mark.parametrize("command", ["run", "sweep"])
def test_a_text_that_is_too_long_for_sure_is_not_tokenized(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    encode = ChatEncoder.encode

    def encode_short(self: ChatEncoder, turns: Any, *media: Any) -> Any:
        assert max(len(turn.text) for turn in turns) < 10_000, "this takes minutes where it is long"
        return encode(self, turns, *media)

    monkeypatch.setattr(ChatEncoder, "encode", encode_short)
    long = talk("<image>", "long " * 100_000, image=workshop.image())
    workshop.dataset([long, words(3), [words(1), long, words(2)]])
    if command == "sweep":
        assert "pack_length" in workshop.command("plan", *workshop.flags("--sweep=pack_length=100,256")).out
        return
    outcome = workshop.run("--max_reject_share=1")
    assert outcome.keys == ["d:1"]
    assert {reject["reason"] for reject in outcome.rejects} == {"too_long"}
    first, *others = outcome.rejects
    assert re.fullmatch(
        r"its text has 500,007 characters, which are at least [\d,]+ tokens; "
        r"pack_length is 256; split the conversation",
        first["detail"],
    )
    assert [(reject["index"], reject["member"]) for reject in others] == [(2, 0), (2, 1), (2, 2)]
    assert others[0]["detail"] == others[2]["detail"] == "d:2.1, of the same ready-made pack, is too long"


@pytest.mark.parametrize(("image", "advice"), [(False, "split the conversation"), (True, "lower the pixel limits")])
def test_what_to_do_about_a_long_sample_follows_from_what_is_in_it(
    workshop: Workshop, image: bool, advice: str
) -> None:
    media = {"image": workshop.image()} if image else {}
    workshop.dataset([talk(("<image>" if image else "") + "one " * 200, **media), words(1)])
    [reject] = workshop.run("--pack_length=100", "--max_reject_share=1").rejects
    assert reject["detail"].endswith(f"raise it, or {advice}")


def test_an_empty_ready_made_pack_is_a_reject(workshop: Workshop) -> None:
    workshop.dataset([[], words(1)])
    [reject] = workshop.run("--max_reject_share=1").rejects
    assert (reject["index"], reject["reason"]) == (0, "no_turns")
    assert "member" not in reject


# --- without packing -----------------------------------------------------------------------------------------------


def test_without_packing_every_sample_is_a_row(workshop: Workshop) -> None:
    workshop.dataset([words(n) for n in range(9)] + [[words(1), words(2)]])
    outcome = workshop.run("--packing=none", "--dataset_use=d%200")
    assert len(outcome.packs) == 22
    assert all(len(pack) == 1 for pack in keys_by_pack(outcome))
    assert len(set(outcome.keys)) == 22
    assert outcome.plan.pack_patches == 0


def test_without_packing_capacities_are_those_of_single_samples(workshop: Workshop) -> None:
    workshop.dataset([[words(60), words(60)], words(60), words(200)])
    outcome = workshop.run("--packing=none", "--pack_length=100", "--max_reject_share=1")
    assert outcome.keys == ["d:0.0", "d:0.1", "d:1"]
    assert [reject["reason"] for reject in outcome.rejects] == ["too_long"]


# --- annotations that change under our hands -----------------------------------------------------------------------


@pytest.mark.parametrize("change", [lambda lines: lines[:-1], lambda lines: [*lines, lines[0]]], ids=["fewer", "more"])
def test_annotations_that_change_while_they_are_read_stop_the_plan(
    workshop: Workshop, tmp_path: Path, change: Any
) -> None:
    workshop.dataset([words(n) for n in range(5)])
    sources = open_sources(workshop.config())
    assert sources.num_records == 5  # opens them
    path = workshop.root / "d.jsonl"
    path.write_text("".join(change(path.read_text().splitlines(keepends=True))))
    with pytest.raises(FatalError, match=rf"{path} changed while .* with --overwrite"):
        make_plan(workshop.config(), sources, tmp_path, ThisProcess())
    assert PlanSummary.read(tmp_path) is None


def test_the_plan_on_disk_says_where_each_medium_is(workshop: Workshop) -> None:
    name = workshop.image(size=(60, 90))
    workshop.dataset([talk("<image>", image=name)])
    outcome = workshop.run()
    [measured] = samples_of(outcome.folder / "plan")
    [image] = measured.images
    status = (workshop.media / name).stat()
    assert image.source.path == str(workshop.media / name)
    assert (image.stamp.num_bytes, image.stamp.version) == (status.st_size, status.st_mtime_ns)
    assert (image.height, image.width, image.grid_thw) == (90, 60, (1, 6, 4))


def test_plan_json_is_readable(demo_run: Outcome) -> None:
    record = json.loads((demo_run.folder / "plan" / "plan.json").read_text())
    assert record["inputs"]["config"]["pack_length"] == record["pack_length"]
    assert record["fingerprint"] == fingerprint_of(record["inputs"])
    assert without_format(demo_run.manifest.inputs) == record["inputs"] != demo_run.manifest.inputs
