"""Constants come back from JSON, count visual tokens, and say where they differ."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from shards import ModelConstants, ModelMismatch
from shards.files.records import FieldError, Record
from tests.shards.packs import CONSTANTS


def test_constants_come_back_from_json() -> None:
    assert ModelConstants.from_record(Record(json.loads(json.dumps(CONSTANTS.to_json())))) == CONSTANTS


def test_the_side_of_learned_positions_is_stored_where_there_are_any() -> None:
    assert "position_grid" not in CONSTANTS.to_json()
    learned = replace(CONSTANTS, position_grid=48)
    assert ModelConstants.from_record(Record(json.loads(json.dumps(learned.to_json())))) == learned
    with pytest.raises(FieldError, match="position_grid"):
        ModelConstants.from_record(Record({**CONSTANTS.to_json(), "position_grid": 0}))


def test_visual_tokens_are_merged_patches() -> None:
    assert (CONSTANTS.merge_unit, CONSTANTS.num_visual_tokens(24)) == (4, 6)
    assert CONSTANTS.num_visual_tokens(np.array([24, 0, 40])).tolist() == [6, 0, 10]
    assert replace(CONSTANTS, merge_size=3).num_visual_tokens(27) == 3


def test_a_mismatch_names_every_constant_that_differs() -> None:
    constants = CONSTANTS
    constants.require_equal(replace(constants), mine="the shards", theirs="the model")
    other = replace(constants, vocab_size=7, image_mean=(0.1, 0.2, 0.3))
    with pytest.raises(ModelMismatch) as raised:
        constants.require_equal(other, mine="the shards", theirs="the model")
    message = str(raised.value)
    assert "vocab_size is 1000 in the shards and 7 in the model" in message
    assert "image_mean is" in message
    assert "patch_size" not in message
    assert "Preprocess again" in message
