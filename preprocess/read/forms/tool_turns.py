"""Tools beside and inside of turns: what may be called, calls, and what they gave.

    {"tools": [{"type": "function", "function": {...}}], "messages": [...]}          also as JSON in a text
    {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": ..., "arguments": {...}}}]}
    {"from": "function_call", "value": "{\\"name\\": ..., \\"arguments\\": {...}}"}   as in ShareGPT
    {"role": "tool", "content": "Rain."}                                              also function, observation

They become turns of the roles `tools`, `call` and `tool`, whose texts are JSON but for results; a family says how they
are written in a conversation. Arguments that are JSON in a text are taken for what they hold.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from preprocess.errors import Reason, SampleError
from preprocess.read.forms.written import WrittenTurn, as_written_list, check_text, kind_of

TOOLS_KEY = "tools"
CALLS_KEY = "tool_calls"
RESULT_ROLES = ("tool", "function", "observation", "tool_response")
CALL_ROLES = ("function_call", "tool_call")


def tools_turn(record: Mapping[str, Any]) -> tuple[WrittenTurn, ...]:
    """What a record says may be called, if anything. Raises SampleError."""
    tools = as_written_list(record.get(TOOLS_KEY))
    if tools in (None, "", []):
        return ()
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise SampleError(Reason.BAD_JSON, f"{TOOLS_KEY!r} must be a list of objects")
    return (WrittenTurn(role="tools", text="\n".join(_json(tool, TOOLS_KEY) for tool in tools)),)


def calls_of(raw: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """The calls of an answer. Raises SampleError."""
    calls = as_written_list(raw.get(CALLS_KEY))
    if calls in (None, "", []):
        return ()
    if not isinstance(calls, list):
        raise SampleError(Reason.BAD_JSON, f"{where} has {CALLS_KEY} that is {kind_of(calls)}; a list is due")
    return tuple(_call(call, where) for call in calls)


def calls_in_text(text: str, where: str) -> tuple[str, ...]:
    """Those of a turn that is a call, or a list of them, as JSON. Raises SampleError."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise SampleError(Reason.BAD_JSON, f"{where} is a call and no JSON") from None
    return tuple(_call(call, where) for call in (value if isinstance(value, list) else [value]))


def _call(call: Any, where: str) -> str:
    """`{"name": ..., "arguments": ...}`"""
    if isinstance(call, dict) and isinstance(call.get("function"), dict):
        call = call["function"]
    if not isinstance(call, dict) or not isinstance(call.get("name"), str):
        raise SampleError(Reason.BAD_JSON, f"{where} has a call without a name")
    arguments = call.get("arguments")
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            raise SampleError(Reason.BAD_JSON, f"{where} calls {call['name']!r:.40} with no JSON") from None
    if not isinstance(arguments, dict):
        raise SampleError(
            Reason.BAD_JSON,
            f"{where} calls {call['name']!r:.40} with arguments that are {kind_of(arguments)}; an object is due",
        )
    return _json({"name": call["name"], "arguments": arguments}, where)


def _json(value: Any, where: str) -> str:
    """As the templates of transformers write it."""
    try:
        return check_text(json.dumps(value, ensure_ascii=False), where)
    except (TypeError, RecursionError):
        raise SampleError(Reason.BAD_JSON, f"{where} holds what JSON has no form for") from None
