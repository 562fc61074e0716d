"""Options of a registry entry: what is right, what is refused, and what the fingerprint has of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from preprocess.errors import ConfigError
from preprocess.read.options import chosen_options
from preprocess.read.registry import Dataset


def dataset(**options: Any) -> Dataset:
    return Dataset(name="d", annotation_path=Path("/d.json"), data_path=None, **options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"media_position": "end"}, "dataset 'd': media_position must be one of tags, start, not 'end'"),
        ({"loss_turns": "first"}, "loss_turns must be one of all, last, not 'first'"),
        ({"allow_tokens": "<|box_start|>"}, "allow_tokens must be a list of special tokens, not '<|box_start|>'"),
        ({"allow_tokens": [""]}, "allow_tokens must be a list of special tokens"),
        ({"reasoning": True}, "reasoning must be one of refuse, train, not True"),
        ({"columns": "img"}, "dataset 'd': columns must map keys of a form to those of the records"),
        ({"columns": {"imgae": "img"}}, "columns names 'imgae', which no form has; did you mean 'image'?"),
        ({"columns": {"zzzzzzzz": "img"}}, "columns names 'zzzzzzzz', which no form has; known are conversations,"),
        ({"columns": {"image": 5}}, "columns says 5 for 'image'; say a key of the records"),
        ({"columns": {"image": ""}}, "columns says '' for 'image'"),
    ],
)
def test_a_wrong_value_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        dataset(**options)
    assert said in str(raised.value)


def test_options_that_are_not_given_leave_the_fingerprint_as_it_was() -> None:
    assert chosen_options(dataset()) == {}
    given = {"columns": {"image": "img"}, "media_position": "start", "loss_turns": "last", "reasoning": "train"}
    assert chosen_options(dataset(**given)) == given
