"""What a tokenizer.json may not do to a text, and how many tokens a text has at least."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from demo_build import Demo
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from preprocess.arithmetic.tokenizer import NFC_SHRINKS, TokenBound, load_tokenizer
from preprocess.errors import ConfigError

TEXT = "A cat sits on the mat, and another one beside it."
TRUNCATION = {"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0}
PADDING = {
    "strategy": {"Fixed": 64},
    "direction": "Right",
    "pad_to_multiple_of": None,
    "pad_id": 0,
    "pad_type_id": 0,
    "pad_token": "!",
}


@pytest.fixture(scope="module")
def record(demo: Demo) -> dict[str, Any]:
    return json.loads((demo.model / "tokenizer.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def tokenizer(demo: Demo) -> Tokenizer:
    return load_tokenizer(demo.model / "tokenizer.json")


@pytest.fixture(scope="module")
def bound(tokenizer: Tokenizer) -> TokenBound:
    found = TokenBound.of(tokenizer)
    assert found is not None
    return found


def ids(tokenizer: Tokenizer, text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False).ids


def test_a_file_that_is_no_tokenizer_is_named(demo: Demo) -> None:
    with pytest.raises(ConfigError, match=r"config\.json"):
        load_tokenizer(demo.model / "config.json")


@pytest.mark.parametrize("stored", [{"truncation": TRUNCATION}, {"padding": PADDING}], ids=["truncation", "padding"])
def test_stored_truncation_and_padding_are_switched_off(
    record: dict[str, Any], tokenizer: Tokenizer, tmp_path: Path, stored: dict[str, Any]
) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({**record, **stored}), encoding="utf-8")
    assert ids(Tokenizer.from_file(str(path)), TEXT) != ids(tokenizer, TEXT), "they would have mattered"
    assert ids(load_tokenizer(path), TEXT) == ids(tokenizer, TEXT)


def test_dropout_is_refused(record: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({**record, "model": {**record["model"], "dropout": 0.1}}), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"tokenizer\.json: the model has dropout"):
        load_tokenizer(path)


@settings(
    derandomize=True, max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.sampled_from(["<tool_call>", "\u1fbe\u0308\u0301", "\u212a", "the ", "a", " " * 9]), max_size=60))
def test_no_text_has_fewer_tokens_than_the_bound(tokenizer: Tokenizer, bound: TokenBound, parts: list[str]) -> None:
    text = "".join(parts)
    assert bound.least_tokens(text) <= len(ids(tokenizer, text))


def test_the_bound_is_reached_by_the_longest_token(tokenizer: Tokenizer, bound: TokenBound, record: Any) -> None:
    [longest, *_] = sorted(record["model"]["vocab"], key=len, reverse=True)
    added = [token["content"] for token in record["added_tokens"] if not token["special"]]
    assert bound.longest == max(map(len, (longest, *added)))
    text = max(added, key=len) * 50
    assert bound.least_tokens(text) == len(ids(tokenizer, text)) * len(text) // (50 * bound.longest) == 50


def test_characters_that_normalisation_may_shorten_count_less(bound: TokenBound) -> None:
    assert bound.least_tokens("a" * 10_000) == -(-10_000 // bound.longest)
    assert bound.least_tokens("\u212a" * 10_000) == -(-30_000 // (NFC_SHRINKS * bound.longest))
    assert (bound.least_tokens(""), bound.least_tokens("a")) == (0, 1)


def test_nfc_never_shrinks_a_text_by_more_than_is_said() -> None:
    """Each character of a normalised text comes from its decomposition at most, and each character of that from the
    longest one that is canonically the same."""
    decomposed = {char: unicodedata.normalize("NFD", char) for char in map(chr, range(0x30000)) if char.isprintable()}
    longest: dict[str, int] = {}
    for char, parts in decomposed.items():
        if len(parts) == 1:
            longest[parts] = max(longest.get(parts, 0), len(char.encode()))
    longest.update({parts: len(parts.encode()) for parts in set("".join(decomposed.values())) - longest.keys()})
    for char, parts in decomposed.items():
        assert len(char.encode()) <= sum(longest[part] for part in parts)
    shrinks = {char: sum(map(longest.__getitem__, parts)) / len(char.encode()) for char, parts in decomposed.items()}
    assert max(shrinks[char] for char in shrinks if unicodedata.normalize("NFC", char) == char) == 3.5 < NFC_SHRINKS


UNBOUND: dict[str, dict[str, Any]] = {
    "a normaliser that drops text": {"normalizer": {"type": "Strip", "strip_left": True, "strip_right": True}},
    "no bytes": {"pre_tokenizer": {"type": "Whitespace"}},
    "nothing": {"pre_tokenizer": None},
}


@pytest.mark.parametrize("changes", UNBOUND.values(), ids=UNBOUND)
def test_where_text_may_get_lost_there_is_no_bound(record: dict[str, Any], changes: dict[str, Any]) -> None:
    assert TokenBound.of(Tokenizer.from_str(json.dumps({**record, **changes}))) is None


def test_a_token_that_takes_the_spaces_around_it_has_no_longest_text(record: dict[str, Any]) -> None:
    added = [{**token, "rstrip": True} for token in record["added_tokens"]]
    assert TokenBound.of(Tokenizer.from_str(json.dumps({**record, "added_tokens": added}))) is None
