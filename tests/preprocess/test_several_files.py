"""A dataset of several annotation files is that of one file with the same records, however it is run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import preprocess.plan.parts
from preprocess.errors import AnnotationError
from preprocess.plan.inputs import open_sources
from tests.preprocess.workshop import Outcome, Workshop, published, talk

RECORDS: list[Any] = [talk(answer=str(number)) for number in range(9)]
RECORDS[4] = {"conversations": "broken"}
RECORDS[7] = {"oops": 1}


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of which some hold records of two files."""
    monkeypatch.setattr(preprocess.plan.parts, "RECORDS_PER_PART", 2)


def split(workshop: Workshop) -> Path:
    """The records in a folder of three files of two formats."""
    folder = workshop.root / "parts"
    folder.mkdir()
    (folder / "0.json").write_text(json.dumps(RECORDS[:3]))
    (folder / "1.jsonl").write_text("\n".join(map(json.dumps, RECORDS[3:5])))
    (folder / "2.jsonl").write_text("\n".join(map(json.dumps, RECORDS[5:])))
    workshop.register("d", folder)
    return folder


def run(workshop: Workshop, *flags: str, out: str = "out") -> Outcome:
    return workshop.run("--max_reject_share=1", *flags, out=out)


def test_the_samples_are_those_of_one_file(workshop: Workshop) -> None:
    workshop.dataset(RECORDS)
    one = run(workshop, "--dataset_use=d%150", out="one")
    split(workshop)
    several = run(workshop, "--dataset_use=d%150")
    assert one.code == several.code == 0
    assert len(one.packs) == len(several.packs)
    for left, right in zip(one.packs, several.packs, strict=True):
        assert left.sample_keys == right.sample_keys
        np.testing.assert_array_equal(left.input_ids, right.input_ids)
    assert one.manifest.fingerprint != several.manifest.fingerprint


def test_a_reject_names_the_file_and_the_record_in_it(workshop: Workshop) -> None:
    folder = split(workshop)
    outcome = run(workshop)
    assert [(reject["index"], reject["file"], reject["record"]) for reject in outcome.rejects] == [
        (4, f"{folder}/1.jsonl", 1),
        (7, f"{folder}/2.jsonl", 2),
    ]
    assert f"no_turns: d:7 ({folder}/2.jsonl record 2)" in outcome.out
    assert f"d:7 ({folder}/2.jsonl record 2)" in workshop.command("report", str(outcome.folder)).out


def test_what_is_rejected_while_decoding_is_found_too(workshop: Workshop) -> None:
    folder = split(workshop)
    broken = talk("<image>", image=workshop.truncated_image())
    (folder / "3.jsonl").write_text(f"{json.dumps(RECORDS[0])}\n{json.dumps(broken)}\n")
    last = run(workshop).rejects[-1]
    assert (last["reason"], last["index"], last["file"], last["record"]) == (
        "undecodable",
        10,
        f"{folder}/3.jsonl",
        1,
    )


def test_array_jobs_and_a_run_that_goes_on_write_the_same(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    split(workshop)
    whole = run(workshop, out="whole")
    assert [run(workshop, f"--task={index}/2", out="array").code for index in range(2)] == [0, 0]
    assert published(workshop.root / "array") == published(whole.folder)
    for path in (whole.folder / "plan" / "plan.json", whole.folder / "manifest.json"):
        path.unlink()
    before = published(workshop.root / "array")
    (whole.folder / "plan" / "samples" / "part-000002.arrow").unlink()
    assert run(workshop, out="whole").code == 0
    assert published(whole.folder) == before


def test_a_file_more_or_another_order_is_another_run(workshop: Workshop) -> None:
    folder = split(workshop)
    assert run(workshop).code == 0
    fingerprints = {open_sources(workshop.config()).fingerprint}
    (folder / "00.jsonl").write_text(json.dumps(RECORDS[0]))
    fingerprints.add(open_sources(workshop.config()).fingerprint)
    (folder / "00.jsonl").rename(folder / "3.jsonl")
    fingerprints.add(open_sources(workshop.config()).fingerprint)
    assert len(fingerprints) == 3
    assert "holds another run" in run(workshop).error


def test_a_file_that_changes_while_it_is_read_stops_the_run(workshop: Workshop) -> None:
    folder = split(workshop)
    sources = open_sources(workshop.config())
    (folder / "1.jsonl").write_text("{}\n{}\n")
    sources.check_unchanged([folder / "0.json"])
    for paths in (None, [folder / "1.jsonl"]):
        with pytest.raises(AnnotationError, match=r"1\.jsonl changed while a run was reading it"):
            sources.check_unchanged(paths)


def test_a_limit_reads_the_first_records_of_each_dataset(workshop: Workshop) -> None:
    split(workshop)
    workshop.dataset([talk(), talk()], name="e")
    outcome = run(workshop, "--limit=6", "--dataset_use=all")
    assert outcome.keys == ["d:0", "d:1", "d:2", "d:3", "d:5", "e:0", "e:1"]
    assert [reject["index"] for reject in outcome.rejects] == [4]
    assert outcome.manifest.inputs["config"]["limit"] == 6


def test_mended_sources_are_counted_and_named_without_their_hashes(workshop: Workshop) -> None:
    folder = split(workshop)
    workshop.dataset([talk()], name="e.f")
    assert run(workshop).code == 0
    (folder / "2.jsonl").write_text(json.dumps(RECORDS[0]))
    workshop.dataset([talk(), talk()], name="e.f")
    assert run(workshop).error.endswith(
        "holds another run: 2 sources changed since the plan (annotations of d, annotations of e.f). "
        "Pass --overwrite, or name a new folder"
    )
    said = run(workshop, "--seed=3", "--dataset_use=d").error
    assert "1 source changed since the plan (annotations of d); config.dataset_use was d,e.f, is d; " in said
    assert said.endswith(
        "; config.seed was 0, is 3; datasets.e.f was there, is not there. "
        "Name another folder, go back to that configuration, or pass --overwrite"
    )
    assert run(workshop, "--overwrite").code == 0


def test_plan_writes_its_rejects(workshop: Workshop) -> None:
    split(workshop)
    file = workshop.root / "rejects of the plan.jsonl"
    arguments = workshop.flags("--max_reject_share=1", f"--rejects={file}")
    assert workshop.command("plan", *arguments).code == 0
    assert file.read_bytes() == (run(workshop).folder / "rejects.jsonl").read_bytes()
    assert "turn" in json.loads(file.read_text().splitlines()[0])["detail"]
    for words, expected in (
        ([f"--rejects={workshop.root}/none/x"], f"there is no folder {workshop.root}/none; make it"),
        ([f"--rejects={file}", "--sweep", "seed=1"], "--rejects writes those of one configuration; leave --sweep out"),
    ):
        outcome = workshop.command("plan", *workshop.flags(*words))
        assert (outcome.code, expected in outcome.error) == (2, True)
    assert "belongs to the command line of plan" in run(workshop, "--rejects=x").error
