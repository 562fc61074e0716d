"""The command line: what is refused, in one line and with nothing touched; what the exit code says; the report."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from preprocess.cli.commands import main
from preprocess.report.terminal import contents_table
from tests.preprocess.workshop import Outcome, Workshop, talk

ROOT = Path(__file__).parents[2]


# --- what is printed ----------------------------------------------------------------------------------------------


STEERING = "\x1b]0;title\x07\u202e"
ODD_FLAGS: dict[str, Callable[[Workshop], list[str]]] = {
    "a key of the configuration": lambda shop: [f"--config={write_config(shop, {STEERING: 1})}"],
    "a value of the configuration": lambda shop: [f"--config={write_config(shop, {'seed': STEERING})}"],
    "the path of the registry": lambda shop: [f"--datasets={shop.root / STEERING}.yaml"],
    "the path of the model": lambda shop: [f"--model={shop.root / STEERING}"],
    "a path in the registry": lambda shop: rooted(shop, shop.root / STEERING),
}


def write_config(workshop: Workshop, values: dict[str, object]) -> Path:
    path = workshop.root / "run.yaml"
    path.write_text(json.dumps(values))
    return path


def rooted(workshop: Workshop, data_path: Path) -> list[str]:
    workshop.register("d", workshop.root / "d.jsonl", data_path=str(data_path))
    return []


@pytest.mark.parametrize("spoil", ODD_FLAGS.values(), ids=ODD_FLAGS)
def test_no_text_of_an_error_steers_the_terminal(workshop: Workshop, spoil: Callable[[Workshop], list[str]]) -> None:
    workshop.dataset([talk()])
    outcome = workshop.run(*spoil(workshop))
    assert outcome.code == 2
    assert "title" in outcome.error
    assert outcome.error.isprintable()


def test_no_path_of_an_output_folder_steers_the_terminal(workshop: Workshop) -> None:
    workshop.dataset([talk(), talk("<image>", image="missing.png")])
    for outcome in (
        workshop.run("--max_reject_share=1", out=STEERING),
        workshop.command("report", str(workshop.root / STEERING)),
    ):
        assert outcome.code == 0
        assert outcome.out.count(r"\x1b]0;title\x07\u202e") >= 1
        assert all(line.isprintable() for line in outcome.out.split("\n"))


# --- refusals ------------------------------------------------------------------------------------------------------


def make_ready(workshop: Workshop) -> None:
    workshop.dataset([talk()])
    shutil.copytree(workshop.model, workshop.root / "model")
    workshop.model = workshop.root / "model"


def broken(name: str, content: str) -> Callable[[Workshop], list[str]]:
    """Overwrite a file of the workshop."""

    def spoil(workshop: Workshop) -> list[str]:
        (workshop.root / name).write_text(content)
        return []

    return spoil


def without_media(workshop: Workshop) -> list[str]:
    workshop.media.rename(workshop.root / "moved")
    return []


def without_annotations(workshop: Workshop) -> list[str]:
    (workshop.root / "d.jsonl").unlink()
    return []


def foreign_tokenizer(workshop: Workshop) -> list[str]:
    path = workshop.root / "model" / "tokenizer.json"
    record = json.loads(path.read_text())
    record["model"]["type"] = "Unheard of"
    path.write_text(json.dumps(record))
    return []


def occupied(workshop: Workshop) -> list[str]:
    assert workshop.run("--seed=1").code == 0
    return ["--seed=2"]


def with_a_foreign_plan(workshop: Workshop) -> list[str]:
    (workshop.root / "out" / "plan").mkdir(parents=True)
    (workshop.root / "out" / "plan" / "plan.json").write_text("mine")
    return []


def with_a_file(workshop: Workshop) -> list[str]:
    (workshop.root / "out").mkdir()
    (workshop.root / "out" / "notes.txt").write_text("mine")
    return []


def is_a_file(workshop: Workshop) -> list[str]:
    (workshop.root / "out").write_text("mine")
    return []


def below_a_file(workshop: Workshop) -> list[str]:
    return [f"--output_dir={workshop.registry}/out"]


def dangling(workshop: Workshop) -> list[str]:
    (workshop.root / "out").symlink_to(workshop.root / "nowhere")
    return []


REFUSALS: dict[str, tuple[Callable[[Workshop], list[str]] | list[str], str]] = {
    "a misspelled flag": (["--max_pixel=1000"], "unknown flag --max_pixel; did you mean --max_pixels?"),
    "an unknown flag": (["--colour=red"], "unknown flag --colour; python -m preprocess run --help lists them"),
    "an unknown dataset": (["--dataset_use=e"], "dataset_use: unknown dataset 'e'; the registry has d"),
    "an unknown dataset with notes": (["--cache_dir=x", "--colour=red"], "unknown flag --colour"),
    "min above max": (
        ["--min_pixels=5000", "--max_pixels=4000"],
        "min_pixels (5000) is larger than max_pixels (4000); swap or change them",
    ),
    "min above max in videos": (["--video_min_frames=9"], "video_min_frames (9) is larger than video_max_frames (8)"),
    "no positive number": (["--pack_length=0"], "pack_length is 0; it must be positive"),
    "fewer than no workers": (["--workers=-1"], "workers is -1; it must not be negative"),
    "no number": (["--seed=first"], "--seed first: say a whole number"),
    "a missing config file": (["--config=missing.yaml"], "--config missing.yaml: No such file or directory"),
    "a missing registry": (["--datasets=missing.yaml"], "missing.yaml: No such file or directory; `datasets` must be"),
    "a missing model": (["--model=missing"], "missing/config.json: No such file or directory; `model` must be"),
    "a broken model": (broken("model/config.json", "{"), "model/config.json is not JSON"),
    "a broken tokenizer": (
        broken("model/tokenizer.json", json.dumps({"added_tokens": [], "model": {"vocab": {}}})),
        "tokenizer.json",
    ),
    "a tokenizer of another library": (
        foreign_tokenizer,
        "is not a tokenizer.json of the tokenizers library",
    ),
    "a missing annotation file": (
        without_annotations,
        "/d.jsonl: No such file or directory; check annotation_path in the registry",
    ),
    "a missing folder of media": (without_media, "datasets.yaml: dataset 'd': data_path "),
    "a broken registry": (broken("datasets.yaml", "d: ["), "datasets.yaml can't be read as YAML"),
    "a training flag": (["--learning_rate=1e-6"], "--learning_rate belongs to training: bash scripts/train.sh"),
    "a word that is no flag": (["extra"], "'extra' stands alone; flags look like --name value"),
}


OUTPUT_REFUSALS: dict[str, tuple[Callable[[Workshop], list[str]], str]] = {
    "another run in output_dir": (
        occupied,
        "holds another run: config.seed was 1, is 2. Name another folder, go back to that configuration, or pass "
        "--overwrite",
    ),
    "a plan that is not ours": (with_a_foreign_plan, "is neither empty nor one of our runs; name another folder"),
    "a file in output_dir": (with_a_file, "is neither empty nor one of our runs; name another folder"),
    "output_dir is a file": (is_a_file, "is neither empty nor one of our runs"),
    "output_dir below a file": (below_a_file, "datasets.yaml/out: Not a directory; name another folder"),
    "output_dir is a dangling link": (dangling, "/out: File exists; name another folder"),
}


@pytest.mark.parametrize(("spoil", "message"), REFUSALS.values(), ids=REFUSALS)
@pytest.mark.parametrize("command", ["run", "plan"])
def test_refusals_are_one_line_that_says_what_to_do_and_touch_nothing(
    workshop: Workshop, spoil: Callable[[Workshop], list[str]] | list[str], message: str, command: str
) -> None:
    make_ready(workshop)
    flags = spoil(workshop) if callable(spoil) else spoil
    before = snapshot(workshop.root)
    outcome = workshop.command(command, *workshop.flags(*flags))
    assert outcome.code == 2
    assert outcome.error.startswith("preprocess: error: ")
    assert message in outcome.error
    assert outcome.out == ""
    assert snapshot(workshop.root) == before


@pytest.mark.parametrize(("spoil", "message"), OUTPUT_REFUSALS.values(), ids=OUTPUT_REFUSALS)
def test_run_refuses_to_touch_what_stands_in_the_output_folder(
    workshop: Workshop, spoil: Callable[[Workshop], list[str]], message: str
) -> None:
    make_ready(workshop)
    flags = spoil(workshop)
    before = snapshot(workshop.root)
    outcome = workshop.run(*flags)
    assert (outcome.code, outcome.out) == (2, "")
    assert message in outcome.error
    assert snapshot(workshop.root) == before
    assert workshop.command("plan", *workshop.flags(*flags)).code == 0, "planning writes nothing there"


def snapshot(folder: Path) -> dict[str, object]:
    """Every path below, with content and time of its last change."""
    return {
        str(path.relative_to(folder)): (path.is_file() and path.read_bytes(), path.lstat().st_mtime_ns)
        for path in folder.rglob("*")
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["runn"], "unknown command 'runn'; commands are plan, run, try, report, certify, doctor"),
        (["--config", "run.yaml"], "unknown command '--config'"),
        (["run"], "--dataset_use, --datasets, --model, --output_dir must be given, on the command line or in --config"),
        (["report"], "usage: python -m preprocess report OUTPUT_DIR"),
        (["report", "a", "b"], "usage: python -m preprocess report OUTPUT_DIR"),
        (["report", "--html", "a"], "usage: python -m preprocess report OUTPUT_DIR [--html FILE]"),
        (["report", "a", "--htm", "b"], "usage: python -m preprocess report OUTPUT_DIR [--html FILE]"),
        (["report", "nowhere"], "nowhere has no manifest.json, so it is not a dataset"),
    ],
)
def test_wrong_usage_is_one_line(workshop: Workshop, arguments: list[str], message: str) -> None:
    outcome = workshop.command(*arguments)
    assert outcome.code == 2
    assert message in outcome.error


def test_without_a_command_the_usage_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "usage: python -m preprocess COMMAND" in capsys.readouterr().out
    assert main(["--help"]) == 0
    assert "usage: python -m preprocess COMMAND" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["run", "plan"])
def test_help_lists_every_flag(capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert main([command, "--help"]) == 0
    shown = capsys.readouterr().out
    for flag in ("--max_pixels", "--dataset_use", "--workers", "--pack_length", "--video_tail", "--config"):
        assert flag in shown


# --- as a process --------------------------------------------------------------------------------------------------


def test_python_m_preprocess_runs_as_a_process(workshop: Workshop) -> None:
    """In an environment that can't print what the annotations hold."""
    workshop.dataset([talk("数据", **{"键\ud800": 1})], name="数据")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-m", "preprocess", "run", *workshop.flags()],
        capture_output=True,
        text=True,
        check=False,
        cwd=workshop.root,
        env=environment,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "wrote 1 pack," in done.stdout


# --- report --------------------------------------------------------------------------------------------------------


def test_report_says_what_the_run_holds_then_examples_of_rejects_and_what_took_long(
    workshop: Workshop, demo_run: Outcome
) -> None:
    outcome = workshop.command("report", str(demo_run.folder))
    assert outcome.code == 0
    contents = contents_table(demo_run.manifest, demo_run.plan, demo_run.folder) + "\n"
    assert outcome.out.startswith(contents)
    examples, slowest = outcome.out.removeprefix(contents).split("slowest samples to encode:\n")
    starts = [line.split(": ")[:2] for line in examples.splitlines()]
    assert starts == [["  aspect_ratio", "flawed:8"], ["  missing_file", "flawed:2"], ["  tag_count", "flawed:5"]]
    assert "1x300 pixels: one side is more than 200 times the other" in examples
    seconds = [float(line.split()[0]) for line in slowest.splitlines()]
    assert len(seconds) == 5
    assert seconds == sorted(seconds, reverse=True)


def test_report_tells_what_was_lost(workshop: Workshop) -> None:
    workshop.dataset([talk(), talk("<image>", image=workshop.truncated_image())])
    ran = workshop.run("--max_reject_share=1")
    reported = workshop.command("report", str(ran.folder))
    table, *lines = reported.out.split("1 pack: ")
    assert table.splitlines()[1].split() == [
        "d",
        "1",
        str(ran.manifest.totals.num_tokens),
        "0",
        str(ran.manifest.totals.num_label_tokens),
        "0",
        "0",
        "1",
    ]
    assert "differs from the plan: 1 sample " in lines[0]
    *_, reject, heading, slowest = reported.out.splitlines()
    assert reject.startswith(f"  undecodable: d:1: {workshop.media}/truncated.jpg: ")
    assert heading == "slowest samples to encode:"
    assert slowest.endswith(" s  d:0: text only")


def test_report_of_shards_without_their_plan_is_refused(workshop: Workshop) -> None:
    workshop.dataset([talk()])
    ran = workshop.run()
    shutil.rmtree(ran.folder / "plan")
    outcome = workshop.command("report", str(ran.folder))
    assert outcome.code == 2
    assert "out/plan is missing or unfinished; a report needs the plan beside the shards" in outcome.error


@pytest.mark.parametrize("flags", [["--html", "page.html"], ["--html=page.html"]])
def test_report_writes_a_page(
    workshop: Workshop, demo_run: Outcome, flags: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workshop.root)
    outcome = workshop.command("report", *flags, str(demo_run.folder))
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("wrote page.html (")
    page = (workshop.root / "page.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "the rejected image of flawed:8" in page
