from __future__ import annotations

import pytest

from train.models.qwen2_5_vl.names import NAMES, group_of


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
    assert NAMES.nested(flat) == nested
    assert NAMES.flat(nested) == flat == NAMES.flat(flat)


def test_an_unknown_parameter_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"audio\.weight belongs to none"):
        group_of("audio.weight")
