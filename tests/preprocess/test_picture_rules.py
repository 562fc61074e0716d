"""What a run chooses about its pictures: seen in its bytes, its fingerprint, and what it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.preprocess.workshop import Workshop, talk


def grey(workshop: Workshop, name: str, largest: int) -> str:
    values = np.linspace(0, largest, 56 * 56).astype(np.uint16).reshape(56, 56)
    Image.fromarray(values).save(workshop.media / name)
    return name


def test_how_grey_of_16_bits_was_taken_is_said_of_each_dataset(workshop: Workshop) -> None:
    for name, largest in {"d": (255, 255, 4095), "e": (65535, 4095)}.items():
        names = [grey(workshop, f"{name}{n}.png", each) for n, each in enumerate(largest)]
        workshop.dataset([talk("<image>", image=each) for each in names], name)
    said = (
        "d: 1 image of 16-bit grey has values below 4,096, which were divided by 16",
        "d: 2 images of 16-bit grey have values below 256, which were taken as they are",
        "e: 1 image of 16-bit grey has values below 4,096, which were divided by 16",
        "e: 1 image of 16-bit grey has larger values, of which the high byte was taken",
    )
    outcome = workshop.run("--dataset_use=d,e")
    lines = outcome.out.splitlines()
    assert [line for line in lines if "of 16-bit grey" in line] == list(said)
    report = workshop.command("report", str(outcome.folder)).out.splitlines()
    assert [line for line in report if "of 16-bit grey" in line] == list(said)
    assert max(int(pack.image_patches.max()) for pack in outcome.packs) == 255


def test_no_patches_of_other_rules_are_reused(workshop: Workshop) -> None:
    workshop.dataset([talk("<image>", image=grey(workshop, "a.png", 4095))])
    old = workshop.run()
    again = workshop.run(f"--reuse={old.folder}", out="again")
    assert again.code == 0 and "reused 1 of 1" in again.out
    refused = workshop.run(f"--reuse={old.folder}", "--grey_16=high_byte", out="other")
    assert refused.code == 2
    assert "grey_16 was auto there, and is high_byte now" in refused.err
    assert workshop.run(f"--reuse={old.folder}", "--decoder=lenient", out="third").code == 2


@pytest.mark.parametrize("flag", ["--grey_16=high_byte", "--decoder=lenient", "--max_source_pixels=5000"])
def test_each_rule_is_part_of_the_fingerprint(workshop: Workshop, flag: str) -> None:
    workshop.dataset([talk("<image>", image=workshop.image())])
    first, second = workshop.run(), workshop.run(flag, out="second")
    assert first.manifest.fingerprint != second.manifest.fingerprint


def test_a_lost_end_and_a_large_picture_are_rejects_by_default(workshop: Workshop) -> None:
    path = workshop.media / "a.jpg"
    Image.new("RGB", (90, 60), "red").save(path)
    path.write_bytes(path.read_bytes()[:-2])
    workshop.image("large.png", size=(100, 100))
    workshop.dataset([talk("<image>", image="a.jpg"), talk("<image>", image="large.png")])
    strict = workshop.run("--max_reject_share=1")
    assert [reject["reason"] for reject in strict.rejects] == ["undecodable"]
    lenient = workshop.run("--decoder=lenient", "--max_source_pixels=9999", "--max_reject_share=1", out="lenient")
    assert [reject["reason"] for reject in lenient.rejects] == ["decompression_bomb"]
    assert lenient.keys == ["d:0"]


def test_a_damaged_note_is_named(workshop: Workshop) -> None:
    workshop.dataset([talk("<image>", image=grey(workshop, "a.png", 4095))])
    folder: Path = workshop.run().folder
    (folder / "plan" / "decoding.json").write_text('{"d": {"grey_12_bits": "one"}}')
    outcome = workshop.command("report", str(folder))
    assert outcome.code == 1 and "decoding.json is damaged" in outcome.err
