"""plan --sweep: every line is what a plan with that configuration says, and the data is measured once."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from demo_clips import write_clip
from demo_model import write_model_folder
from PIL import Image, ImageFile

import shards.formats.mindrecord
from preprocess.cli.commands import main
from preprocess.cli.sweep_arguments import parse_plan
from preprocess.config import SWEEPABLE, RunConfig, Sweep
from preprocess.encode import SampleEncoder
from preprocess.errors import ConfigError
from preprocess.jobs.executor import ThisProcess
from preprocess.plan.inputs import open_sources
from preprocess.plan.make import make_plan
from preprocess.plan.summary import PlanSummary
from preprocess.plan.sweep import InEveryLine, SweepLine, run_sweep
from preprocess.sample import MeasuredSample, Sample
from shards import RowTooLarge


def sweep_of(flags: list[str], folder: Path) -> tuple[Sweep, InEveryLine, list[SweepLine]]:
    asked = parse_plan(flags, lambda line: None)
    config, sweep = asked.config, asked.sweep
    assert sweep is not None
    folder.mkdir()
    return (sweep, *run_sweep(config, sweep, open_sources(config), folder, ThisProcess()))


def plan_of(config: RunConfig, folder: Path) -> PlanSummary:
    folder.mkdir()
    return make_plan(config, open_sources(config), folder, ThisProcess())


def numbers(plan: PlanSummary) -> dict[str, Any]:
    """What a line of the table says, taken from a plan."""
    totals = plan.totals
    return {
        "num_samples": totals.num_samples,
        "num_rejects": plan.num_rejects,
        "num_tokens": totals.num_tokens,
        "num_patches": totals.num_image_patches + totals.num_video_patches,
        "num_packs": plan.num_packs,
        "pack_length": plan.pack_length,
        "pack_patches": plan.pack_patches,
        "num_bytes": plan.num_bytes,
    }


def assert_lines_are_plans(flags: list[str], folder: Path) -> list[dict[str, Any]]:
    """Compare every combination with a plan of its own; the numbers of all, for what else a test wants to know."""
    sweep, _, sweep_lines = sweep_of(flags, folder / "sweep")
    lines = []
    for combination, line in zip(sweep.combinations, sweep_lines, strict=True):
        name = "-".join(("plan", *combination.values)).replace("*", "x")
        plan = plan_of(replace(combination.config, workers=0), folder / name)
        lines.append(numbers(plan))
        said = {name: getattr(line, name) for name in lines[-1]}
        assert said == lines[-1], combination.values
        assert line.num_steps == line.num_packs
    return lines


def all_differ(lines: list[dict[str, Any]], name: str) -> bool:
    return len({line[name] for line in lines}) == len(lines)


@pytest.fixture
def flags(demo: Any) -> list[str]:
    return ["--config", str(demo.config), "--workers", "0"]


def test_lines_are_plans_where_pixels_length_and_packing_change(flags: list[str], tmp_path: Path) -> None:
    used = ["--dataset_use", "charts%250,pages,clips%50,bundles%130,talk,flawed"]
    sweep = ["--sweep", "max_pixels=32*28*28,128*28*28", "pack_length=200,768", "packing=global,none"]
    lines = assert_lines_are_plans([*flags, *used, *sweep], tmp_path)
    assert len(lines) == 8
    assert len({line["num_rejects"] for line in lines}) > 4, "sizes must matter for what is rejected"
    together, alone = lines[0], lines[1]
    assert together["num_rejects"] > alone["num_rejects"], "a ready-made pack must be too long only as a whole"


def test_lines_are_plans_where_patches_are_bounded(flags: list[str], tmp_path: Path) -> None:
    sweep = ["--sweep", "pack_patches=auto,200,600", "min_pixels=4*28*28,64*28*28", "max_pixels=64*28*28"]
    lines = assert_lines_are_plans([*flags, *sweep], tmp_path)
    rejects = [line["num_rejects"] for line in lines]
    assert rejects[0] < rejects[4] < rejects[2], "the bound on patches must reject samples"


def test_lines_are_plans_where_videos_are_sampled_otherwise(flags: list[str], tmp_path: Path) -> None:
    frames = ["base_interval=0.3,0.6", "video_min_frames=2,7", "video_max_frames=8,11"]
    limits = ["video_max_frame_pixels=12*28*28,36*28*28"]
    lines = assert_lines_are_plans([*flags, "--dataset_use", "clips,talk", "--sweep", *frames, *limits], tmp_path)
    assert len(lines) == 16
    assert len({line["num_patches"] for line in lines}) == 6


def test_lines_are_plans_where_video_frames_grow(flags: list[str], tmp_path: Path) -> None:
    words = [*flags, "--dataset_use", "clips", "--video_max_frame_pixels", "70*28*28", "--pack_length", "1024"]
    lines = assert_lines_are_plans([*words, "--sweep", "video_min_frame_pixels=4*28*28,60*28*28"], tmp_path)
    assert lines[0]["num_patches"] < lines[1]["num_patches"]


def write_boxes(folder: Path) -> list[str]:
    """Answers whose coordinates gain digits as the image grows, and some of another dataset, which stay as they are."""
    Image.new("RGB", (600, 400)).save(folder / "wide.png")
    Image.new("RGB", (300, 500)).save(folder / "tall.png")
    answer = '{"bbox_2d": [60, 80, 590, 390], "image_index": 0}, {"point_2d": [299, 250], "image_index": 1}'
    for name in ("moving", "fixed"):
        record = {
            "images": ["wide.png", "tall.png"],
            "conversations": [
                {"from": "human", "value": "<image><image>Where?"},
                {"from": "gpt", "value": f"[{answer}]" * (3 if name == "moving" else 1)},
            ],
        }
        (folder / f"{name}.json").write_text(json.dumps([record, record]))
    moving = "{annotation_path: moving.json, data_path: ., boxes: original}"
    (folder / "datasets.yaml").write_text(f"moving: {moving}\nfixed: {{annotation_path: fixed.json, data_path: .}}\n")
    return ["--datasets", str(folder / "datasets.yaml"), "--dataset_use", "fixed,moving%200"]


@pytest.mark.parametrize("workers", [0, 2])
def test_lines_are_plans_where_boxes_follow_the_pixels(flags: list[str], tmp_path: Path, workers: int) -> None:
    words = [*flags, *write_boxes(tmp_path), "--workers", str(workers), "--min_pixels", "784"]
    sweep = ["--sweep", "max_pixels=4*28*28,40*28*28,400*28*28", "pack_length=600,2000"]
    lines = assert_lines_are_plans([*words, *sweep], tmp_path)
    text_tokens = [line["num_tokens"] - line["num_patches"] // 4 for line in lines if line["pack_length"] == 2000]
    assert len(set(text_tokens)) > 1, "the text must change with the pixels"


@pytest.fixture(scope="module")
def qwen3(demo: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder of a family that writes the times of frames into the text; its tokenizer is another one, too."""
    folder = tmp_path_factory.mktemp("models") / "qwen3"
    write_model_folder(folder, ["What is this? It is a red square.", "<0.3 seconds>"], family="qwen3_vl")
    return folder


def test_lines_are_plans_where_the_model_is_another_one(
    flags: list[str], tmp_path: Path, demo: Any, qwen3: Path
) -> None:
    words = [*flags, "--dataset_use", "charts,clips,talk,flawed,shapes", "--pack_length", "1500"]
    sweep = ["--sweep", f"model={demo.model},{qwen3}", "max_pixels=32*28*28,100*28*28"]
    asked = parse_plan([*words, *sweep], lambda line: None)
    config, parsed = asked.config, asked.sweep
    assert parsed is not None
    (tmp_path / "sweep").mkdir()
    common, sweep_lines = run_sweep(config, parsed, open_sources(config), tmp_path / "sweep", ThisProcess())
    for number, (combination, line) in enumerate(zip(parsed.combinations, sweep_lines, strict=True)):
        plan = plan_of(replace(combination.config, workers=0), tmp_path / str(number))
        assert {name: getattr(line, name) for name in numbers(plan)} == numbers(plan), combination.values
    assert all_differ([vars(line) for line in sweep_lines], "num_tokens")
    assert sum(sum(reasons.values()) for reasons in common.rejects.values()) == 3


@pytest.mark.parametrize("workers", [0, 2])
def test_lines_are_plans_where_times_of_frames_stand_in_the_text(
    flags: list[str], tmp_path: Path, qwen3: Path, workers: int
) -> None:
    words = [*flags, "--model", str(qwen3), "--dataset_use", "clips,talk,shapes", "--pack_length", "2000"]
    words += ["--video_sampling", "qwen3", "--workers", str(workers)]
    lines = assert_lines_are_plans([*words, "--sweep", "video_fps=1,3,8", "video_max_frames=6,12"], tmp_path)
    text_tokens = {line["num_tokens"] - line["num_patches"] // 4 for line in lines}
    assert len(text_tokens) > 2, "the text must change with the frames"


def test_lines_are_plans_with_and_without_limits_over_all_frames(tmp_path: Path, qwen3: Path) -> None:
    """A video below 32 pixels is rejected by one rule and not by the other."""
    write_clip(tmp_path / "low.mp4", size=(96, 24), fps=4, num_frames=8)
    write_clip(tmp_path / "high.mp4", size=(400, 300), fps=4, num_frames=8)
    turns = [{"from": "human", "value": "<video>What?"}, {"from": "gpt", "value": "A clip."}]
    records = [{"video": name, "conversations": turns} for name in ("low.mp4", "high.mp4")]
    (tmp_path / "d.json").write_text(json.dumps(records))
    (tmp_path / "datasets.yaml").write_text("d: {annotation_path: d.json, data_path: .}\n")
    values = {"model": qwen3, "datasets": tmp_path / "datasets.yaml", "dataset_use": "d", "output_dir": "out"}
    words = [f"--{name}={value}" for name, value in values.items()]
    sweep = ["--workers=0", "--sweep", "video_total_pixels=null,150*32*32,400*32*32"]
    lines = assert_lines_are_plans([*words, *sweep], tmp_path)
    assert [line["num_rejects"] for line in lines] == [0, 1, 1]
    assert lines[1]["num_patches"] < lines[2]["num_patches"]


def test_many_combinations_measure_each_sample_once_and_decode_no_pixel(
    flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[str] = []
    measure = SampleEncoder.measure

    def counting(self: SampleEncoder, sample: Sample) -> MeasuredSample:
        measured.append(sample.key())
        return measure(self, sample)

    def refuse(self: ImageFile.ImageFile) -> None:
        raise AssertionError(f"{self} is decoded")

    monkeypatch.setattr(SampleEncoder, "measure", counting)
    monkeypatch.setattr(ImageFile.ImageFile, "load", refuse)
    sweep = ["--sweep", "max_pixels=25088,50176,100352", "pack_length=256,512,1024"]
    _, totals, sweep_lines = sweep_of([*flags, "--dataset_use", "charts,scenes", *sweep], tmp_path / "sweep")
    assert len(sweep_lines) == 9
    assert all_differ([vars(line) for line in sweep_lines if line.pack_length == 1024], "num_tokens")
    assert len(measured) == len(set(measured)) == totals.num_records


def test_a_line_says_where_run_refuses_its_configuration(
    flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards.formats.mindrecord, "MAX_PAGE_BYTES", 1_000_000)
    swept = ["--format", "mindrecord", "--sweep", "packing=none,global", "max_pixels=3136,401408"]
    sweep, _, sweep_lines = sweep_of([*flags, *swept], tmp_path / "sweep")
    refused = []
    for combination, line in zip(sweep.combinations, sweep_lines, strict=True):
        try:
            plan_of(replace(combination.config, workers=0), tmp_path / "-".join(combination.values))
            assert line.values == combination.values
        except RowTooLarge:
            *others, last = combination.values
            assert line.values == (*others, f"{last} (refused: a pack is over a MindRecord page)")
            refused.append(combination)
    assert 0 < len(refused) < len(sweep_lines)


def test_a_folder_without_a_usable_sample_gives_lines_of_zeros(flags: list[str], tmp_path: Path) -> None:
    (tmp_path / "none.jsonl").write_text('{"image": "missing.png"}\n')
    (tmp_path / "datasets.yaml").write_text("none: {annotation_path: none.jsonl, data_path: .}\n")
    words = [*flags, "--datasets", str(tmp_path / "datasets.yaml"), "--dataset_use", "none"]
    [line, _] = assert_lines_are_plans([*words, "--sweep", "max_pixels=25088,50176"], tmp_path)
    assert (line["num_samples"], line["num_rejects"], line["num_packs"]) == (0, 1, 0)
    assert main(["plan", *words, "--sweep", "max_pixels=25088"]) == 1


def test_the_table_has_a_line_for_each_combination_in_order(
    flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    sweep = ["--sweep", "model_max_length=512,768", "max_pixels=100352,64*28*28", "--packs_per_step", "4"]
    assert main(["plan", *flags, *sweep, "--output_dir", str(out)]) == 0
    header, *lines, rejects = capsys.readouterr().out.splitlines()
    assert header.split()[:2] == ["pack_length", "max_pixels"]
    assert header.endswith("steps of 4")
    assert [line.split()[:2] for line in lines] == [
        ["512", "100352"],
        ["512", "64*28*28"],
        ["768", "100352"],
        ["768", "64*28*28"],
    ]
    packs, steps = ([int(line.split()[column]) for line in lines] for column in (5, -1))
    assert any(number % 4 for number in packs), "a last step must be unfinished"
    assert steps == [math.ceil(number / 4) for number in packs]
    assert rejects.startswith("in every line, rejects: 3 of")
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--sweep"], "needs NAME=VALUE"),
        (["--sweep", "max_pixel=1"], "'max_pixel' can't be swept; these can: " + ", ".join(SWEEPABLE)),
        (["--sweep", "seed=1,2"], "'seed' can't be swept"),
        (["--sweep", "max_pixels"], "a value is missing"),
        (["--sweep", "max_pixels=200704,,451584"], "a value is missing"),
        (["--sweep", "max_pixels=many"], "--sweep, at --max_pixels=many: "),
        (["--sweep", "max_pixels=200704", "max_pixels=451584"], "max_pixels stands twice"),
        (["--sweep", "max_pixels=784", "min_pixels=1568"], "min_pixels (1568) is larger than max_pixels (784)"),
        (["--sweep", "pack_length=512", "--packs_per_step", "0"], "--packs_per_step 0: say how many"),
        (["--packs_per_step", "4"], "give --sweep too"),
        (["--sweep", "pack_length=512", "--no_such_flag", "4"], "unknown flag --no_such_flag"),
    ],
)
def test_a_wrong_sweep_is_refused_before_anything_is_read(flags: list[str], words: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_plan([*flags, *words], lambda line: None)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_run_refuses_a_sweep(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", *flags, "--sweep", "pack_length=512"]) == 2
    assert "belongs to the command line of plan" in capsys.readouterr().err


def test_notes_about_flags_are_said_once(flags: list[str]) -> None:
    notes: list[str] = []
    parse_plan([*flags, "--data_packing", "True", "--sweep", "pack_length=512,768,1024"], notes.append)
    assert len(notes) == 1


def test_equal_values_are_one_line_and_words_may_follow_other_flags(flags: list[str]) -> None:
    words = ["--sweep=pack_length=512,512", "packing=none", "--seed", "3", "--sweep", "max_pixels=100352"]
    asked = parse_plan([*flags, *words], lambda line: None)
    config, sweep = asked.config, asked.sweep
    assert sweep is not None
    assert config.seed == 3
    assert sweep.names == ("pack_length", "packing", "max_pixels")
    assert [combination.values for combination in sweep.combinations] == [("512", "none", "100352")]
    assert sweep.packs_per_step == 1
