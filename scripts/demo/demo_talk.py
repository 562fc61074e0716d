"""Text-only dialogues of the demo. A few hold what trips careless pipelines: special tokens quoted as plain text, the
word "assistant" in a question, letters with combining accents, other scripts, code with tabs and trailing blanks.
"""

from __future__ import annotations

from demo_questions import Exchange

Dialogue = tuple[Exchange | str, ...]

PLAIN: tuple[tuple[Exchange, ...], ...] = (
    (
        Exchange(
            "What is a bar chart good for?", "A bar chart compares amounts: the higher the bar, the larger the amount."
        ),
        Exchange("And a line chart?", "A line chart shows how one amount changes, most often over time."),
    ),
    (
        Exchange(
            "When should I draw a pie chart?", "When a few shares add up to a whole, and the rough sizes matter most."
        ),
    ),
    (
        Exchange("How many sides does a square have?", "A square has 4 sides of the same length."),
        Exchange("And a triangle?", "A triangle has 3 sides."),
        Exchange("And a circle?", "A circle has no sides: its edge is round everywhere."),
    ),
    (Exchange("Name the colors of a rainbow.", "Red, orange, yellow, green, blue and purple."),),
)

AWKWARD: tuple[Dialogue, ...] = (
    (
        "You are a terse assistant.",
        Exchange("Which is larger, 40% or a quarter?", "40%."),
        Exchange("By how much?", "15%."),
    ),
    (
        Exchange(
            "How does a turn end in the chat format?",
            "Each turn ends with the marker <|im_end|> and a new line; a picture is written as <|image_pad|>.",
        ),
    ),
    (
        Exchange(
            "The log says: <|im_start|>assistant\nHello. Who is speaking?",
            "The assistant is speaking, because its name follows the start marker.",
        ),
    ),
    (
        Exchange(
            "Spell cafe\u0301 and nai\u0308ve.", "Cafe\u0301 is c, a, f, e\u0301. Nai\u0308ve is n, a, i\u0308, v, e."
        ),
    ),
    (
        Exchange(
            "\u56fe\u8868\u662f\u4ec0\u4e48\uff1f",
            "\u56fe\u8868\u7528\u56fe\u5f62\u663e\u793a\u6570\u636e\u3002 \U0001f4ca",
        ),
    ),
    (
        Exchange(
            "Write a function that doubles a number.  ",
            "def double(x):\n\treturn 2 * x  \n\n# done\n",
        ),
    ),
    (
        Exchange(
            "Ask the weather tool about Oslo.",
            '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>',
        ),
    ),
)


def _arithmetic() -> tuple[Dialogue, ...]:
    sums = [(7, 5), (12, 9), (30, 14), (25, 25)]
    return tuple(
        (
            Exchange(f"What is {a} plus {b}?", f"{a} plus {b} is {a + b}."),
            Exchange("And the difference?", f"{a} minus {b} is {a - b}."),
        )
        for a, b in sums
    )


DIALOGUES: tuple[Dialogue, ...] = (*PLAIN, *_arithmetic(), *AWKWARD)
