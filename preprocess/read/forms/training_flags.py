"""What a turn or a record says of its training: which answers are learned, and the thoughts before one.

{"role": "assistant", "content": "...", "loss": false}      likewise weight: 0, train: false, train_on_turn: false
{"messages": [...], "loss_turns": "last"}                   the last answer alone, with the calls that lead to it
{"role": "assistant", "reasoning_content": "...", "content": "..."}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

from preprocess.errors import Reason, SampleError
from preprocess.read.forms.written import WrittenTurn, check_text, kind_of
from preprocess.sample import ANSWER_ROLES, Role

LossTurns = Literal["all", "last"]
FLAG_KEYS = ("loss", "weight", "train", "train_on_turn")
REASONING_KEY = "reasoning_content"
LOSS_TURNS_KEY = "loss_turns"


def is_trained(raw: Mapping[str, Any], role: Role, where: str) -> bool:
    """Whether the flags of a turn let it be trained; without any they do. Raises SampleError."""
    given = {key: raw[key] for key in FLAG_KEYS if raw.get(key) is not None}
    for key, value in given.items():
        if not isinstance(value, bool | int | float):
            raise SampleError(Reason.BAD_JSON, f"{where} has {key!r} that is {kind_of(value)}; true or false is due")
        if value not in (0, 1):
            raise SampleError(
                Reason.UNSUPPORTED,
                f"{where} has {key!r} {value:g}: an answer is learned or not, with nothing between 0 and 1",
            )
        if value and role not in ANSWER_ROLES and key != "weight":
            raise SampleError(Reason.UNSUPPORTED, f"{where} is {role}'s and has {key!r} true; only answers are learned")
    if len({bool(value) for value in given.values()}) > 1:
        raise SampleError(Reason.BAD_JSON, f"{where} has {' and '.join(map(repr, given))}, which disagree; keep one")
    return all(given.values())


def reasoning_of(raw: Mapping[str, Any], role: Role, where: str) -> str:
    """What an answer thinks first; "" where it says nothing of that. Raises SampleError."""
    reasoning = raw.get(REASONING_KEY)
    if reasoning in (None, ""):
        return ""
    if not isinstance(reasoning, str) or role != "assistant":
        raise SampleError(
            Reason.BAD_JSON,
            f"{where} is {role}'s and has {REASONING_KEY} that is {kind_of(reasoning)}; a text of an answer is due",
        )
    return check_text(reasoning, where)


def with_loss_turns(
    turns: Sequence[WrittenTurn], record: Mapping[str, Any], by_default: LossTurns
) -> tuple[WrittenTurn, ...]:
    """With the answers masked that a record, or else its dataset, leaves out. Raises SampleError."""
    chosen = record.get(LOSS_TURNS_KEY)
    if chosen in (None, ""):
        chosen = by_default
    if chosen not in get_args(LossTurns):
        shown = f"{chosen!r:.40}" if isinstance(chosen, str) else kind_of(chosen)
        raise SampleError(Reason.BAD_JSON, f"{LOSS_TURNS_KEY} must be one of {', '.join(get_args(LossTurns))}: {shown}")
    if chosen == "all":
        return tuple(turns)
    last_question = max((number for number, turn in enumerate(turns) if turn.role == "user"), default=-1)
    return tuple(
        turn if number > last_question or turn.role not in ANSWER_ROLES else replace(turn, is_trained=False)
        for number, turn in enumerate(turns)
    )
