"""config.json -> MindNLP's network, whose parameters are MindSpore's own, called as in a model folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np

from shards.architecture.qwen_vl import ModelConfig
from shards.files.names import CONFIG_NAME
from train.errors import ModelConfigError, UsageError
from train.weights.names import WeightNames

ATTENTION = "eager"  # of transformers' kinds: the one that MindNLP has, and that adds the mask it is given


def load_mindnlp() -> Any:
    """Import it. Raises UsageError where its parts don't fit together."""
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")  # which it loads too, and which warns of itself
    try:
        import mindnlp
    except (ImportError, AttributeError, RuntimeError) as error:  # of versions of other packages, most often
        words = " ".join(str(error).split())
        raise UsageError(
            f"backend mindnlp: importing MindNLP fails ({words}); the versions that work together are in the extra "
            "mindnlp: `bash scripts/setup.sh --mindnlp` makes .venv-mindnlp with them"
        ) from error
    return mindnlp


def build_network(folder: Path, config: ModelConfig[Any], names: WeightNames) -> tuple[Any, list[ms.Parameter]]:
    """`Qwen2_5_VLForConditionalGeneration` as `folder`/config.json has it, and its parameters, which are zero.

    Each has its flat name. A tied head is the embedding, and has none. Raises ModelConfigError where MindNLP reads
    another architecture out of the file than we do.
    """
    load_mindnlp()
    from mindnlp.transformers import AutoConfig, Qwen2_5_VLForConditionalGeneration

    theirs = AutoConfig.from_pretrained(str(folder), local_files_only=True, attn_implementation=ATTENTION)
    require_same(folder, config, theirs)
    for part in (theirs, theirs.text_config, theirs.vision_config):
        part.dtype = "float32"  # published files say bfloat16: it would be made in that, which CPUs have no kernels for
    network = Qwen2_5_VLForConditionalGeneration(theirs)
    return network, list(_exchange_parameters(network, names))


def _exchange_parameters(network: Any, names: WeightNames) -> Iterator[ms.Parameter]:
    """MindNLP's parameters are tensors called by random numbers: put parameters of MindSpore in their places."""
    ours: dict[int, ms.Parameter] = {}  # by the identity of theirs, of which a tied one occurs twice
    for path, module in network.named_modules():
        for key, theirs in list(module._parameters.items()):
            if theirs is None:
                continue
            if id(theirs) not in ours:
                zeros = ms.Tensor(np.zeros(tuple(theirs.shape), np.float32))
                parameter = ms.Parameter(zeros, name=names.flat(f"{path}.{key}"))
                parameter._device = theirs.device  # which MindNLP asks each tensor for
                ours[id(theirs)] = parameter
                yield parameter
            module._parameters[key] = ours[id(theirs)]


def require_same(folder: Path, config: ModelConfig[Any], theirs: Any) -> None:
    """Sizes show in the shapes of the weights; these don't."""
    text, vision = theirs.text_config, theirs.vision_config
    values = {
        "num_attention_heads": (config.num_attention_heads, text.num_attention_heads),
        "rms_norm_eps": (config.rms_norm_eps, text.rms_norm_eps),
        "rope_theta": (config.rope_theta, text.rope_theta),
        "mrope_section": (list(config.mrope_section), list((text.rope_scaling or {}).get("mrope_section", ()))),
        "tie_word_embeddings": (config.tie_word_embeddings, theirs.tie_word_embeddings),
        "vision_config.num_heads": (config.vision.num_heads, vision.num_heads),
        "vision_config.window_size": (config.vision.window_size, vision.window_size),
        "vision_config.fullatt_block_indexes": (
            sorted(config.vision.fullatt_block_indexes),
            sorted(vision.fullatt_block_indexes),
        ),
    }
    for name, (mine, read) in values.items():
        if mine != read:
            raise ModelConfigError(
                f"{folder / CONFIG_NAME}: {name} is {mine}, which MindNLP, of another version than the file, reads as "
                f"{read}; leave --backend out, or take the file as it was published"
            )
