"""Certify: shards of a few samples beside the recorded reference, and each kind of difference planted in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from preprocess.certify.compare import Reference, compare_values
from preprocess.certify.draw import draw
from preprocess.errors import FatalError
from tests.preprocess.certify.recorded import Recorded
from tests.preprocess.workshop import Workshop, talk

CHOICES = {
    "text": set(),
    "image": set(),
    "images": {"transparency", "exif"},
    "grey": {"grey_16"},
    "video": {"frame_list", "seconds_per_grid"},
    "special": {"special_as_text"},
    "newline": {"header_encoding"},
}


@pytest.fixture
def recorded(workshop: Workshop) -> Recorded:
    return Recorded(workshop)


def test_the_reference_is_asked_for_what_was_recorded(recorded: Recorded) -> None:
    task = json.loads((recorded.folder / "task.json").read_text(encoding="utf-8"))
    for name in ("model_type", "processor", "rules", "tokens_per_second"):
        assert task[name] == recorded.task[name]
    for each, sample in zip(recorded.drawn, task["samples"], strict=True):
        expected = recorded.task["samples"][each.measured.sample.index]
        assert without_folders(sample) == without_folders({**expected, "key": each.key})


def without_folders(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_folders(each) for key, each in value.items() if (key, "frames" in value) != ("path", True)}
    if isinstance(value, list):
        return [without_folders(each) for each in value]
    return Path(value).name if isinstance(value, str) and value.startswith("/") else value


def test_shards_equal_the_reference_but_for_named_choices(recorded: Recorded) -> None:
    found = recorded.compare()
    assert sum(len(each.unexplained) for each in found) == 0
    for name, choices in CHOICES.items():
        differences = found[recorded.number(name)].differences
        assert {choice for each in differences for choice in each.choices} == choices
    assert compare_values(Reference.read(recorded.folder), recorded.constants) == []


@pytest.mark.parametrize(
    ("name", "array", "place", "step", "what"),
    [
        ("image", "image0.0", (3, 17), 1, "pixels"),
        ("video", "video0.0", (0, 0), 3, "pixels"),
        ("text", "text0.ids", (5,), 1, "ids"),
        ("text", "text0.labels", (-1,), 1, "labels"),
        ("image", "text0.positions0", (2, 20), 1, "positions"),
        ("image", "image0.0.grid", (1,), 2, "grid"),
    ],
)
def test_one_planted_difference_is_found(
    recorded: Recorded, name: str, array: str, place: tuple[int, ...], step: int, what: str
) -> None:
    path = recorded.folder / "reference" / f"{recorded.number(name)}.npz"
    with np.load(path) as file:
        level = int(file[array][place])
    recorded.plant(name, array, place, step if level + step < 256 or array.startswith("text") else -step)
    found = recorded.compare()
    [unexplained] = found[recorded.number(name)].unexplained
    assert unexplained.what == what
    assert unexplained.detail
    assert sum(len(each.unexplained) for each in found) == 1


def test_a_choice_that_gives_other_pixels_explains_nothing(recorded: Recorded) -> None:
    recorded.plant("images", "image1.1", (0, 0), -1)
    [unexplained] = recorded.compare()[recorded.number("images")].unexplained
    assert (unexplained.part, unexplained.what) == ("image 1", "pixels")


def test_frames_of_a_video_may_be_two_levels_off_and_that_is_named(recorded: Recorded) -> None:
    recorded.plant("video", "video0.0", (0, 0), -2)
    differences = recorded.compare()[recorded.number("video")].differences
    assert "video_decoding" in {choice for each in differences for choice in each.choices}
    assert all(each.is_explained for each in differences)


def test_an_alternative_that_is_equal_counts_before_one_that_is_near(recorded: Recorded) -> None:
    number = recorded.number("video")
    path = recorded.folder / "reference" / "result.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    [equal] = record["samples"][number]["media"]["video0"]
    record["samples"][number]["media"]["video0"] = [{**equal, "choices": []}, equal]
    path.write_text(json.dumps(record), encoding="utf-8")
    with np.load(path.parent / f"{number}.npz") as file:
        arrays = dict(file)
    arrays |= {"video0.1": arrays["video0.0"].copy(), "video0.1.grid": arrays["video0.0.grid"]}
    arrays["video0.0"][0, 0] -= 1
    np.savez(path.parent / f"{number}.npz", **arrays)
    [difference] = [each for each in recorded.compare()[number].differences if each.part == "video 0"]
    assert difference.choices == ("frame_list",)


def test_values_that_are_of_no_pixels_are_found(recorded: Recorded) -> None:
    path = recorded.folder / "reference" / "result.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    record["values"][1][255] += 3e-7
    record["samples"][recorded.number("image")]["media"]["image0"][0]["float_error"] = 1e-4
    path.write_text(json.dumps(record), encoding="utf-8")
    [difference] = compare_values(Reference.read(recorded.folder), recorded.constants)
    assert difference.what == "normalisation"
    [unexplained] = recorded.compare()[recorded.number("image")].unexplained
    assert unexplained.what == "pixels"


def test_other_seconds_of_a_video_are_found(recorded: Recorded) -> None:
    path = recorded.folder / "reference" / "result.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    record["samples"][recorded.number("video")]["media"]["video0"][0]["seconds"] += 0.1
    path.write_text(json.dumps(record), encoding="utf-8")
    [unexplained] = recorded.compare()[recorded.number("video")].unexplained
    assert (unexplained.part, unexplained.what) == ("video 0", "seconds")


def test_what_the_reference_cannot_read_is_unexplained(recorded: Recorded) -> None:
    path = recorded.folder / "reference" / "result.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    record["samples"][0]["unreadable"] = {"part": "image 0", "why": "a.jpg: it is broken"}
    path.write_text(json.dumps(record), encoding="utf-8")
    [unexplained] = recorded.compare()[0].unexplained
    assert "it is broken" in unexplained.detail


def test_a_reference_of_other_samples_is_refused(recorded: Recorded) -> None:
    path = recorded.folder / "reference" / "result.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    record["samples"].reverse()
    path.write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(FatalError, match="other samples"):
        recorded.compare()


# --- drawing ---------------------------------------------------------------------------------------------------------


def test_the_same_seed_draws_the_same_samples_and_each_once(workshop: Workshop) -> None:
    workshop.dataset([talk(f"Question {number}", "answer") for number in range(30)])
    flags = [flag for flag in workshop.flags() if not flag.startswith("--dataset_use")]
    outcome = workshop.command("run", *flags, "--dataset_use=d%200")
    folder, plan = outcome.folder / "plan", outcome.plan
    keys = [[each.key for each in draw(outcome.shards, folder, plan, 10, seed)] for seed in (0, 0, 1)]
    assert keys[0] == keys[1] != keys[2]
    assert len(set(keys[0])) == 10
    everything = draw(outcome.shards, outcome.folder / "plan", outcome.plan, 100, 0)
    assert len({each.key for each in everything}) == 30


def test_samples_come_from_the_shards_and_lost_ones_are_not_drawn(workshop: Workshop) -> None:
    workshop.truncated_image("bad.jpg")
    records = [talk(f"<image>Question {number}", image=workshop.image()) for number in range(12)]
    records[3] = talk("<image>Lost", image="bad.jpg")
    workshop.dataset(records)
    outcome = workshop.run("--packing=none", "--max_reject_share=1")
    assert len(outcome.packs) == 11
    drawn = list(draw(outcome.shards, outcome.folder / "plan", outcome.plan, 100, 0))
    assert sorted(each.key for each in drawn) == sorted(f"d:{number}" for number in range(12) if number != 3)
    for each in drawn:
        assert each.pack.sample_keys == (each.key,)


# --- the command -----------------------------------------------------------------------------------------------------


def oracle_of(recorded: Recorded) -> Path:
    """An interpreter that leaves the recorded reference where it is asked for one."""
    path = recorded.workshop.root / "oracle"
    source = recorded.folder / "reference"
    path.write_text(f'#!/bin/sh\ncp -r "{source}" "$2/reference"\n', encoding="utf-8")
    path.chmod(0o755)
    return path


def certified(recorded: Recorded, *more: str) -> Any:
    return recorded.workshop.command("certify", *recorded.flags, f"--oracle={oracle_of(recorded)}", *more)


def test_certify_writes_a_certificate_beside_the_manifest(recorded: Recorded) -> None:
    outcome = certified(recorded)
    assert outcome.code == 0, outcome.err
    certificate = json.loads((outcome.folder / "certificate.json").read_text(encoding="utf-8"))
    data = certificate["data"]
    assert certificate["fingerprint"] == outcome.manifest.fingerprint
    assert data["num_unexplained"] == 0
    assert {row["what"]: row["total"] for row in data["rows"]} == {"images": 4, "videos": 1, "texts": 7}
    assert data["versions"]["reference"]["transformers"] == "4.57.1"
    assert data["choices"] == dict.fromkeys(set().union(*CHOICES.values()), 1)
    page = (outcome.folder / "certificate.html").read_text(encoding="utf-8")
    assert "No unexplained difference" in page
    assert "data:image/jpeg;base64," in page
    assert "exif: 1 sample" in outcome.out


def test_a_planted_pixel_makes_the_exit_code_1_and_is_shown(recorded: Recorded) -> None:
    recorded.plant("image", "image0.0", (3, 17))
    outcome = certified(recorded)
    assert outcome.code == 1
    key = recorded.drawn[recorded.number("image")].key
    assert f"UNEXPLAINED {key} image 0, pixels: " in outcome.out
    assert "1 unexplained difference<" in (outcome.folder / "certificate.html").read_text(encoding="utf-8")


def test_a_certificate_goes_with_the_manifest_that_it_is_of(recorded: Recorded) -> None:
    assert certified(recorded).code == 0
    assert (recorded.outcome.folder / "certificate.json").exists()
    outcome = recorded.workshop.command("run", *recorded.flags, "--overwrite")
    assert outcome.code == 0, outcome.err
    assert not list(outcome.folder.glob("certificate*"))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--samples=0"], "--samples 0"),
        (["--against=numpy"], "--against numpy"),
        (["--max_pixels=3*784"], "another configuration (config.max_pixels differ"),
        (["--oracle=gone"], "gone is missing"),
        (["--output_dir=nowhere"], "nowhere"),
    ],
)
def test_what_is_asked_wrongly_is_said_in_one_line(recorded: Recorded, flags: list[str], message: str) -> None:
    outcome = certified(recorded, *flags)
    assert outcome.code == 2
    assert message in outcome.error


def test_a_reference_that_fails_stops_the_command(recorded: Recorded) -> None:
    failing = recorded.workshop.root / "failing"
    failing.write_text("#!/bin/sh\nexit 3\n", encoding="utf-8")
    failing.chmod(0o755)
    outcome = certified(recorded, f"--oracle={failing}")
    assert outcome.code == 1
    assert "ended with exit code 3" in outcome.err


def test_the_reference_is_not_told_where_our_packages_are(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/ours")
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    oracle = oracle_of(recorded)
    body = oracle.read_text(encoding="utf-8").partition("\n")[2]
    oracle.write_text(f'#!/bin/sh\n[ -z "$PYTHONPATH$PYTHONSAFEPATH" ] || exit 5\n{body}', encoding="utf-8")
    outcome = recorded.workshop.command("certify", *recorded.flags, f"--oracle={oracle}")
    assert outcome.code == 0, outcome.err
