"""What turns and records say of their training."""

from __future__ import annotations

from typing import Any

import pytest

from preprocess.errors import Reason
from preprocess.sample import Sample, Turn
from tests.preprocess.read.forms.reading import qwen, read, reject, sample
from tests.preprocess.workshop import Workshop

TALK = ("<image>What is it?", "BADANSWER.", "Again?", "A grey square.")


def flagged(**flags: Any) -> dict[str, Any]:
    """Two answers, the first of them with `flags`."""
    record = qwen(*TALK, image="a.png")
    record["conversations"][1] |= flags
    return record


def trained(found: Sample) -> list[bool]:
    return [turn.is_trained for turn in found.turns if turn.role == "assistant"]


@pytest.mark.parametrize("key", ["loss", "weight", "train", "train_on_turn"])
def test_a_flag_leaves_an_answer_out_of_training_and_nothing_else(key: str) -> None:
    for off in (False, 0, 0.0):
        found = sample(flagged(**{key: off}))
        assert trained(found) == [False, True]
        assert [turn.text for turn in found.turns] == list(TALK)
    for on in (True, 1, 1.0, None):
        assert sample(flagged(**{key: on})) == sample(qwen(*TALK, image="a.png"))
    assert read(flagged(**{key: False})).ignored_keys == ()


@pytest.mark.parametrize(
    ("flags", "reason", "said"),
    [
        ({"weight": 0.5}, Reason.UNSUPPORTED, "turn 1 has 'weight' 0.5: an answer is learned or not"),
        ({"weight": 2}, Reason.UNSUPPORTED, "turn 1 has 'weight' 2"),
        ({"loss": float("nan")}, Reason.UNSUPPORTED, "turn 1 has 'loss' nan"),
        ({"loss": "false"}, Reason.BAD_JSON, "turn 1 has 'loss' that is a string"),
        ({"loss": False, "train": True}, Reason.BAD_JSON, "turn 1 has 'loss' and 'train', which disagree"),
        ({"reasoning_content": 5.0}, Reason.BAD_JSON, "reasoning_content that is a number"),
        ({"reasoning_content": "Hm."}, Reason.UNSUPPORTED, "turn 1 has reasoning_content; `reasoning: train`"),
    ],
)
def test_what_is_neither_on_nor_off_is_refused(flags: dict[str, Any], reason: Reason, said: str) -> None:
    error = reject(flagged(**flags))
    assert error.reason is reason
    assert said in error.detail


def test_only_answers_can_be_trained() -> None:
    record = flagged()
    record["conversations"][0]["train"] = True
    assert reject(record).reason is Reason.UNSUPPORTED
    record["conversations"][0]["train"] = False
    assert trained(sample(record)) == [True, True]


def test_a_record_or_its_dataset_may_train_the_last_answer_alone() -> None:
    assert trained(sample(flagged(), loss_turns="last")) == [False, True]
    assert trained(sample(flagged() | {"loss_turns": "last"})) == [False, True]
    assert trained(sample(flagged() | {"loss_turns": "all"}, loss_turns="last")) == [True, True]
    assert trained(sample(flagged() | {"loss_turns": None}, loss_turns="last")) == [False, True]
    for wrong in ("first", 5.0, ["last"]):
        error = reject(flagged() | {"loss_turns": wrong})
        assert error.reason is Reason.BAD_JSON
        assert "loss_turns must be one of all, last" in error.detail


def test_reasoning_stands_before_the_answer_where_the_registry_says_so() -> None:
    record = flagged(reasoning_content="I see\none square.")
    found = sample(record, reasoning="train")
    assert found.turns[1] == Turn(role="assistant", text="<think>\nI see\none square.\n</think>\n\nBADANSWER.")
    assert sample(flagged(reasoning_content=""), reasoning="train") == sample(flagged())


def test_masked_answers_are_read_and_not_learned(workshop: Workshop) -> None:
    records = [flagged(), flagged(loss=False), flagged(loss=False)]
    records[2]["conversations"][3]["weight"] = 0
    workshop.image("a.png")
    workshop.dataset(records)
    outcome = workshop.run("--packing=none", "--max_reject_share=1")
    [reject_line] = outcome.rejects
    assert (reject_line["reason"], reject_line["detail"]) == (
        "nothing_to_learn",
        "every answer is empty or left out of training",
    )
    packs = {pack.sample_keys[0]: pack for pack in outcome.packs}
    whole, masked = packs["d:0"], packs["d:1"]
    assert whole.input_ids.tolist() == masked.input_ids.tolist()
    learned = [pack.labels != -100 for pack in (whole, masked)]
    assert 0 < learned[1].sum() < learned[0].sum()
    assert (learned[1] <= learned[0]).all()
    first = int(learned[0].argmax())
    dropped = whole.input_ids[(learned[0] & ~learned[1])]
    assert dropped.tolist() == whole.input_ids[first : first + len(dropped)].tolist(), "the first answer, as a whole"
