"""Every form, through a whole run: ids, labels, positions and pixels equal those of the same talk in the Qwen form."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from tests.preprocess.read.forms.reading import messages, qwen
from tests.preprocess.workshop import Workshop

IMAGE = {"type": "image", "image": "a.png"}
BRIEF = "You are a radiologist. Answer in one word."
ONE = qwen("<image>What colour?", "Red.", image="a.png")
TWO = qwen("<image>What colour?", "Red.", "Sure?", "Yes.", image="a.png")
WITH_SYSTEM = qwen("<image>What colour?", "Red.", system=BRIEF, image="a.png")
COLOUR = [IMAGE, {"type": "text", "text": "What colour?"}]
PAIR = {"image": "a.png", "prompt": "<image>What colour?", "response": "Red."}
PAIRS = [{"user": "What colour?", "assistant": "Red."}, {"user": "Sure?", "assistant": "Yes."}]

CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "content list": (messages(COLOUR, [{"type": "text", "text": "Red."}]), ONE),
    "content list, next image": (messages([{"type": "image"}, *COLOUR[1:]], "Red.", images=["a.png"]), ONE),
    "image_url": (messages([{"type": "image_url", "image_url": {"url": "a.png"}}, *COLOUR[1:]], "Red."), ONE),
    "turns as json": ({"messages": json.dumps(messages(COLOUR, "Red.")["messages"])}, ONE),
    "system": (ONE | {"system": BRIEF}, WITH_SYSTEM),
    "system_prompt": (ONE | {"system_prompt": BRIEF}, WITH_SYSTEM),
    "texts": ({"images": ["a.png"], "texts": PAIRS}, TWO),
    "prompt and response": (PAIR, ONE),
    "query, response, history": (
        {"query": "Sure?", "response": "Yes.", "history": [["<image>What colour?", "Red."]], "images": ["a.png"]},
        TWO,
    ),
    "instruction, input, output": (
        {"instruction": "<image>What", "input": "colour?", "output": "Red.", "images": ["a.png"]},
        qwen("<image>What\ncolour?", "Red.", image="a.png"),
    ),
    "question and answer": ({"question": "<image>What colour?", "answer": ["Red."], "image": "a.png"}, ONE),
}


@pytest.fixture
def runs(workshop: Workshop) -> dict[str, Any]:
    workshop.image("a.png")
    for name, position in (("written", 0), ("same", 1)):
        workshop.dataset([case[position] for case in CASES.values()], name=name)
    outcome = workshop.run("--packing=none")
    assert outcome.rejects == []
    return {pack.sample_keys[0]: pack for pack in outcome.packs}


def test_a_form_is_encoded_like_the_qwen_form(runs: dict[str, Any]) -> None:
    assert len(runs) == 2 * len(CASES)
    for number, name in enumerate(CASES):
        written, same = runs[f"written:{number}"], runs[f"same:{number}"]
        for array in ("input_ids", "labels", "position_ids", "image_patches", "image_grid_thw"):
            assert np.array_equal(getattr(written, array), getattr(same, array)), (name, array)
        assert len(same.image_patches), name
