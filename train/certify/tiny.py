"""config.json of a tiny model of the same family: every rule of the architecture, in a few narrow layers.

What shards depend on (patches, windows, token ids, vocabulary) stays; so do the kinds of layers, bias and ties.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

_HEADS, _KEY_VALUE_HEADS, _HEAD = 4, 2, 16
_MROPE = [2, 3, 3]  # half of a head
_LANGUAGE: dict[str, Any] = {
    "hidden_size": _HEADS * _HEAD,
    "intermediate_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": _HEADS,
    "num_key_value_heads": _KEY_VALUE_HEADS,
    "head_dim": _HEAD,
    "max_window_layers": 3,
}
_VISION: dict[str, Any] = {"depth": 3, "num_heads": 2, "intermediate_size": 64, "out_hidden_size": _HEADS * _HEAD}
_WIDTH = 32  # of the vision tower


def shrunk(config: Mapping[str, Any]) -> dict[str, Any]:
    """Flat or nested, as `config` is; of any family that is trained here."""
    tiny = copy.deepcopy(dict(config))
    language = tiny["text_config"] if isinstance(tiny.get("text_config"), dict) else tiny
    for place in (tiny, language):
        place.update({name: value for name, value in _LANGUAGE.items() if name in place})
        place.pop("layer_types", None)
        for name in ("rope_scaling", "rope_parameters"):
            if isinstance(place.get(name), dict) and "mrope_section" in place[name]:
                place[name]["mrope_section"] = _MROPE
    vision = tiny["vision_config"]
    vision.update({name: value for name, value in _VISION.items() if name in vision})
    if "embed_dim" in vision:  # Qwen2-VL, whose hidden_size is that of the language model
        vision |= {"embed_dim": _WIDTH, "hidden_size": _HEADS * _HEAD}
    else:
        vision["hidden_size"] = _WIDTH
    if "fullatt_block_indexes" in vision:
        vision["fullatt_block_indexes"] = [1]
    if "deepstack_visual_indexes" in vision:
        vision["deepstack_visual_indexes"] = [0, 2]
    return tiny
