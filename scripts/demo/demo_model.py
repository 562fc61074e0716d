"""A tiny Qwen2.5-VL model folder with the files, keys and weight names of the published ones.

The tokenizer is trained on the demo's own texts; the weights are random, from a fixed seed. What is small is the size:
every rule of the architecture occurs (windowed and full attention, grouped queries, three rope sections, tied
embeddings).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Qwen2's pre-tokenizer, as in its published tokenizer.json."""

SPECIAL_TOKENS = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
    *("<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>"),
    *("<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"),
)
PLAIN_ADDED_TOKENS = (
    *("<tool_call>", "</tool_call>"),
    *("<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>"),
)
"""Added tokens that are not special, in Qwen2.5's order after the special ones."""

IMAGE_MEAN = (0.48145466, 0.4578275, 0.40821073)
IMAGE_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True, kw_only=True)
class ModelSize:
    """Sizes of the model; the defaults are the demo's."""

    vocab_size: int = 1024
    hidden_size: int = 64
    intermediate_size: int = 128
    num_layers: int = 2
    num_heads: int = 4
    num_key_value_heads: int = 2
    vision_depth: int = 2
    vision_hidden_size: int = 32
    vision_intermediate_size: int = 64
    vision_num_heads: int = 2
    full_attention_blocks: tuple[int, ...] = (1,)
    patch_size: int = 14
    merge_size: int = 2
    temporal_patch_size: int = 2

    def __post_init__(self) -> None:
        if self.hidden_size % self.num_heads or self.head_size % 4:
            raise ValueError(f"hidden_size {self.hidden_size} does not split into {self.num_heads} heads of 4n numbers")

    @property
    def head_size(self) -> int:
        return self.hidden_size // self.num_heads

    @property
    def mrope_section(self) -> list[int]:
        """Rotary pairs for time, height and width: 2 : 3 : 3 as published, together half a head."""
        pairs = self.head_size // 2
        spatial = pairs * 3 // 8
        return [pairs - 2 * spatial, spatial, spatial]


def write_model_folder(folder: Path, texts: Iterable[str], *, size: ModelSize | None = None, seed: int = 0) -> None:
    """Train the tokenizer on `texts` and write the whole model folder. The bytes depend on the arguments alone."""
    size = size or ModelSize()
    folder.mkdir(parents=True)
    tokenizer = train_tokenizer(texts, vocab_size=size.vocab_size)
    tokenizer.save(str(folder / "tokenizer.json"))
    ids = {token: tokenizer.token_to_id(token) for token in SPECIAL_TOKENS + PLAIN_ADDED_TOKENS}
    _write_json(folder / "config.json", model_config(size, ids))
    _write_json(folder / "generation_config.json", _generation_config(ids))
    _write_json(folder / "preprocessor_config.json", _preprocessor_config(size))
    _write_json(folder / "tokenizer_config.json", _tokenizer_config(ids))
    save_file(random_weights(size, seed), folder / "model.safetensors", metadata={"format": "pt"})


def train_tokenizer(texts: Iterable[str], *, vocab_size: int) -> Tokenizer:
    """A byte-level BPE tokenizer with Qwen2.5's normaliser, splitting rule and added tokens.

    As in the published one, the added tokens come after the trained vocabulary; all together stay within `vocab_size`.
    """
    tokenizer = Tokenizer(models.BPE(byte_fallback=False, fuse_unk=False))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    tokenizer.post_processor = processors.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(SPECIAL_TOKENS) - len(PLAIN_ADDED_TOKENS),
        min_frequency=2,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(sorted(texts), trainer)
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in SPECIAL_TOKENS])
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=False) for token in PLAIN_ADDED_TOKENS])
    return tokenizer


def model_config(size: ModelSize, ids: dict[str, int]) -> dict[str, Any]:
    """config.json, flat, as published with Qwen2.5-VL; `ids` are the token ids of the tokenizer."""
    return {
        "architectures": ["Qwen2_5_VLForConditionalGeneration"],
        "attention_dropout": 0.0,
        "bos_token_id": ids["<|endoftext|>"],
        "eos_token_id": ids["<|im_end|>"],
        "vision_start_token_id": ids["<|vision_start|>"],
        "vision_end_token_id": ids["<|vision_end|>"],
        "vision_token_id": ids["<|vision_pad|>"],
        "image_token_id": ids["<|image_pad|>"],
        "video_token_id": ids["<|video_pad|>"],
        "hidden_act": "silu",
        "hidden_size": size.hidden_size,
        "initializer_range": 0.02,
        "intermediate_size": size.intermediate_size,
        "max_position_embeddings": 32768,
        "max_window_layers": size.num_layers,
        "model_type": "qwen2_5_vl",
        "num_attention_heads": size.num_heads,
        "num_hidden_layers": size.num_layers,
        "num_key_value_heads": size.num_key_value_heads,
        "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0,
        "rope_scaling": {"type": "mrope", "mrope_section": size.mrope_section},
        "sliding_window": 32768,
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
        "use_cache": True,
        "use_sliding_window": False,
        "vision_config": {
            "depth": size.vision_depth,
            "hidden_act": "silu",
            "hidden_size": size.vision_hidden_size,
            "intermediate_size": size.vision_intermediate_size,
            "num_heads": size.vision_num_heads,
            "in_chans": 3,
            "out_hidden_size": size.hidden_size,
            "patch_size": size.patch_size,
            "spatial_merge_size": size.merge_size,
            "spatial_patch_size": size.patch_size,
            "window_size": 4 * size.patch_size * size.merge_size,
            "fullatt_block_indexes": list(size.full_attention_blocks),
            "tokens_per_second": 2,
            "temporal_patch_size": size.temporal_patch_size,
            "model_type": "qwen2_5_vl",
        },
        "vocab_size": size.vocab_size,
    }


def random_weights(size: ModelSize, seed: int) -> dict[str, np.ndarray]:
    """Name on disk -> float32 array: matrices normal with deviation 0.02, norms 1, biases 0."""
    generator = np.random.default_rng(seed)
    weights = {}
    for name, shape in weight_shapes(size):
        if name.endswith("bias"):
            weights[name] = np.zeros(shape, np.float32)
        elif len(shape) == 1:
            weights[name] = np.ones(shape, np.float32)
        else:
            weights[name] = (0.02 * generator.standard_normal(shape)).astype(np.float32)
    return weights


def weight_shapes(size: ModelSize) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Every weight's name and shape, as on disk in the published checkpoints (no `lm_head`: it is tied)."""
    yield "model.embed_tokens.weight", (size.vocab_size, size.hidden_size)
    for layer in range(size.num_layers):
        yield from _decoder_layer_shapes(f"model.layers.{layer}", size)
    yield "model.norm.weight", (size.hidden_size,)
    yield (
        "visual.patch_embed.proj.weight",
        (
            *(size.vision_hidden_size, 3),
            *(size.temporal_patch_size, size.patch_size, size.patch_size),
        ),
    )
    for block in range(size.vision_depth):
        yield from _vision_block_shapes(f"visual.blocks.{block}", size)
    merged = size.vision_hidden_size * size.merge_size**2
    yield "visual.merger.ln_q.weight", (size.vision_hidden_size,)
    yield from _linear("visual.merger.mlp.0", merged, merged, bias=True)
    yield from _linear("visual.merger.mlp.2", merged, size.hidden_size, bias=True)


def _decoder_layer_shapes(prefix: str, size: ModelSize) -> Iterator[tuple[str, tuple[int, ...]]]:
    hidden, key_value = size.hidden_size, size.num_key_value_heads * size.head_size
    yield f"{prefix}.input_layernorm.weight", (hidden,)
    yield from _linear(f"{prefix}.self_attn.q_proj", hidden, hidden, bias=True)
    yield from _linear(f"{prefix}.self_attn.k_proj", hidden, key_value, bias=True)
    yield from _linear(f"{prefix}.self_attn.v_proj", hidden, key_value, bias=True)
    yield from _linear(f"{prefix}.self_attn.o_proj", hidden, hidden, bias=False)
    yield f"{prefix}.post_attention_layernorm.weight", (hidden,)
    yield from _linear(f"{prefix}.mlp.gate_proj", hidden, size.intermediate_size, bias=False)
    yield from _linear(f"{prefix}.mlp.up_proj", hidden, size.intermediate_size, bias=False)
    yield from _linear(f"{prefix}.mlp.down_proj", size.intermediate_size, hidden, bias=False)


def _vision_block_shapes(prefix: str, size: ModelSize) -> Iterator[tuple[str, tuple[int, ...]]]:
    hidden, inner = size.vision_hidden_size, size.vision_intermediate_size
    yield f"{prefix}.norm1.weight", (hidden,)
    yield from _linear(f"{prefix}.attn.qkv", hidden, 3 * hidden, bias=True)
    yield from _linear(f"{prefix}.attn.proj", hidden, hidden, bias=True)
    yield f"{prefix}.norm2.weight", (hidden,)
    yield from _linear(f"{prefix}.mlp.gate_proj", hidden, inner, bias=True)
    yield from _linear(f"{prefix}.mlp.up_proj", hidden, inner, bias=True)
    yield from _linear(f"{prefix}.mlp.down_proj", inner, hidden, bias=True)


def _linear(name: str, inputs: int, outputs: int, *, bias: bool) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (outputs, inputs)
    if bias:
        yield f"{name}.bias", (outputs,)


def _generation_config(ids: dict[str, int]) -> dict[str, Any]:
    return {
        "bos_token_id": ids["<|endoftext|>"],
        "pad_token_id": ids["<|endoftext|>"],
        "do_sample": False,
        "eos_token_id": [ids["<|im_end|>"], ids["<|endoftext|>"]],
    }


def _preprocessor_config(size: ModelSize) -> dict[str, Any]:
    return {
        "min_pixels": 3136,
        "max_pixels": 12845056,
        "patch_size": size.patch_size,
        "temporal_patch_size": size.temporal_patch_size,
        "merge_size": size.merge_size,
        "image_mean": list(IMAGE_MEAN),
        "image_std": list(IMAGE_STD),
        "image_processor_type": "Qwen2VLImageProcessor",
        "processor_class": "Qwen2_5_VLProcessor",
    }


def _tokenizer_config(ids: dict[str, int]) -> dict[str, Any]:
    added = {
        str(ids[token]): {
            "content": token,
            "lstrip": False,
            "normalized": False,
            "rstrip": False,
            "single_word": False,
            "special": token in SPECIAL_TOKENS,
        }
        for token in SPECIAL_TOKENS + PLAIN_ADDED_TOKENS
    }
    return {
        "add_bos_token": False,
        "add_prefix_space": False,
        "added_tokens_decoder": added,
        "additional_special_tokens": list(SPECIAL_TOKENS[1:]),
        "bos_token": None,
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>",
        "errors": "replace",
        "model_max_length": 131072,
        "pad_token": "<|endoftext|>",
        "split_special_tokens": False,
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
    }


def _write_json(path: Path, record: dict[str, Any]) -> None:
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
