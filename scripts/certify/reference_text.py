"""Token ids, labels and positions as Hugging Face's tokenizer, chat template and models make them.

| choice | what the template does | what the specification does |
| --- | --- | --- |
| header_encoding | encodes a turn's header and content together | apart, as generation sees them |
| special_as_text | special tokens in a caption are themselves | they are text |
| labels | every answer is trained, and the newline after it | `loss` flags of turns, `supervise_newline: false` |
| seconds_per_grid | transformers casts a video's seconds to an integer | keeps them, as `get_rope_index_25` does |
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from reference_media import Made
from transformers import AutoTokenizer
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLModel
from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VLModel
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLModel
from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor

IGNORE = -100
TAG = re.compile("(<image>|<video>)")
IMAGE, VIDEO = (f"<|vision_start|><|{kind}_pad|><|vision_end|>" for kind in ("image", "video"))
# For folders without a chat template of their own: the published one, of which nothing else is used here.
TURNS = (
    "{% for turn in messages %}<|im_start|>{{ turn.role }}\n"
    "{% if turn.content is string %}{{ turn.content }}{% else %}{% for part in turn.content %}"
    "{{ part.text if part.type == 'text' else '<|vision_start|><|' + part.type + '_pad|><|vision_end|>' }}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
)
DEFAULT_SYSTEM = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
)
Grid = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class MadeText:
    choices: list[str]
    input_ids: list[int]
    labels: list[int]
    positions: list[tuple[list[str], np.ndarray]]  # (choices, (3, S))


class TextReference:
    def __init__(self, task: dict[str, Any]) -> None:
        folder = Path(task["model"])
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._is_qwen3 = task["model_type"].startswith("qwen3")
        self._model_type = task["model_type"]
        self._supervises_newline = task["rules"]["supervise_newline"]
        self._merge = task["processor"]["merge_size"]
        self._config = SimpleNamespace(
            vision_config=SimpleNamespace(spatial_merge_size=self._merge, tokens_per_second=task["tokens_per_second"]),
            image_token_id=self._id("<|image_pad|>"),
            video_token_id=self._id("<|video_pad|>"),
            vision_start_token_id=self._id("<|vision_start|>"),
        )
        self._template, self.origin = self._find_template(folder)

    def _find_template(self, folder: Path) -> tuple[str, str]:
        path = folder / "chat_template.json"
        if path.is_file():
            return json.loads(path.read_text(encoding="utf-8"))["chat_template"], "the model folder's"
        if self._tokenizer.chat_template:
            return self._tokenizer.chat_template, "the model folder's"
        return ("" if self._is_qwen3 else DEFAULT_SYSTEM) + TURNS, "as published; the model folder has none"

    def alternatives(self, sample: dict[str, Any], images: Sequence[Grid], videos: Sequence[Made]) -> list[MadeText]:
        """As the template has it first; each other one once."""
        spans = self._spans(images, videos)
        tries: list[tuple[list[str], list[int], list[int]]] = []
        with suppress(LookupError):  # a literal pad in a text, for which there is no medium
            tries.append(([], *self._whole(sample["turns"], *spans)))
        apart = self._apart(sample, *spans, special=True)
        safe = self._apart(sample, *spans, special=False)
        names: list[str] = []
        for name, made in (("header_encoding", apart), ("special_as_text", safe)):
            if not tries or made[0] != tries[-1][1]:
                names = [*names, name]
                tries.append((names, *made))
        made_texts = []
        for is_chosen in (False, True):
            for choices, ids, answers in tries:
                labels = self._labels(ids, answers, sample["turns"] if is_chosen else None)
                if is_chosen and labels == self._labels(ids, answers, None):
                    continue
                try:
                    positions = list(self._positions(ids, images, videos))
                except (LookupError, RuntimeError, ValueError):
                    continue  # of ids in which a literal pad stands
                made_texts.append(
                    MadeText(
                        choices=[*choices, "labels"] if is_chosen else choices,
                        input_ids=ids,
                        labels=labels,
                        positions=positions,
                    )
                )
        return made_texts

    def _spans(self, images: Sequence[Grid], videos: Sequence[Made]) -> tuple[list[list[Any]], list[list[Any]]]:
        """Of each medium its texts and runs of pads."""
        return [[self._count(grid)] for grid in images], [self._video(video) for video in videos]

    def _video(self, video: Made) -> list[Any]:
        if not self._is_qwen3:
            return [self._count(video.grid_thw)]
        times = Qwen3VLProcessor._calculate_timestamps(None, list(video.indices), video.fps, self._merge)
        one = self._count((1, *video.grid_thw[1:]))
        return [piece for time in times for piece in (f"<{time:.1f} seconds>", one)]

    def _count(self, grid: Grid) -> int:
        return int(np.prod(grid)) // self._merge**2

    def _whole(self, turns: Any, images: list[Any], videos: list[Any]) -> tuple[list[int], list[int]]:
        """The rendered conversation, with pads, encoded as one text; of each token the number of its answer, or -1."""
        messages = [{"role": turn["role"], "content": parts(turn)} for turn in turns]
        text = self._tokenizer.apply_chat_template(messages, chat_template=self._template, tokenize=False)
        queues = {IMAGE: iter(images), VIDEO: iter(videos)}
        pieces = []
        for piece in re.split(f"({re.escape(IMAGE)}|{re.escape(VIDEO)})", text):
            if piece not in queues:
                pieces.append(piece)
                continue
            span = next(queues[piece], None)
            if span is None:
                raise LookupError(piece)
            pad = piece.removeprefix("<|vision_start|>").removesuffix("<|vision_end|>")
            pieces += [
                part if isinstance(part, str) else f"<|vision_start|>{pad * part}<|vision_end|>" for part in span
            ]
        if any(next(queue, None) is not None for queue in queues.values()):
            raise LookupError("a medium without its place")
        ids = self._tokenizer("".join(pieces), add_special_tokens=False)["input_ids"]
        return ids, self._answers_by_scanning(ids)

    def _answers_by_scanning(self, ids: list[int]) -> list[int]:
        """As the scripts find answers: from behind the header to the newline after <|im_end|>."""
        start, end, role = self._id("<|im_start|>"), self._id("<|im_end|>"), self._encode("assistant", special=True)
        answers, number, at = [-1] * len(ids), 0, 0
        while at < len(ids):
            header = at + 1 + len(role)
            if ids[at] == start and ids[at + 1 : header] == role:
                stop = next((place for place in range(header, len(ids)) if ids[place] == end), len(ids))
                for place in range(header + 1, min(stop + 2, len(ids))):
                    answers[place] = number
                number += 1
                at = stop
            at += 1
        return answers

    def _apart(
        self, sample: dict[str, Any], images: list[Any], videos: list[Any], *, special: bool
    ) -> tuple[list[int], list[int]]:
        """Header, content and end of each turn by themselves. `special`: whether special tokens in texts are such."""
        turns = sample["turns"]
        if turns[0]["role"] != "system" and not self._is_qwen3:
            turns = [{"role": "system", "text": "You are a helpful assistant."}, *turns]
        queues = {"<image>": iter(images), "<video>": iter(videos)}
        pads = {"<image>": self._config.image_token_id, "<video>": self._config.video_token_id}
        ids: list[int] = []
        answers: list[int] = []
        number = -1
        for turn in turns:
            is_answer = turn["role"] == "assistant"
            number += is_answer
            header = [self._id("<|im_start|>"), *self._encode(f"{turn['role']}\n", special=True)]
            content: list[int] = []
            text = ""
            for word in TAG.split(turn["text"]) if turn["role"] == "user" else [turn["text"]]:
                for piece in next(queues[word]) if word in queues else [word]:
                    if isinstance(piece, str):
                        text += piece
                        continue
                    content += self._content(text, sample["allow_tokens"], special=special)
                    content += [self._id("<|vision_start|>"), *[pads[word]] * piece, self._id("<|vision_end|>")]
                    text = ""
            content += self._content(text, sample["allow_tokens"], special=special)
            content += [self._id("<|im_end|>"), *self._encode("\n", special=True)]
            ids += header + content
            answers += [-1] * len(header) + [number if is_answer else -1] * len(content)
        return ids, answers

    def _content(self, text: str, allowed: Sequence[str], *, special: bool) -> list[int]:
        if special or not allowed:
            return self._encode(text, special=special)
        words = re.split(f"({'|'.join(map(re.escape, sorted(allowed, key=len, reverse=True)))})", text)
        return [id_ for word in words for id_ in self._encode(word, special=word in allowed)]

    def _encode(self, text: str, *, special: bool) -> list[int]:
        if not text:
            return []
        return self._tokenizer(text, add_special_tokens=False, split_special_tokens=not special)["input_ids"]

    def _labels(self, ids: list[int], answers: list[int], turns: Any) -> list[int]:
        """`turns`: their flags count, and whether the newline is supervised; None: every answer, and its newline."""
        labels = [id_ if answer >= 0 else IGNORE for id_, answer in zip(ids, answers, strict=True)]
        is_trained = [turn["is_trained"] for turn in turns or () if turn["role"] == "assistant"]
        if max(answers, default=-1) + 1 != len(is_trained):  # none asked for; or a text holds what begins an answer
            return labels
        for place, answer in enumerate(answers):
            is_last = answer >= 0 and (place + 1 == len(ids) or answers[place + 1] != answer)
            if answer >= 0 and (not is_trained[answer] or (is_last and not self._supervises_newline)):
                labels[place] = IGNORE
        return labels

    def _positions(
        self, ids: list[int], images: Sequence[Grid], videos: Sequence[Made]
    ) -> Iterator[tuple[list[str], np.ndarray]]:
        model = SimpleNamespace(config=self._config)
        grids = [torch.tensor(grids) if grids else None for grids in (list(images), [each.grid_thw for each in videos])]
        given = {"input_ids": torch.tensor([ids]), "image_grid_thw": grids[0], "video_grid_thw": grids[1]}
        if self._is_qwen3:
            yield [], Qwen3VLModel.get_rope_index(model, **given)[0][:, 0].numpy()
            return
        if self._model_type == "qwen2_vl":
            yield [], Qwen2VLModel.get_rope_index(model, **given)[0][:, 0].numpy()
            return
        seconds = [each.seconds for each in videos]
        plain, _ = Qwen2_5_VLModel.get_rope_index(model, **given, second_per_grid_ts=seconds or None)
        yield [], plain[:, 0].numpy()
        if videos:
            exact = self._with_seconds(ids, list(images), [each.grid_thw for each in videos], seconds)
            if not np.array_equal(exact, plain[:, 0].numpy()):
                yield ["seconds_per_grid"], exact

    def _with_seconds(self, ids: list[int], images: list[Grid], videos: list[Grid], seconds: list[Any]) -> np.ndarray:
        """The rule of `get_rope_index_25`, in PyTorch's float32: index * seconds * tokens_per_second, truncated."""
        columns: list[torch.Tensor] = []
        queues = {
            self._config.image_token_id: iter([(grid, 0.0) for grid in images]),
            self._config.video_token_id: iter(zip(videos, seconds, strict=True)),
        }
        following, at = 0, 0
        while at < len(ids):
            if ids[at] not in queues:
                columns.append(torch.full((3, 1), following))
                following, at = following + 1, at + 1
                continue
            (t, h, w), second = next(queues[ids[at]])
            h, w = h // self._merge, w // self._merge
            times = torch.arange(t, dtype=torch.float32) * torch.tensor(second, dtype=torch.float32)
            times = (times * self._config.vision_config.tokens_per_second).long()
            index = torch.cartesian_prod(times, torch.arange(h), torch.arange(w)).reshape(-1, 3).T
            columns.append(index + following)
            following, at = int(columns[-1].max()) + 1, at + t * h * w
        return torch.cat(columns, dim=1).numpy()

    def _id(self, token: str) -> int:
        return self._tokenizer.convert_tokens_to_ids(token)


def parts(turn: dict[str, Any]) -> Any:
    """A question with media as the template wants it; any other text as it is."""
    if turn["role"] != "user" or not TAG.search(turn["text"]):
        return turn["text"]
    words = TAG.split(turn["text"])
    kinds = {"<image>": "image", "<video>": "video"}
    return [
        {"type": kinds[word], kinds[word]: "any"} if word in kinds else {"type": "text", "text": word}
        for word in words
        if word
    ]
