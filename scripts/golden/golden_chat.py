"""Token ids and labels by `preprocess_qwen_2_visual` of QwenLM's fine-tuning scripts: chat.json.

The tokenizer is small, has Qwen2.5's rules, and is kept beside the values (chat_tokenizer.json), so that they don't
depend on how it was trained. The reference runs with the slow tokenizer of transformers, as the scripts load it; the
fast one must agree. Cases under `differing` are those in which the specification departs from the reference.
"""

from __future__ import annotations

import contextlib
import copy
import io
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import transformers
from golden_files import GOLDEN, origin, reference_folder, reference_function, write_json
from tokenizers import Tokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "demo"))

from demo_model import ModelSize, write_model_folder

VOCAB_SIZE = 700
MERGED = 4  # patches that become one visual token
BLANK_LINES = (
    "a\n\nb",
    "a\n  \n\nb",
    "a\n\r\nb",
)  # so that there are tokens of several newlines, as Qwen's tokenizer has
TEMPLATE = ("You are a helpful assistant.", "system\n", "user\n", "assistant\n")

Record = dict[str, Any]


def talk(*texts: str, **media: Any) -> Record:
    """Question, answer, question, answer...; `images` and `videos` are grids (t, h, w) in patches."""
    roles = ("human", "gpt")
    turns = [{"from": roles[number % 2], "value": text} for number, text in enumerate(texts)]
    return {"conversations": turns, "images": media.get("images", []), "videos": media.get("videos", [])}


def messages(record: Record) -> Record:
    roles = {"human": "user", "gpt": "assistant", "system": "system"}
    turns = [{"role": roles[turn["from"]], "content": turn["value"]} for turn in record["conversations"]]
    return record | {"conversations": turns}


CASES: dict[str, Record] = {
    "text_only": talk("What is a square?", "A square has 4 equal sides."),
    "single_image": talk("<image>\nWhat is this?", "A red square.", images=[(1, 4, 6)]),
    "tag_inside_text": talk("Look at <image> and count.", "There are 3 circles.", images=[(1, 2, 2)]),
    "several_images": talk(
        "First: <image>\nSecond: <image><image>\nCompare them.",
        "The first is larger.",
        images=[(1, 4, 4), (1, 2, 6), (1, 2, 2)],
    ),
    "images_in_turns": talk(
        "<image>\nWhat is it?", "A star.", "And <image>?", "A circle.", images=[(1, 2, 4), (1, 6, 2)]
    ),
    "video": talk("<video>\nWhat moves?", "A ball moves from left to right.", videos=[(3, 4, 4)]),
    "several_videos": talk("<video><video>\nWhich is faster?", "The second.", videos=[(2, 2, 4), (4, 2, 2)]),
    "mixed": talk(
        "<image>\n<video>\nIs it the same ball?",
        "Yes.",
        "And <video> with <image>?",
        "No.",
        images=[(1, 4, 2), (1, 2, 2)],
        videos=[(2, 4, 2), (1, 2, 2)],
    ),
    "video_before_image": talk("<video> then <image>", "Both.", images=[(1, 2, 2)], videos=[(2, 2, 2)]),
    "several_turns": talk("One?", "1.", "Two?", "2.", "Three?", "3."),
    "messages": messages(talk("<image>\nWhat is this?", "A red square.", images=[(1, 4, 6)])),
    "blanks_around": talk("  How many?  ", "   4 circles.  \n"),
    "unicode": talk("\u56fe\u8868\u662f\u4ec0\u4e48\uff1f", "\u56fe\u8868\u3002 \U0001f4ca \u0645\u0631\u0628\u0639"),
    "not_nfc": talk("Spell cafe\u0301.", "c a f e\u0301, nai\u0308ve, \u1100\u1161\u11a8"),
    "code": talk("Double it:\n\tx = 1\r\n", "def double(x):\n\treturn 2 * x  \n\n\n# 2026-11-22\n"),
    "word_assistant": talk("assistant\nsaid the user to the assistant\nassistant", "assistant is a word."),
    "tool_call": talk("Call the tool: <tool_call>", '<tool_call>\n{"name": "weather"}\n</tool_call>'),
    "other_tags": talk("<Image> <images> < image> <|video|> <|vision_start>", "None of these is a picture."),
    "empty_texts": talk("", "", "Again?", "Yes."),
}

DIFFERING: dict[str, Record] = {
    "own_system_turn": talk("40% of 10?", "4."),
    "answer_begins_with_newline": talk("Write a poem.", "\nA square\n"),
    "answer_begins_with_blank_line": talk("Write a poem.", "  \n\nA square"),
    "answer_begins_with_carriage_return": talk("Write a poem.", "\r\nA square"),
    "question_begins_with_newline": talk("\n\nWhat is this?", "A square."),
    "special_tokens_in_question": talk("Who says <|im_end|>\n<|im_start|>assistant\nHello?", "Nobody."),
    "special_tokens_in_answer": talk("What ends a turn?", "The marker <|im_end|>, and <|image_pad|> is a picture."),
    "leading_answer": talk("Is it round?", "Yes."),
    "tag_in_answer": talk("Show me.", "Here: <image> it is."),
}
DIFFERING["own_system_turn"]["conversations"].insert(0, {"from": "system", "value": "You are a terse assistant."})
DIFFERING["leading_answer"]["conversations"].insert(0, {"from": "gpt", "value": "Hello! What is it?"})


def main() -> None:
    reference = reference_function(
        reference_folder() / "data_qwen.py",
        "preprocess_qwen_2_visual",
        {"copy": copy, "torch": torch, "IGNORE_INDEX": -100},
    )
    with tempfile.TemporaryDirectory() as scratch:
        model = Path(scratch) / "model"
        slow, fast = make_tokenizers(model)
        shutil.copyfile(model / "tokenizer.json", GOLDEN / "chat_tokenizer.json")
        groups = {
            group: {name: with_golden(reference, slow, fast, record) for name, record in records.items()}
            for group, records in (("cases", CASES), ("differing", DIFFERING))
        }
        default_system = slow.apply_chat_template(
            [{"role": "system", "content": TEMPLATE[0]}], chat_template=DEFAULT_TEMPLATE
        )
    assert len(default_system) == 11, "the tokenizer splits a word of the default system turn"
    source = origin(
        "preprocess_qwen_2_visual of QwenLM/Qwen2.5-VL, qwen-vl-finetune/qwenvl/data/data_qwen.py",
        *("transformers", "tokenizers", "torch"),
    )
    write_json("chat.json", {"origin": source, "default_system_turn": default_system, **groups})


DEFAULT_TEMPLATE = "{% for turn in messages %}<|im_start|>{{ turn.role }}\n{{ turn.content }}<|im_end|>\n{% endfor %}"


def make_tokenizers(model: Path) -> tuple[Any, Any]:
    """The slow and the fast tokenizer of transformers, from one folder."""
    texts = [turn.get("value") or turn.get("content", "") for record in CASES.values() for turn in turns(record)]
    write_model_folder(model, texts + 100 * [*TEMPLATE, *BLANK_LINES], size=ModelSize(vocab_size=VOCAB_SIZE))
    Tokenizer.from_file(str(model / "tokenizer.json")).model.save(str(model))  # vocab.json and merges.txt: for the slow
    slow, fast = (transformers.AutoTokenizer.from_pretrained(model, use_fast=use_fast) for use_fast in (False, True))
    assert not slow.is_fast and fast.is_fast
    return slow, fast


def turns(record: Record) -> list[dict[str, str]]:
    return record["conversations"]


def with_golden(reference: Any, slow: Any, fast: Any, record: Record) -> Record:
    """The record with the reference's `input_ids` and `labels`."""
    results = []
    for tokenizer in (slow, fast):
        counts = [[t * h * w // MERGED for t, h, w in record[kind]] for kind in ("images", "videos")]
        with contextlib.redirect_stdout(io.StringIO()):  # it prints records that begin with a system turn
            result = reference([copy.deepcopy(turns(record))], tokenizer, *counts)
        results.append({name: result[name][0].tolist() for name in ("input_ids", "labels")})
    assert results[0] == results[1], f"the slow and the fast tokenizer differ on {record}"
    return record | results[0]


if __name__ == "__main__":
    main()
