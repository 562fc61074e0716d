"""Tools in conversations, in the text form of Qwen2.5: what may be called, calls and their results as plain turns.

    system     {system}\\n\\n# Tools ... <tools>\\n{...}\\n</tools> ...
    user       What is the weather?
    assistant  <tool_call>\\n{"name": "weather", "arguments": {"city": "Oslo"}}\\n</tool_call>
    user       <tool_response>\\nRain.\\n</tool_response>
    assistant  It rains.

Source: the chat template of Qwen2.5-Instruct; that of Qwen2.5-VL has no part for tools.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from preprocess.sample import ANSWER_ROLES, Role, Turn

_TOOLS = (
    "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
    "You are provided with function signatures within <tools></tools> XML tags:\n<tools>\n{tools}\n</tools>\n\n"
    "For each function call, return a json object with function name and arguments within <tool_call></tool_call> "
    'XML tags:\n<tool_call>\n{{"name": <function-name>, "arguments": <args-json-object>}}\n</tool_call>'
)
_CALL = "<tool_call>\n{text}\n</tool_call>"
_RESULT = "<tool_response>\n{text}\n</tool_response>"


def spell_tools(turns: Sequence[Turn]) -> Sequence[Turn]:
    """The conversation as turns of system, user and assistant; one without tools as it is."""
    if all(turn.role in ("system", "user", "assistant") for turn in turns):
        return turns
    return [
        replace(first, role=role, text="\n\n".join(texts) if role == "system" else "\n".join(texts))
        for role, first, texts in _spoken_together(turns)
    ]


def _spoken_together(turns: Sequence[Turn]) -> list[tuple[Role, Turn, list[str]]]:
    """Neighbours that become one turn: its role, the first of them, and their texts as spelled."""
    groups = [(key, list(group)) for key, group in groupby(turns, key=_place)]
    return [(_ROLE_OF_PLACE[place], group[0], [_spelled(turn) for turn in group]) for place, group in groups]


def _place(turn: Turn) -> str:
    if turn.role in ANSWER_ROLES:
        return "answer"
    return "system" if turn.role in ("system", "tools") else turn.role  # results are no question, though both user's


_ROLE_OF_PLACE: dict[str, Role] = {"system": "system", "user": "user", "tool": "user", "answer": "assistant"}


def _spelled(turn: Turn) -> str:
    if turn.role == "tools":
        return _TOOLS.format(tools=turn.text)
    if turn.role == "call":
        return _CALL.format(text=turn.text)
    return _RESULT.format(text=turn.text) if turn.role == "tool" else turn.text
