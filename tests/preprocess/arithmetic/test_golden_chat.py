"""Token ids and labels equal those of the reference scripts, except where the specification knowingly differs.

Each test on a difference asserts both sides: what the reference gives, and what we give.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer

from preprocess.arithmetic.chat import ChatEncoder, EncodedText
from preprocess.arithmetic.runs import VisualRun
from preprocess.arithmetic.tokenizer import load_tokenizer
from preprocess.errors import Reason, SampleError
from preprocess.read.records import parse_record
from preprocess.read.registry import Dataset
from preprocess.sample import Role, Turn
from shards import IGNORE_INDEX, ModelConstants
from tests.preprocess.golden import GOLDEN, read_golden

CHAT = read_golden("chat.json")
CASES: dict[str, Any] = CHAT["cases"]
DIFFERING: dict[str, Any] = CHAT["differing"]
ROLES: dict[str, Role] = {
    "human": "user",
    "gpt": "assistant",
    "user": "user",
    "assistant": "assistant",
    "system": "system",
}
Ids = list[int]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return load_tokenizer(GOLDEN / "chat_tokenizer.json")


@pytest.fixture(scope="module")
def constants(constants: ModelConstants, tokenizer: Tokenizer) -> ModelConstants:
    """Those of the demo, with the ids of the golden tokenizer."""
    tokens = {
        "im_start_token_id": "<|im_start|>",
        "im_end_token_id": "<|im_end|>",
        "pad_token_id": "<|endoftext|>",
        "vision_start_token_id": "<|vision_start|>",
        "vision_end_token_id": "<|vision_end|>",
        "image_token_id": "<|image_pad|>",
        "video_token_id": "<|video_pad|>",
    }
    ids = {name: tokenizer.token_to_id(token) for name, token in tokens.items()}
    return replace(constants, **ids)


@pytest.fixture(scope="module")
def chat(tokenizer: Tokenizer, constants: ModelConstants) -> ChatEncoder:
    return ChatEncoder(tokenizer, constants)


def encode(chat: ChatEncoder, record: dict[str, Any]) -> EncodedText:
    turns = [
        Turn(role=ROLES[turn.get("from") or turn["role"]], text=turn["value"] if "value" in turn else turn["content"])
        for turn in record["conversations"]
    ]
    images = [VisualRun(grid_thw=tuple(grid), second_per_grid=0.0) for grid in record["images"]]
    videos = [[VisualRun(grid_thw=tuple(grid), second_per_grid=1.0)] for grid in record["videos"]]
    return chat.encode(turns, images, videos)


def ours_and_theirs(chat: ChatEncoder, name: str) -> tuple[Ids, Ids, Ids, Ids]:
    """Ids and labels of ours, then of the reference."""
    encoded, golden = encode(chat, DIFFERING[name]), DIFFERING[name]
    ours, our_labels = encoded.input_ids.tolist(), encoded.labels.tolist()
    assert ours != golden["input_ids"], "this case no longer differs"
    return ours, our_labels, golden["input_ids"], golden["labels"]


def text_of(tokenizer: Tokenizer, ids: Ids) -> str:
    return tokenizer.decode(ids, skip_special_tokens=False)


def supervised(ids: Ids, labels: Ids) -> Ids:
    assert all(label in (token, IGNORE_INDEX) for token, label in zip(ids, labels, strict=True))
    return [label for label in labels if label != IGNORE_INDEX]


@pytest.mark.parametrize("name", CASES)
def test_ids_and_labels_equal_the_reference(name: str, chat: ChatEncoder) -> None:
    encoded = encode(chat, CASES[name])
    assert encoded.input_ids.tolist() == CASES[name]["input_ids"]
    assert encoded.labels.tolist() == CASES[name]["labels"]


def test_the_cases_hold_every_kind_of_sample(constants: ModelConstants, tokenizer: Tokenizer) -> None:
    media = {(len(case["images"]), len(case["videos"])) for case in CASES.values()}
    assert media >= {(0, 0), (1, 0), (3, 0), (0, 1), (0, 2), (2, 2), (1, 1)}
    assert any(tokenizer.token_to_id("<tool_call>") in case["labels"] for case in CASES.values())
    for case in CASES.values():
        pads = [case["input_ids"].count(pad) for pad in (constants.image_token_id, constants.video_token_id)]
        assert pads == [sum(int(np.prod(grid)) // 4 for grid in case[kind]) for kind in ("images", "videos")]


def test_the_default_system_turn_has_eleven_tokens(chat: ChatEncoder, constants: ModelConstants) -> None:
    """<|im_start|> system \\n You are a helpful assistant . <|im_end|> \\n: a word each, as in Qwen's tokenizer."""
    turn = CHAT["default_system_turn"]
    assert len(turn) == 11
    assert (turn[0], turn[-2]) == (constants.im_start_token_id, constants.im_end_token_id)
    assert turn[2] == turn[-1], "the newlines"
    assert encode(chat, CASES["text_only"]).input_ids[:11].tolist() == turn


# --- where we differ -----------------------------------------------------------------------------------------------


def test_an_own_system_turn_replaces_the_default_one(chat: ChatEncoder) -> None:
    """The reference keeps both."""
    ours, our_labels, theirs, their_labels = ours_and_theirs(chat, "own_system_turn")
    assert theirs[:11] == CHAT["default_system_turn"]
    assert (theirs[11:], their_labels[11:]) == (ours, our_labels)


@pytest.mark.parametrize(
    "name", ["answer_begins_with_newline", "answer_begins_with_blank_line", "answer_begins_with_carriage_return"]
)
def test_an_answer_that_begins_with_a_newline_follows_the_header_that_generation_ends_with(
    name: str, chat: ChatEncoder, tokenizer: Tokenizer, constants: ModelConstants
) -> None:
    """The reference merges the header's newline with the answer's, and masks what it merged."""
    ours, our_labels, theirs, their_labels = ours_and_theirs(chat, name)
    answer = DIFFERING[name]["conversations"][1]["value"]
    header = [constants.im_start_token_id, *tokenizer.encode("assistant\n").ids]
    assert len(header) == 3
    length = len(supervised(ours, our_labels))
    assert ours[-length - 3 : -length] == header
    assert text_of(tokenizer, supervised(ours, our_labels)) == f"{answer}<|im_end|>\n"
    assert text_of(tokenizer, ours) == text_of(tokenizer, theirs), "the same text, cut into other tokens"
    assert text_of(tokenizer, supervised(theirs, their_labels)) != f"{answer}<|im_end|>\n"


def test_a_question_that_begins_with_a_newline_is_cut_at_its_header(
    chat: ChatEncoder, tokenizer: Tokenizer, constants: ModelConstants
) -> None:
    ours, our_labels, theirs, their_labels = ours_and_theirs(chat, "question_begins_with_newline")
    header = [constants.im_start_token_id, *tokenizer.encode("user\n").ids]
    assert (ours[11:14], theirs[11:13]) == (header, header[:2])
    assert theirs[13] != header[2]
    assert text_of(tokenizer, ours) == text_of(tokenizer, theirs)
    assert supervised(ours, our_labels) == supervised(theirs, their_labels)


@pytest.mark.parametrize("name", ["special_tokens_in_question", "special_tokens_in_answer"])
def test_special_tokens_in_a_text_stay_text(
    name: str, chat: ChatEncoder, tokenizer: Tokenizer, constants: ModelConstants
) -> None:
    """The reference takes them for the template's own, so that a text can end a turn or ask for pixels."""
    ours, _, theirs, _ = ours_and_theirs(chat, name)
    assert ours.count(constants.im_end_token_id) == 3 < theirs.count(constants.im_end_token_id)
    assert ours.count(constants.image_token_id) == 0
    assert text_of(tokenizer, ours) == text_of(tokenizer, theirs)
    if name == "special_tokens_in_answer":
        assert theirs.count(constants.image_token_id) == 1


def parse(name: str, **media: Any) -> None:
    dataset = Dataset(name="golden", annotation_path=Path("golden.json"), data_path=Path("/media"))
    parse_record({"conversations": DIFFERING[name]["conversations"], **media}, dataset, 0, None)


def test_a_leading_answer_is_a_reject(tokenizer: Tokenizer) -> None:
    """The reference drops the turn silently."""
    assert DIFFERING["leading_answer"]["conversations"][0]["value"] == "Hello! What is it?"
    assert "Hello" not in text_of(tokenizer, DIFFERING["leading_answer"]["input_ids"])
    with pytest.raises(SampleError) as caught:
        parse("leading_answer")
    assert caught.value.reason is Reason.ROLE_ORDER


def test_a_media_tag_in_an_answer_is_a_reject(tokenizer: Tokenizer) -> None:
    """The reference trains the tag as text."""
    golden = DIFFERING["tag_in_answer"]
    assert "<image>" in text_of(tokenizer, supervised(golden["input_ids"], golden["labels"]))
    with pytest.raises(SampleError) as caught:
        parse("tag_in_answer", image="a.png")
    assert caught.value.reason is Reason.MISPLACED_TAG


def test_every_difference_has_its_test() -> None:
    assert set(DIFFERING) == {
        "own_system_turn",
        "answer_begins_with_newline",
        "answer_begins_with_blank_line",
        "answer_begins_with_carriage_return",
        "question_begins_with_newline",
        "special_tokens_in_question",
        "special_tokens_in_answer",
        "leading_answer",
        "tag_in_answer",
    }
