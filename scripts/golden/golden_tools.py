"""Conversations with tools as jinja2 renders them by the chat template of Qwen2.5-Instruct: tools.json.

The template of Qwen2.5-VL has no part for tools. Every conversation has a system turn, because that is where the two
differ otherwise. JSON is written as transformers has its templates write it: without escapes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

from golden_files import origin, write_json
from jinja2.sandbox import ImmutableSandboxedEnvironment

SYSTEM = {"role": "system", "content": "You are a helpful assistant."}
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Says what falls from the sky: \u96e8, <rain>, & 'snow'",
        "parameters": {"type": "object", "properties": {"days": {"type": "integer", "maximum": 14}}},
    },
}
CLOCK = {"type": "function", "function": {"name": "clock", "parameters": {}}}


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


def talk(*turns: dict[str, Any], tools: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {"messages": [SYSTEM, *turns], **({"tools": tools} if tools else {})}


ASK = {"role": "user", "content": "Will it rain in Oslo?"}
RAIN = {"role": "tool", "content": '{"mm": 4.5}'}
ANSWER = {"role": "assistant", "content": "Yes, 4.5 mm."}
CASES = {
    "tools_without_a_call": talk(ASK, ANSWER, tools=[WEATHER]),
    "one_call": talk(
        ASK,
        {"role": "assistant", "content": "", "tool_calls": [call("weather", city="Oslo", days=3, share=0.5, ok=True)]},
        RAIN,
        ANSWER,
        tools=[WEATHER],
    ),
    "calls_after_words": talk(
        ASK,
        {
            "role": "assistant",
            "content": "Let me see.\n",
            "tool_calls": [call("clock"), call("weather", city="\u5317\u4eac")],
        },
        {"role": "tool", "content": "12:00"},
        RAIN,
        ANSWER,
        {"role": "user", "content": "Thanks."},
        {"role": "assistant", "content": "Welcome."},
        tools=[WEATHER, CLOCK],
    ),
    "call_after_a_result": talk(
        ASK,
        {"role": "assistant", "content": "", "tool_calls": [call("clock", zone={"name": None, "at": [1, -2]})]},
        {"role": "tool", "content": "12:00\n"},
        {"role": "assistant", "content": "", "tool_calls": [call("weather")]},
        RAIN,
        ANSWER,
        tools=[CLOCK, WEATHER],
    ),
    "a_call_is_the_last_turn": talk(
        ASK, {"role": "assistant", "content": "", "tool_calls": [call("weather", city="Oslo")]}, tools=[WEATHER]
    ),
    "no_tools_are_named": talk(
        ASK, {"role": "assistant", "content": "", "tool_calls": [call("weather", city="Oslo")]}, RAIN, ANSWER
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--template", type=Path, required=True, help="the chat_template of Qwen2.5-Instruct's tokenizer_config.json"
    )
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    written = parser.parse_args().template.read_text(encoding="utf-8")
    template = environment.from_string(written)
    cases = {name: record | {"text": template.render(**record)} for name, record in CASES.items()}
    digest = hashlib.sha256(written.encode()).hexdigest()
    source = origin(f"jinja2, from the file given as the template of Qwen2.5-Instruct (sha256 {digest})", "jinja2")
    write_json("tools.json", {"origin": source, "cases": cases})


if __name__ == "__main__":
    main()
