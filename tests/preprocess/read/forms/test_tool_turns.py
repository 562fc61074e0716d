"""Tools, calls and results, in the ways in which people write them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from preprocess.errors import Reason
from preprocess.sample import Turn
from tests.preprocess.read.forms.reading import reject, sample

ARGUMENTS = {"city": "Oslo", "days": 3}
CALL = '{"name": "weather", "arguments": {"city": "Oslo", "days": 3}}'
TOOLS = [{"type": "function", "function": {"name": "weather"}}, {"name": "clock"}]
TURNS = (
    Turn(role="tools", text='{"type": "function", "function": {"name": "weather"}}\n{"name": "clock"}'),
    Turn(role="user", text="Rain?"),
    Turn(role="call", text=CALL),
    Turn(role="tool", text="Yes."),
    Turn(role="assistant", text="It rains."),
)


def record(call: dict[str, Any], result: str = "tool", tools: Any = TOOLS) -> dict[str, Any]:
    said = [{"role": "user", "content": "Rain?"}, call, {"role": result, "content": "Yes."}]
    return {"messages": [*said, {"role": "assistant", "content": "It rains."}], "tools": tools}


def asks(function: Any, content: Any = None) -> dict[str, Any]:
    return {"role": "assistant", "content": content, "tool_calls": [function]}


SPELLINGS = {
    "openai": asks({"id": "1", "function": {"name": "weather", "arguments": json.dumps(ARGUMENTS)}}),
    "an object of arguments": asks({"function": {"name": "weather", "arguments": ARGUMENTS}}, ""),
    "no function around": asks({"name": "weather", "arguments": ARGUMENTS}),
    "json": {"role": "assistant", "tool_calls": json.dumps([{"name": "weather", "arguments": ARGUMENTS}])},
    "a turn": {"from": "function_call", "value": json.dumps({"name": "weather", "arguments": ARGUMENTS})},
    "a list in a turn": {"role": "tool_call", "content": json.dumps([{"name": "weather", "arguments": ARGUMENTS}])},
}


@pytest.mark.parametrize("call", SPELLINGS.values(), ids=SPELLINGS)
@pytest.mark.parametrize("result", ["tool", "function", "observation"])
def test_every_spelling_gives_the_same_turns(call: dict[str, Any], result: str) -> None:
    assert sample(record(call, result)).turns == TURNS
    assert sample(record(call, result, json.dumps(TOOLS))).turns == TURNS


def test_what_is_said_before_a_call_is_an_answer() -> None:
    found = sample(record(asks({"name": "weather", "arguments": ARGUMENTS}, "Let me see."), tools=None))
    assert found.turns[1:3] == (Turn(role="assistant", text="Let me see."), Turn(role="call", text=CALL))


def test_tools_stand_after_the_system_turn() -> None:
    found = sample(record(SPELLINGS["a turn"]) | {"system": "Be brief."})
    assert [turn.role for turn in found.turns[:3]] == ["system", "tools", "user"]


def test_flags_hold_for_calls_and_the_last_turn_has_its_calls() -> None:
    call = asks({"name": "weather", "arguments": {}}) | {"loss": False}
    trained = {turn.role: turn.is_trained for turn in sample(record(call)).turns}
    assert (trained["call"], trained["assistant"]) == (False, True)
    assert all(turn.is_trained for turn in sample(record(SPELLINGS["a turn"]), loss_turns="last").turns)
    twice = record(SPELLINGS["a turn"])
    twice["messages"] += [{"role": "user", "content": "Sure?"}, {"role": "assistant", "content": "Yes."}]
    answers = [turn.is_trained for turn in sample(twice, loss_turns="last").turns if turn.role in ("call", "assistant")]
    assert answers == [False, False, True]


def test_a_result_may_hold_media() -> None:
    shot = record(SPELLINGS["a turn"]) | {"images": ["a.png"]}
    shot["messages"][2]["content"] = [{"type": "image"}]
    assert sample(shot).turns[3] == Turn(role="tool", text="<image>")


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (asks({"arguments": {}}), "turn 1 has a call without a name"),
        (asks("weather"), "turn 1 has a call without a name"),
        (asks({"name": "weather", "arguments": "{"}), "turn 1 calls 'weather' with no JSON"),
        (asks({"name": "weather"}), "turn 1 calls 'weather' with arguments that are nothing; an object is due"),
        (asks({"name": "weather", "arguments": {"x": b""}}), "turn 1 holds what JSON has no form for"),
        (asks({"name": "\ud800", "arguments": {}}), "half a surrogate pair"),
        ({"role": "assistant", "content": "", "tool_calls": "x"}, "turn 1 has tool_calls that is a string"),
        ({"role": "tool_call", "content": "weather()"}, "turn 1 is a call and no JSON"),
    ],
)
def test_a_wrong_call_is_named(call: dict[str, Any], said: str) -> None:
    error = reject(record(call))
    assert error.reason is Reason.BAD_JSON
    assert said in error.detail


def test_wrong_tools_are_named() -> None:
    for tools in ("hammer", {"name": "weather"}, ["weather"]):
        assert "'tools' must be a list of objects" in reject(record(SPELLINGS["a turn"], tools=tools)).detail


@pytest.mark.parametrize(
    ("roles", "said"),
    [
        (("user", "tool", "assistant"), "where calls count as turns, is tool's where assistant or call's is due"),
        (("tool", "user", "assistant"), "turn 0, where calls count as turns, is tool's where user's is due"),
        (("user", "tool_call", "user", "assistant"), "is user's where call or tool's is due"),
        (("user", "tool_call", "assistant"), "is assistant's where call or tool's is due"),
        (("user", "tool_call", "tool"), "the last turn is tool's; there is no answer to it"),
        (("user", "tool_call", "tool", "user", "assistant"), "is user's where tool or assistant or call's is due"),
    ],
)
def test_roles_out_of_order_are_rejected(roles: tuple[str, ...], said: str) -> None:
    said_by = [{"role": role, "content": CALL} for role in roles]
    error = reject({"messages": said_by})
    assert error.reason is Reason.ROLE_ORDER
    assert said in error.detail


def test_an_answer_and_its_call_are_trained_together() -> None:
    said = [{"role": role, "content": CALL} for role in ("user", "assistant", "tool_call")]
    assert sample({"messages": said}).turns[-1].role == "call"
    said[1]["loss"] = False
    assert reject({"messages": said}).reason is Reason.UNSUPPORTED
