"""Boxes beside the turns, with placeholders in the text."""

from __future__ import annotations

import json
from typing import Any

import pytest

from preprocess.errors import Reason
from preprocess.sample import PlacedBox
from tests.preprocess.read.forms.reading import messages, qwen, read, reject, sample
from tests.preprocess.workshop import Workshop

SHEEP = {"ref": ["sheep"], "bbox": [[10, 20, 30, 40]]}


def record(question: str = "<image>Find <ref-object>", answer: str = "<bbox>", **objects: Any) -> dict[str, Any]:
    return messages(question, answer, images=["a.png"], objects={**SHEEP, **objects})


def placed(*numbers: float, image: int = -1, width: float = 0.0, height: float = 0.0) -> PlacedBox:
    return PlacedBox(numbers=numbers, image=image, width=width, height=height)


def test_names_stand_in_the_text_and_boxes_beside_it() -> None:
    found = sample(record(), boxes="original")
    assert [turn.text for turn in found.turns] == ["<image>Find sheep", "<bbox>"]
    assert found.placed == (placed(10, 20, 30, 40),)
    as_json = {**record(), "objects": json.dumps(SHEEP)}
    assert sample(as_json, boxes="original") == found
    assert read(record(), boxes="original").ignored_keys == ()


@pytest.mark.parametrize(
    ("objects", "boxes", "expected"),
    [
        ({"bbox_type": "norm1", "bbox": [[0.5, 1]]}, "original", placed(500, 1000, width=1000, height=1000)),
        ({"bbox_type": "norm1000"}, "original", placed(10, 20, 30, 40, width=1000, height=1000)),
        ({}, "relative_1000", placed(10, 20, 30, 40, width=1000, height=1000)),
        ({"bbox_type": "real"}, "relative_1000", placed(10, 20, 30, 40)),
        ({"width": 56, "height": 28}, "original", placed(10, 20, 30, 40, width=56, height=28)),
        ({"image_id": [0]}, "original", placed(10, 20, 30, 40, image=0)),
        ({"bbox": [[1, 2]]}, "original", placed(1, 2)),
    ],
)
def test_a_record_says_what_its_numbers_are(objects: dict[str, Any], boxes: Any, expected: PlacedBox) -> None:
    assert sample(record(**objects), boxes=boxes).placed == (expected,)


def test_objects_without_a_placeholder_are_ignored() -> None:
    found = read(record("<image>Find it", "There."), boxes="original")
    assert found.sample == sample(qwen("<image>Find it", "There.", image="a.png"), boxes="original")
    assert found.ignored_keys == ("objects",)
    assert sample(messages("Is <bbox> a tag?", "No.")) == sample(qwen("Is <bbox> a tag?", "No."))


@pytest.mark.parametrize(
    ("objects", "reason", "said"),
    [
        ({"bbox": []}, Reason.TAG_COUNT, "1 <bbox> for 0 in 'objects'"),
        ({"ref": ["a", "b"]}, Reason.TAG_COUNT, "1 <ref-object> for 2"),
        ({"bbox": [[1, 2, 3]]}, Reason.BAD_JSON, "lists of four numbers, or of two"),
        ({"bbox": [["1", 2, 3, 4]]}, Reason.BAD_JSON, "lists of four numbers, or of two"),
        ({"bbox": "x"}, Reason.BAD_JSON, "'bbox' of 'objects' must be a list"),
        ({"ref": [5]}, Reason.BAD_JSON, "'ref' of 'objects' holds a number"),
        ({"bbox_type": "percent"}, Reason.BAD_JSON, "'bbox_type' must be one of real, norm1, norm1000"),
        ({"width": 5}, Reason.BAD_JSON, "one of width and height"),
        ({"width": -5, "height": 5}, Reason.BAD_JSON, "'width' of 'objects' must be a number of pixels"),
        ({"image_id": [0, 1]}, Reason.BAD_JSON, "has 2 for 1 boxes"),
        ({"image_id": ["a"]}, Reason.AMBIGUOUS_BOXES, "'image_id' of 'objects' must be a number from 0"),
    ],
)
def test_wrong_objects_are_named(objects: dict[str, Any], reason: Reason, said: str) -> None:
    error = reject(record(**objects), boxes="original")
    assert error.reason is reason
    assert said in error.detail


def test_what_the_numbers_mean_must_be_said() -> None:
    error = reject(record())
    assert error.reason is Reason.AMBIGUOUS_BOXES
    assert "set `boxes` in the registry" in error.detail


def test_a_placed_box_is_encoded_as_the_same_box_in_the_text(workshop: Workshop) -> None:
    workshop.image("a.png", size=(112, 56))
    wide = {"width": 112, "height": 56}
    answer = '[{"bbox_2d": %s, "label": "sheep"}]'
    records = [
        record("<image>Find the sheep", answer.replace("sheep", "<ref-object>") % "<bbox>", **wide),
        qwen("<image>Find the sheep", answer % [10, 20, 30, 40], image="a.png"),
        qwen("<image>Find the sheep", "There.", image="a.png"),
    ]
    workshop.dataset(records, boxes="original")
    outcome = workshop.run("--packing=none", "--max_pixels=1568")
    packs = {pack.sample_keys[0]: pack for pack in outcome.packs}
    assert packs["d:0"].input_ids.tolist() == packs["d:1"].input_ids.tolist()
    assert packs["d:0"].labels.tolist() == packs["d:1"].labels.tolist()
    assert outcome.plan.notes == {"d": {"answers_with_boxes": 2, "boxes_rewritten": 2, "samples_without_boxes": 1}}
    printed = workshop.command("plan", *workshop.flags(out="other")).out
    assert "d: 2 answers hold boxes\n" in printed
    assert "d: 1 sample holds no box, and `boxes` is set\n" in printed
