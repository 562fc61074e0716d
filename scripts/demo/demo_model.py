"""Tiny model folders with the files, keys and weight names of the published ones, a module each family.

The tokenizer is trained on the demo's own texts; the weights are random, from a fixed seed. What is small is the size:
every rule of the architecture occurs (windowed and full attention, grouped queries, three rope sections, tied
embeddings).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import demo_qwen2_5_vl
import demo_qwen2_vl
import demo_qwen3_vl
import numpy as np
from demo_sizes import ModelSize
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

FAMILIES = {"qwen2_5_vl": demo_qwen2_5_vl, "qwen2_vl": demo_qwen2_vl, "qwen3_vl": demo_qwen3_vl}
"""By model_type, the default first."""
SIZES = {"qwen2_5_vl": ModelSize(), "qwen2_vl": ModelSize(), "qwen3_vl": ModelSize(patch_size=16)}


def write_model_folder(
    folder: Path, texts: Iterable[str], *, family: str = "qwen2_5_vl", size: ModelSize | None = None, seed: int = 0
) -> None:
    """Train the tokenizer on `texts` and write the whole model folder. The bytes depend on the arguments alone."""
    size = size or SIZES[family]
    folder.mkdir(parents=True)
    tokenizer = train_tokenizer(texts, vocab_size=size.vocab_size)
    tokenizer.save(str(folder / "tokenizer.json"))
    ids = {token: tokenizer.token_to_id(token) for token in SPECIAL_TOKENS + PLAIN_ADDED_TOKENS}
    _write_json(folder / "config.json", FAMILIES[family].model_config(size, ids))
    _write_json(folder / "generation_config.json", _generation_config(ids))
    for name, record in FAMILIES[family].processors(size).items():
        _write_json(folder / name, record)
    _write_json(folder / "tokenizer_config.json", _tokenizer_config(ids))
    save_file(random_weights(size, seed, family), folder / "model.safetensors", metadata={"format": "pt"})


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


def random_weights(size: ModelSize, seed: int, family: str = "qwen2_5_vl") -> dict[str, np.ndarray]:
    """Name on disk -> float32 array: matrices normal with deviation 0.02, norms 1, biases 0."""
    generator = np.random.default_rng(seed)
    weights = {}
    for name, shape in FAMILIES[family].weight_shapes(size):
        if name.endswith("bias"):
            weights[name] = np.zeros(shape, np.float32)
        elif len(shape) == 1:
            weights[name] = np.ones(shape, np.float32)
        else:
            weights[name] = (0.02 * generator.standard_normal(shape)).astype(np.float32)
    return weights


def _generation_config(ids: dict[str, int]) -> dict[str, Any]:
    return {
        "bos_token_id": ids["<|endoftext|>"],
        "pad_token_id": ids["<|endoftext|>"],
        "do_sample": False,
        "eos_token_id": [ids["<|im_end|>"], ids["<|endoftext|>"]],
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
