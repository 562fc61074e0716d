"""Conversation -> token ids and labels, by the chat template of Qwen's vision-language models.

    <|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n
    <|im_start|>user\\n<|vision_start|><|image_pad|>...<|vision_end|>What is this?<|im_end|>\\n
    <|im_start|>assistant\\nA cat.<|im_end|>\\n
                          ~~~~~~~~~~~~~~~~~~  supervised

The default system turn, and what stands in the place of a video, are the family's (`families.py`).
Header and content are encoded apart, so that what training sees after `assistant\\n` is what generation sees.
Source: QwenLM's fine-tuning scripts, `preprocess_qwen_2_visual`; the differences are listed in preprocess/README.md.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from preprocess.arithmetic.families import family_of
from preprocess.arithmetic.runs import Run, TextRun, VisualRun
from preprocess.arithmetic.tokenizer import TokenBound
from preprocess.sample import Turn
from shards import IGNORE_INDEX, ModelConstants

IMAGE_TAG, VIDEO_TAG = "<image>", "<video>"
_SYSTEM_TURNS_REMEMBERED = 64  # one is usually that of many samples
_TAG = re.compile(f"({IMAGE_TAG}|{VIDEO_TAG})")


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodedText:
    input_ids: npt.NDArray[np.int32]  # (S,) with the pads of every visual span
    labels: npt.NDArray[np.int32]  # (S,)
    runs: tuple[Run, ...]  # the same tokens as alternating text and visual spans
    num_answer_tokens: int  # supervised tokens of the answers' content alone, without <|im_end|> and newline


def count_tags(text: str) -> tuple[int, int]:
    """How many <image> and <video> tags stand in `text`."""
    return text.count(IMAGE_TAG), text.count(VIDEO_TAG)


class ChatEncoder:
    """Encodes conversations for one model folder."""

    def __init__(self, tokenizer: Tokenizer, constants: ModelConstants, *, supervise_newline: bool = True) -> None:
        """Raises ConfigError where no family has the model's model_type."""
        assert tokenizer.encode_special_tokens, "use load_tokenizer: special tokens in text must stay text"
        self._tokenizer = tokenizer
        self._constants = constants
        self._supervise_newline = supervise_newline
        default = family_of(constants.model_type).default_system()
        self._default_turns = [] if default is None else [Turn(role="system", text=default)]
        self._newline = self._encode("\n")
        self._encode_system = lru_cache(maxsize=_SYSTEM_TURNS_REMEMBERED)(self._encode)
        self._bound = TokenBound.of(tokenizer)
        self._headers = {role: self._encode(f"{role}\n") for role in ("system", "user", "assistant")}

    def _encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False).ids if text else []

    def least_tokens(self, turns: Sequence[Turn]) -> int:
        """How many tokens the texts of a conversation have at least, found without encoding them."""
        if self._bound is None:
            return 0
        words = (_TAG.split(turn.text) if turn.role == "user" else [turn.text] for turn in turns)
        return sum(
            self._bound.least_tokens(word) for turn in words for word in turn if word not in (IMAGE_TAG, VIDEO_TAG)
        )

    def encode(
        self,
        turns: Sequence[Turn],
        images: Sequence[VisualRun] = (),
        videos: Sequence[Sequence[str | VisualRun]] = (),
    ) -> EncodedText:
        """Encode a validated conversation; its tags are as many as `images` and `videos`.

        Of each video the pieces that its family gives it (`Family.video_pieces`).
        """
        constants = self._constants
        ids = array("i")
        supervised_parts: list[slice] = []
        runs: list[Run] = []
        run_start = 0
        num_answer_tokens = 0
        media = {IMAGE_TAG: ([image] for image in images), VIDEO_TAG: iter(videos)}

        def append(new_ids: Iterable[int], supervised: bool = False) -> None:
            start = len(ids)
            ids.extend(new_ids)
            if supervised:
                supervised_parts.append(slice(start, len(ids)))

        if turns[0].role != "system":
            turns = [*self._default_turns, *turns]
        for turn in turns:
            is_answer = turn.role == "assistant"
            append([constants.im_start_token_id, *self._headers[turn.role]])
            for piece in self._pieces(turn, media):
                if isinstance(piece, str):
                    text_ids = self._encode_system(piece) if turn.role == "system" else self._encode(piece)
                    append(text_ids, supervised=is_answer)
                    num_answer_tokens += len(text_ids) if is_answer else 0
                    continue
                append([constants.vision_start_token_id])
                runs += [TextRun(num_tokens=len(ids) - run_start), piece.span]
                num_pads = constants.num_visual_tokens(prod(piece.span.grid_thw))
                append(array("i", [piece.pad_id]) * num_pads)
                run_start = len(ids)
                append([constants.vision_end_token_id])
            append([constants.im_end_token_id], supervised=is_answer)
            append(self._newline, supervised=is_answer and self._supervise_newline)
        runs.append(TextRun(num_tokens=len(ids) - run_start))
        input_ids = np.array(ids, np.int32)
        labels = np.full_like(input_ids, IGNORE_INDEX)
        for part in supervised_parts:
            labels[part] = input_ids[part]
        return EncodedText(
            input_ids=input_ids,
            labels=labels,
            runs=tuple(runs),
            num_answer_tokens=num_answer_tokens,
        )

    def _pieces(self, turn: Turn, media: _Media) -> Iterator[str | _Pads]:
        """A turn's text between runs of pads, each text whole: what a family says of a video joins the user's words."""
        pad_ids = {IMAGE_TAG: self._constants.image_token_id, VIDEO_TAG: self._constants.video_token_id}
        text = ""
        is_question = turn.role == "user"  # elsewhere a tag is text
        for word in _TAG.split(turn.text) if is_question else [turn.text]:
            for piece in next(media[word]) if is_question and word in media else [word]:
                if isinstance(piece, str):
                    text += piece
                else:
                    yield text
                    yield _Pads(pad_ids[word], piece)
                    text = ""
        yield text


class _Pads(NamedTuple):
    pad_id: int
    span: VisualRun


_Media = Mapping[str, Iterator[Sequence[str | VisualRun]]]  # by tag: the pieces of one medium after another
