"""Special tokens in the texts of a dataset: text, unless its registry entry lets them through."""

from __future__ import annotations

from typing import Any

import pytest
from demo_build import Demo
from demo_model import SPECIAL_TOKENS
from tokenizers import Tokenizer

from preprocess.arithmetic.chat import ChatEncoder
from preprocess.arithmetic.tokenizer import check_allowed, load_tokenizer
from preprocess.errors import ConfigError
from preprocess.sample import Turn
from shards import ModelConstants
from tests.preprocess.workshop import Workshop, talk

BOXES = ["<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>", "<|box_end|>"]
QUESTION = "<image>Find the <|object_ref_start|>sheep<|object_ref_end|>"
ANSWER = "<|box_start|>(10,20),(30,40)<|box_end|>"


@pytest.fixture
def tokenizer(demo: Demo) -> Tokenizer:
    return load_tokenizer(demo.model / "tokenizer.json")


def run(workshop: Workshop, **options: Any) -> Any:
    workshop.image("a.png", size=(56, 56))
    workshop.dataset([talk(QUESTION, ANSWER, image="a.png")], **options)
    return workshop.run("--min_pixels=12544", "--max_pixels=12544")


def test_they_are_text_and_the_run_says_how_many(workshop: Workshop, tokenizer: Tokenizer) -> None:
    outcome = run(workshop)
    ids = outcome.packs[0].input_ids.tolist()
    assert not {tokenizer.token_to_id(token) for token in BOXES} & set(ids)
    assert outcome.plan.notes["d"]["special_as_text"] == 4
    printed = workshop.command("plan", *workshop.flags(out="other")).out
    assert "d: 4 special tokens in texts were taken for text" in printed


def test_those_that_are_allowed_are_their_one_id_and_boxes_between_them_follow_the_image(
    workshop: Workshop, tokenizer: Tokenizer
) -> None:
    outcome = run(workshop, allow_tokens=BOXES, boxes="original")
    [pack] = outcome.packs
    ids = pack.input_ids.tolist()
    assert [ids.count(tokenizer.token_to_id(token)) for token in BOXES] == [1] * 4
    text = tokenizer.decode(pack.labels[pack.labels >= 0].tolist(), skip_special_tokens=False)
    assert text == "<|box_start|>(20,40),(60,80)<|box_end|><|im_end|>\n"
    assert outcome.plan.notes == {"d": {"answers_with_boxes": 1, "boxes_rewritten": 1}}


def test_ids_around_them_are_those_of_the_texts_between_them(tokenizer: Tokenizer, constants: ModelConstants) -> None:
    chat = ChatEncoder(tokenizer, constants)
    turns = [Turn(role="user", text="Hi"), Turn(role="assistant", text="a <|box_start|> b<|im_end|>")]
    ids = chat.encode(turns, allowed=("<|box_start|>",)).input_ids.tolist()
    at = ids.index(tokenizer.token_to_id("<|box_start|>"))
    before, after = (tokenizer.encode(text, add_special_tokens=False).ids for text in ("a ", " b<|im_end|>"))
    assert ids[at - len(before) : at] == before
    assert ids[at + 1 : at + 1 + len(after)] == after
    assert ids.count(constants.im_end_token_id) == 3
    assert chat.num_special_as_text(turns, ("<|box_start|>",)) == 1
    assert chat.least_tokens(turns, ("<|box_start|>",)) <= len(ids)
    assert chat.least_tokens([Turn(role="user", text="<|box_start|>" * 500)], ("<|box_start|>",)) == 500


TEMPLATE_TOKENS = ("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|vision_start|>", "<|image_pad|>", "<|video_pad|>")


@pytest.mark.parametrize("token", TEMPLATE_TOKENS)
def test_tokens_of_the_template_can_not_be_allowed(token: str, tokenizer: Tokenizer, constants: ModelConstants) -> None:
    assert token in SPECIAL_TOKENS
    with pytest.raises(ConfigError, match="would end a turn or ask for pixels"):
        check_allowed([token], tokenizer, constants, "dataset 'd'")


def test_an_unknown_token_is_refused_before_anything_is_written(workshop: Workshop) -> None:
    outcome = run(workshop, allow_tokens=["<|box|>"])
    assert outcome.code == 2
    assert "dataset 'd': allow_tokens has '<|box|>', no special token of the model; it has <|box_end|>" in outcome.error
    assert not outcome.folder.exists()
