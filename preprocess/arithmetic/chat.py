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
from tokenizers import Encoding, Tokenizer

from preprocess.arithmetic.families import family_of
from preprocess.arithmetic.runs import Run, TextRun, VisualRun
from preprocess.arithmetic.tokenizer import TokenBound, special_tokens
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
    num_answer_tokens: int  # supervised tokens of the trained answers' content alone, without <|im_end|> and newline


@dataclass(frozen=True, kw_only=True, slots=True)
class TextCounts:
    num_tokens: int
    num_label_tokens: int  # those of `EncodedText.labels` that are not IGNORE_INDEX
    num_answer_tokens: int  # as in EncodedText
    runs: tuple[Run, ...]  # as in EncodedText


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
        family = family_of(constants.model_type)
        self._spell_tools = family.spell_tools
        default = family.default_system()
        self._default_turns = [] if default is None else [Turn(role="system", text=default)]
        self._newline = self._encode("\n")
        self._encode_system = lru_cache(maxsize=_SYSTEM_TURNS_REMEMBERED)(self._encode)
        self._special = special_tokens(tokenizer)
        self._bound = TokenBound.of(tokenizer)
        self._openings = {
            role: [constants.im_start_token_id, *self._encode(f"{role}\n")] for role in ("system", "user", "assistant")
        }

    def _encode(self, text: str, allowed: tuple[str, ...] = ()) -> list[int]:
        """Ids of a text, in which the special tokens `allowed` are themselves."""
        if not allowed or not text:
            return self._tokenizer.encode(text, add_special_tokens=False).ids if text else []
        ids: list[int] = []
        for part in _any_of(allowed).split(text):
            ids += [self._tokenizer.token_to_id(part)] if part in allowed else self._encode(part)
        return ids

    def num_special_as_text(self, turns: Sequence[Turn], allowed: tuple[str, ...] = ()) -> int:
        """How many special tokens stand in the texts of a conversation and are taken for text."""
        looked_for = tuple(sorted(self._special.difference(allowed)))
        if not looked_for:
            return 0
        return sum(len(_any_of(looked_for).findall(turn.text)) for turn in turns)

    def least_tokens(self, turns: Sequence[Turn], allowed: tuple[str, ...] = ()) -> int:
        """How many tokens the texts of a conversation have at least, found without encoding them."""
        bound = self._bound
        if bound is None:
            return 0
        words = (
            word
            for turn in self._spell_tools(turns)
            for word in (_TAG.split(turn.text) if turn.role == "user" else [turn.text])
            if word not in (IMAGE_TAG, VIDEO_TAG)
        )
        parts = (part for word in words for part in (_any_of(allowed).split(word) if allowed else [word]))
        return sum(1 if part in allowed else bound.least_tokens(part) for part in parts)

    def encode(
        self,
        turns: Sequence[Turn],
        images: Sequence[VisualRun] = (),
        videos: Sequence[Sequence[str | VisualRun]] = (),
        allowed: tuple[str, ...] = (),
    ) -> EncodedText:
        """Encode a validated conversation; its tags are as many as `images` and `videos`.

        Of each video the pieces that its family gives it (`Family.video_pieces`). `allowed` are special tokens.
        """
        ids = array("i")
        supervised_parts: list[slice] = []
        runs: list[Run] = []
        run_start = 0
        num_answer_tokens = 0
        spans = list(self._spans(turns, images, videos, allowed))
        text_ids = iter([encoding.ids for encoding in self._encode_all(_texts(spans))])
        for content, is_supervised in spans:
            start = len(ids)
            if isinstance(content, str):
                ids.extend(next(text_ids))
                num_answer_tokens += len(ids) - start if is_supervised else 0
            elif isinstance(content, _Pads):
                runs += [TextRun(num_tokens=start - run_start), content.span]
                ids.extend(array("i", [content.pad_id]) * content.number)
                run_start = len(ids)
            else:
                ids.extend(content)
                num_answer_tokens += len(content) if is_supervised and isinstance(content, _Allowed) else 0
            if is_supervised:
                supervised_parts.append(slice(start, len(ids)))
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

    def count(
        self,
        turns: Sequence[Turn],
        images: Sequence[VisualRun] = (),
        videos: Sequence[Sequence[str | VisualRun]] = (),
        allowed: tuple[str, ...] = (),
    ) -> TextCounts:
        """What `encode` would give, counted: no list of tokens is made."""
        num_tokens = num_label_tokens = num_answer_tokens = run_start = 0
        runs: list[Run] = []
        spans = list(self._spans(turns, images, videos, allowed))
        text_lengths = map(len, self._encode_all(_texts(spans)))
        for content, is_supervised in spans:
            if isinstance(content, str):
                length = next(text_lengths)
                num_answer_tokens += length if is_supervised else 0
            elif isinstance(content, _Pads):
                length = content.number
                runs += [TextRun(num_tokens=num_tokens - run_start), content.span]
                run_start = num_tokens + length
            else:
                length = len(content)
                num_answer_tokens += length if is_supervised and isinstance(content, _Allowed) else 0
            num_tokens += length
            num_label_tokens += length if is_supervised else 0
        runs.append(TextRun(num_tokens=num_tokens - run_start))
        return TextCounts(
            num_tokens=num_tokens,
            num_label_tokens=num_label_tokens,
            num_answer_tokens=num_answer_tokens,
            runs=tuple(runs),
        )

    def _encode_all(self, texts: list[str]) -> list[Encoding]:
        """Those of one sample, together and without offsets, which take a sixth of the time."""
        return self._tokenizer.encode_batch_fast(texts, add_special_tokens=False) if texts else []

    def _spans(
        self,
        turns: Sequence[Turn],
        images: Sequence[VisualRun],
        videos: Sequence[Sequence[str | VisualRun]],
        allowed: tuple[str, ...],
    ) -> Iterator[_Span]:
        """The conversation in the template: what of it is known as tokens, texts to be encoded, pads."""
        constants = self._constants
        media = {IMAGE_TAG: ([image] for image in images), VIDEO_TAG: iter(videos)}
        if turns[0].role != "system":
            turns = [*self._default_turns, *turns]
        for turn in self._spell_tools(turns):
            is_answer = turn.role == "assistant" and turn.is_trained
            yield self._openings[turn.role], False
            for piece in self._pieces(turn, media):
                if isinstance(piece, _Pads):
                    yield (constants.vision_start_token_id,), False
                    yield piece, False
                    yield (constants.vision_end_token_id,), False
                elif turn.role == "system" and piece:
                    yield self._encode_system(piece, allowed), False
                else:
                    yield from ((part, is_answer) for part in self._parts(piece, allowed) if part)
            yield (constants.im_end_token_id,), is_answer
            yield self._newline, is_answer and self._supervise_newline

    def _parts(self, text: str, allowed: tuple[str, ...]) -> Iterable[str | _Allowed]:
        """A text around the special tokens that are allowed in it."""
        if not allowed:
            return (text,)
        parts = _any_of(allowed).split(text)
        return (_Allowed([self._tokenizer.token_to_id(part)]) if part in allowed else part for part in parts)

    def _pieces(self, turn: Turn, media: _Media) -> Iterator[str | _Pads]:
        """A turn's text between runs of pads, each text whole: what a family says of a video joins the user's words."""
        if turn.role != "user":  # where a tag is text
            yield turn.text
            return
        pad_ids = {IMAGE_TAG: self._constants.image_token_id, VIDEO_TAG: self._constants.video_token_id}
        text = ""
        for word in _TAG.split(turn.text):
            for piece in next(media[word]) if word in media else [word]:
                if isinstance(piece, str):
                    text += piece
                else:
                    yield text
                    yield _Pads(pad_ids[word], piece, self._constants.num_visual_tokens(prod(piece.grid_thw)))
                    text = ""
        yield text


@lru_cache(maxsize=16)
def _any_of(tokens: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(f"({'|'.join(map(re.escape, sorted(tokens, key=len, reverse=True)))})")


def _texts(spans: Iterable[_Span]) -> list[str]:
    return [content for content, _ in spans if isinstance(content, str)]


class _Allowed(tuple[int, ...]):
    """A special token that stands in a text: of the content, and yet not to be encoded."""


class _Pads(NamedTuple):
    pad_id: int
    span: VisualRun
    number: int


_Span = tuple[str | Sequence[int] | _Pads, bool]  # and whether it is supervised
_Media = Mapping[str, Iterator[Sequence[str | VisualRun]]]  # by tag: the pieces of one medium after another
