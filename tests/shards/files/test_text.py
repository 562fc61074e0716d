"""Text from data steers no terminal and is no longer than it may be."""

from __future__ import annotations

import pytest

from shards.files.text import one_line, shortened


def test_messages_stand_on_one_line_and_steer_nothing() -> None:
    assert one_line("a\nb\r\nc\x1b]0;title\x07\u202e") == "a b c\\x1b]0;title\\x07\\u202e"


def test_short_text_stays_as_it_is() -> None:
    assert shortened("a" * 300, 300) == "a" * 300


@pytest.mark.parametrize("length", [301, 302, 1_000_000])
def test_long_text_keeps_its_beginning_and_its_end(length: int) -> None:
    text = shortened("begin" + "x" * (length - 8) + "end", 300)
    assert (len(text), text[:6], text[-4:], text.count("…")) == (300, "beginx", "xend", 1)
