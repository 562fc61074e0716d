"""Small files of a run that someone damaged: one line that names the file, or the work is done again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from preprocess.errors import ConfigError
from tests.preprocess.workshop import Workshop, published, talk


@pytest.fixture
def finished(workshop: Workshop) -> Path:
    workshop.dataset([talk(), talk(answer="")])
    outcome = workshop.run("--max_reject_share=1")
    assert outcome.code == 0
    return outcome.folder


@pytest.mark.parametrize("content", ["[]", "5", "[" * 100_000, "\udcff"])
def test_damaged_inputs_are_named(workshop: Workshop, finished: Path, content: str) -> None:
    path = finished / "plan" / "inputs.json"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    outcome = workshop.run("--max_reject_share=1")
    assert f"{path} is damaged" in outcome.error


@pytest.mark.parametrize("datasets", [[], 5, [1]])
def test_a_damaged_sidecar_is_written_again(workshop: Workshop, finished: Path, datasets: object) -> None:
    before = published(finished)
    path = finished / "plan" / "done" / "shard-000000.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "datasets": datasets}))
    assert workshop.run("--max_reject_share=1").code == 0
    assert published(finished) == before


@pytest.mark.parametrize(("name", "entry"), [("rejects", {"dataset": "d"}), ("slowest", {"seconds": "1"})])
def test_a_sidecar_with_damaged_entries_is_named(
    workshop: Workshop, finished: Path, name: str, entry: dict[str, object]
) -> None:
    before = published(finished)
    path = finished / "plan" / "done" / "shard-000000.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), name: [entry]}))
    outcome = workshop.run("--max_reject_share=1")
    assert outcome.code == 1
    assert f"{path} is damaged" in outcome.error
    path.unlink()
    assert workshop.run("--max_reject_share=1").code == 0, "what the message advises works"
    assert published(finished) == before


@pytest.mark.parametrize("content", [b"{", b"5", b'{"a": 1}', b"[[]]", b"\xff"])
@pytest.mark.parametrize("name", ["plan/slowest.json", "rejects.jsonl"])
def test_a_report_names_what_is_damaged(workshop: Workshop, finished: Path, name: str, content: bytes) -> None:
    (finished / name).write_bytes(content + b"\n")
    outcome = workshop.command("report", str(finished))
    assert outcome.code == 1
    assert f"{finished / name} is damaged" in outcome.error


WHOLE_REJECT = {"dataset": "d", "index": 0, "reason": "bad_json", "detail": "x"}
WHOLE_TIMING = {"seconds": 1.0, "sample": "d:0", "media": []}


@pytest.mark.parametrize(
    ("name", "whole", "change"),
    [
        ("rejects.jsonl", WHOLE_REJECT, {"index": "0"}),
        ("rejects.jsonl", WHOLE_REJECT, {"index": True}),
        ("rejects.jsonl", WHOLE_REJECT, {"member": 0.5}),
        ("rejects.jsonl", WHOLE_REJECT, {"dataset": 5}),
        ("rejects.jsonl", WHOLE_REJECT, {"reason": ["a"]}),
        ("rejects.jsonl", WHOLE_REJECT, {"detail": None}),
        ("rejects.jsonl", WHOLE_REJECT, {"source": {"path": 5}}),
        ("rejects.jsonl", WHOLE_REJECT, {"source": {"path": "a", "row": "0"}}),
        ("rejects.jsonl", WHOLE_REJECT, {"odd": 1}),
        ("plan/slowest.json", WHOLE_TIMING, {"seconds": "1"}),
        ("plan/slowest.json", WHOLE_TIMING, {"sample": 5}),
        ("plan/slowest.json", WHOLE_TIMING, {"media": [5]}),
        ("plan/slowest.json", WHOLE_TIMING, {"media": "ab"}),
    ],
)
def test_a_report_names_a_file_with_wrong_types(
    workshop: Workshop, finished: Path, name: str, whole: dict[str, object], change: dict[str, object]
) -> None:
    def write(record: dict[str, object]) -> None:
        (finished / name).write_text(json.dumps(record if name.endswith("l") else [record]) + "\n")

    write(whole)
    assert workshop.command("report", str(finished)).code == 0
    write({**whole, **change})
    outcome = workshop.command("report", str(finished))
    assert outcome.code == 1
    assert f"{finished / name} is damaged" in outcome.error


@pytest.mark.parametrize(
    ("content", "words"), [(b"{", "does not match manifest.sha256"), (None, "has no manifest.json")]
)
def test_a_report_on_a_broken_manifest_says_what_it_is(
    workshop: Workshop, finished: Path, content: bytes | None, words: str
) -> None:
    path = finished / "manifest.json"
    path.unlink() if content is None else path.write_bytes(content)
    outcome = workshop.command("report", str(finished))
    assert outcome.code == 2
    assert words in outcome.error
    assert "make room" not in outcome.error


def test_a_report_without_a_ledger_says_which_file_is_missing(workshop: Workshop, finished: Path) -> None:
    (finished / "rejects.jsonl").unlink()
    outcome = workshop.command("report", str(finished))
    assert outcome.code == 2
    assert "rejects.jsonl is missing" in outcome.error
    assert "make room" not in outcome.error


def test_a_page_into_a_missing_folder_is_refused_before_any_work(workshop: Workshop, finished: Path) -> None:
    outcome = workshop.command("report", str(finished), "--html", str(workshop.root / "none" / "page.html"))
    assert outcome.code == 2
    assert f"there is no folder {workshop.root / 'none'}" in outcome.error


def test_a_plan_on_ray_needs_the_folder_beside_the_output(workshop: Workshop) -> None:
    workshop.dataset([talk()])
    outcome = workshop.command("plan", *workshop.flags("--executor=ray", out="none/out"))
    assert outcome.code == 2
    assert f"{workshop.root / 'none'}, which does not exist" in outcome.error


def test_intervals_too_short_to_count_with_are_refused(workshop: Workshop) -> None:
    workshop.dataset([talk()])
    with pytest.raises(ConfigError, match="base_interval is 1e-320"):
        workshop.config(base_interval=1e-320)


# --- the right words -------------------------------------------------------------------------------------------------


def test_a_file_of_flags_without_its_flag_is_recognised(workshop: Workshop) -> None:
    assert "--config run.yaml" in workshop.command("plan", "run.yaml").error


@pytest.mark.parametrize(("command", "about"), [("report", "OUTPUT_DIR"), ("doctor", "This machine"), ("try", "WHAT")])
def test_help_of_a_command_is_about_it(workshop: Workshop, command: str, about: str) -> None:
    outcome = workshop.command(command, "--help")
    assert outcome.code == 0
    assert about in outcome.out
    assert "plan --config" not in outcome.out


def test_a_name_of_the_hub_is_recognised_as_one(workshop: Workshop) -> None:
    workshop.dataset([talk()])
    outcome = workshop.run("--model=Qwen/Qwen2.5-VL-3B-Instruct")
    assert outcome.code == 2
    assert "download it first" in outcome.error


def test_reuse_that_reuses_nothing_says_so(workshop: Workshop, finished: Path) -> None:
    workshop.dataset([talk("<image>", image=workshop.image())])
    outcome = workshop.run(f"--reuse={finished}", out="again")
    assert outcome.code == 0
    assert "reused none of 1 images and videos" in outcome.out
