from __future__ import annotations

import pytest

from train.models.qwen_vl.names import FLAT_NAMES


@pytest.mark.parametrize(
    ("flat", "nested"),
    [
        ("visual.blocks.0.attn.qkv.weight", "model.visual.blocks.0.attn.qkv.weight"),
        ("model.layers.1.self_attn.q_proj", "model.language_model.layers.1.self_attn.q_proj"),
        ("model.norm.weight", "model.language_model.norm.weight"),
        ("lm_head.weight", "lm_head.weight"),
    ],
)
def test_both_namings_stand_for_each_other(flat: str, nested: str) -> None:
    assert FLAT_NAMES.weights.nested(flat) == nested
    assert FLAT_NAMES.weights.flat(nested) == flat == FLAT_NAMES.weights.flat(flat)


def test_an_unknown_parameter_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"audio\.weight belongs to none"):
        FLAT_NAMES.group_of("audio.weight")
