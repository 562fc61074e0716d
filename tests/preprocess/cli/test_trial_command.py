"""`preprocess try`: one record on its way, from a dataset or a file, and why it is a reject."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.preprocess.media.archives.packing import write_tar_gz
from tests.preprocess.workshop import MEDIUM, TURNS, Outcome, Workshop, talk


def tried(workshop: Workshop, what: str, *more: str) -> Outcome:
    return workshop.command("try", what, *workshop.flags(*more))


def grounded(workshop: Workshop) -> dict[str, object]:
    answer = json.dumps({"bbox_2d": [28, 42, 56, 84], "label": "corner"})
    return talk("<image>Where?", answer, image=workshop.image(size=(56, 84)))


def test_a_record_of_a_dataset_is_shown_from_its_form_to_its_text(workshop: Workshop) -> None:
    workshop.dataset([talk("first"), {**talk("<image>What?", "A box."), "image": workshop.image(), "id": 7}])
    outcome = tried(workshop, "d:1")
    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()
    assert lines[0] == "d:1"
    assert "  form       conversations or messages" in lines
    assert "  ignored    id" in lines
    assert "  assistant  6 characters, learned" in lines
    [image] = [line for line in lines if line.startswith("  image 0 ")]
    assert "a.png: 84 x 56 pixels (height x width), resized to 84 x 56, grid 1 x 6 x 4 -> 6 tokens" in image
    assert "⟦A box.<|im_end|>⟧" in lines[-1]
    assert not (workshop.root / "out").exists()


def test_without_a_number_the_first_record_is_meant(workshop: Workshop) -> None:
    workshop.dataset([talk("first"), talk("second")])
    assert "first" in tried(workshop, "d").out


def test_each_member_of_a_ready_made_pack_is_shown_or_the_one_that_is_asked_for(workshop: Workshop) -> None:
    workshop.dataset([[talk("first"), talk("second")]], suffix=".json")
    assert [line for line in tried(workshop, "d:0").out.splitlines() if line.startswith("d:")] == ["d:0.0", "d:0.1"]
    assert [line for line in tried(workshop, "d:0.1").out.splitlines() if line.startswith("d:")] == ["d:0.1"]
    assert "has no member 2" in tried(workshop, "d:0.2").error


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (talk("<image>", image="gone.png"), "missing_file"),
        (talk("<image>"), "tag_count"),
        ({"dialogue": "?"}, "no_turns"),
        (talk("long " * 300), "too_long"),
        (["a string", 3], "bad_json"),
    ],
)
def test_a_reject_is_shown_with_its_reason_and_what_was_found(workshop: Workshop, record: object, reason: str) -> None:
    workshop.dataset([record])
    outcome = tried(workshop, "d:0")
    assert outcome.code == 1
    assert f"  reject     {reason}: " in outcome.out


def test_the_keys_of_a_record_without_a_form_are_named(workshop: Workshop) -> None:
    workshop.dataset([{"dialogue": "?", "picture": "a.png"}])
    lines = tried(workshop, "d").out.splitlines()
    assert "  form       none was recognised" in lines
    assert "  keys       dialogue, picture" in lines


def test_a_key_that_several_turns_have_is_named_once(workshop: Workshop) -> None:
    texts = [{"user": "Q", "assistant": "A", "source": "s"}] * 3
    workshop.dataset([{"texts": texts}])
    assert "  ignored    turn.source" in tried(workshop, "d").out.splitlines()


def test_what_is_unpacked_for_no_run_is_said(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tar_gz(workshop.root / "m.tar.gz", {"a.png": (workshop.media / workshop.image()).read_bytes()})
    workshop.dataset([talk("<image>", image="a.png")], data_path=str(workshop.root / "m.tar.gz"))
    monkeypatch.chdir(workshop.root)
    flags = ["--model", str(workshop.model), "--datasets", str(workshop.registry)]
    assert "of media that were compressed; it may be removed" in workshop.command("try", "d", *flags).err
    assert (workshop.root / "try.media").is_dir()
    outcome = tried(workshop, "d")
    assert "may be removed after the run" in outcome.error  # and is kept for it


def test_media_of_parquet_are_left_where_they_are(workshop: Workshop) -> None:
    picture = {"bytes": (workshop.media / workshop.image()).read_bytes(), "path": None}
    columns = {
        "image": pa.array([picture], MEDIUM),
        "conversations": pa.array([talk("<image>")["conversations"]], TURNS),
    }
    pq.write_table(pa.table(columns), workshop.root / "d.parquet")
    workshop.register("d", workshop.root / "d.parquet")
    assert tried(workshop, "d").code == 0
    assert not (workshop.root / "out.media").exists()


def test_a_file_with_one_record_needs_nothing_but_a_model(workshop: Workshop) -> None:
    path = workshop.media / "record.json"
    path.write_text(json.dumps(talk("<image>What?", image=workshop.image())), encoding="utf-8")
    outcome = workshop.command("try", str(path), "--model", str(workshop.model))
    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith("record:0\n")


def test_a_medium_in_base64_is_shown_from_the_file_and_of_several_files(workshop: Workshop) -> None:
    content = base64.b64encode((workshop.media / workshop.image()).read_bytes()).decode()
    record = talk("<image>", image=f"data:image/png;base64,{content}")
    file = workshop.root / "one.json"
    file.write_text(json.dumps(record))
    for name in ("a", "b"):
        (workshop.root / f"{name}.jsonl").write_text(json.dumps(record if name == "b" else talk()))
    workshop.register("d", workshop.root / "?.jsonl")
    for what in (str(file), "d:1"):
        outcome = tried(workshop, what)
        assert outcome.code == 0, outcome.out
        assert "(base64 at byte " in outcome.out


def test_a_file_is_read_as_a_record_of_a_dataset_that_is_named(workshop: Workshop) -> None:
    workshop.dataset([talk()], columns={"conversations": "dialog"})
    path = workshop.root / "record.json"
    path.write_text(json.dumps({"dialog": talk("renamed")["conversations"]}), encoding="utf-8")
    assert "renamed" in tried(workshop, str(path)).out


def test_a_page_has_the_boxes_drawn_on_the_picture(workshop: Workshop) -> None:
    workshop.dataset([grounded(workshop)], boxes="original")
    page = workshop.root / "try.html"
    outcome = tried(workshop, "d", f"--html={page}")
    assert outcome.code == 0, outcome.err
    text = page.read_text(encoding="utf-8")
    assert '<rect x="50.00" y="50.00" width="50.00" height="50.00"><title>corner</title></rect>' in text
    assert "<bdi>corner</bdi>" in text


def test_what_data_says_is_escaped_on_the_page(workshop: Workshop) -> None:
    workshop.dataset([{**talk("<script>alert(1)</script>"), "<b>key</b>": 1}])
    page = workshop.root / "try.html"
    tried(workshop, "d", f"--html={page}")
    text = page.read_text(encoding="utf-8")
    assert "<script>" not in text
    assert "<b>" not in text


@pytest.mark.parametrize(
    ("place", "shown"), [("", "first"), (":0", "first"), (":1", "second"), (":1.1", "third"), (":2", None)]
)
def test_a_record_of_a_file_of_annotations_is_tried_by_its_place(
    workshop: Workshop, tmp_path: Path, place: str, shown: str | None
) -> None:
    path = tmp_path / "records.jsonl"
    records = [talk("first"), [talk("second"), talk("third")]]
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records), encoding="utf-8")
    outcome = workshop.command("try", f"{path}{place}", "--model", str(workshop.model))
    if shown is None:
        assert "has 2 records, the first is 0; there is no 2" in outcome.error
    else:
        assert outcome.code == 0
        assert shown in outcome.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "usage: python -m preprocess try WHAT"),
        (["--config", "x"], "usage: python -m preprocess try WHAT"),
        (["e:0"], "neither a file nor a dataset"),
        (["d:5"], "has 1 records, the first is 0; there is no 5"),
        (["d", "--html"], "--html needs the name of a file"),
        (["d", "--html=nowhere/x.html"], "there is no folder nowhere"),
        (["d", "--max_pixel=5"], "did you mean --max_pixels?"),
    ],
)
def test_wrong_usage_is_one_line(workshop: Workshop, words: list[str], message: str) -> None:
    workshop.dataset([talk()])
    flags = workshop.flags() if words and not words[0].startswith("-") else []
    outcome = workshop.command("try", *words[:1], *flags, *words[1:])
    assert outcome.code == 2
    assert message in outcome.error


def test_without_a_registry_a_name_is_not_looked_up(workshop: Workshop) -> None:
    outcome = workshop.command("try", "nothing", "--model", str(workshop.model))
    assert "no file of that name; for a dataset give --config or --datasets" in outcome.error


@pytest.mark.parametrize("content", ["", "{", "\x00"])
def test_a_file_that_is_no_record_is_named(workshop: Workshop, content: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.json"
    path.write_text(content, encoding="utf-8")
    outcome = workshop.command("try", str(path), "--model", str(workshop.model))
    assert outcome.code == 2
    assert f"{path}: not a JSON record" in outcome.error
    assert outcome.error.endswith(f"of a file of many say {path}:INDEX")
