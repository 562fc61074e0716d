"""The tokenizer of a model folder, and how many tokens a text has at least."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, pre_tokenizers

from preprocess.errors import ConfigError
from shards import ModelConstants
from shards.files.names import TOKENIZER_NAME
from shards.model_folder import read_tokenizer, tokenizer_files

NFC_SHRINKS = 4
"""Bytes of UTF-8 that NFC makes one of, at most. 3.5 are reached: U+1FBE U+0308 U+0301 (7 bytes) become U+0390 (2)."""


def load_tokenizer(path: Path) -> Tokenizer:
    """That of a tokenizer.json; see `parse_tokenizer`. Raises ConfigError."""
    return parse_tokenizer(path.read_bytes(), path)


def load_model_tokenizer(model: Path) -> Tokenizer:
    """That of a model folder; see `parse_tokenizer`. Raises ConfigError or shards.ModelFolderError."""
    return parse_tokenizer(read_tokenizer(model), model / tokenizer_files(model)[0])


def parse_tokenizer(content: bytes, path: Path) -> Tokenizer:
    """The tokenizer with special tokens switched off in text: a literal <|im_end|> in a caption is just text.

    The switch does not survive pickling or copying, so every process loads its own. Truncation and padding, which a
    tokenizer.json may hold as they were last used, are switched off too. Raises ConfigError that names `path`.
    """
    try:
        tokenizer = Tokenizer.from_buffer(content)
    except Exception as error:  # the library raises plain Exception, whatever is wrong with the file
        what = "a tokenizer.json" if path.name == TOKENIZER_NAME else "with the files beside it a tokenizer"
        raise ConfigError(f"{path} is not {what} of the tokenizers library: {error}") from None
    if getattr(tokenizer.model, "dropout", None):
        raise ConfigError(f"{path}: the model has dropout, so that equal texts get different tokens; set it to null")
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    return tokenizer


def special_tokens(tokenizer: Tokenizer) -> frozenset[str]:
    """Those that are text where text has them, unless they are allowed."""
    return frozenset(
        token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special and token.content
    )


def check_allowed(tokens: Sequence[str], tokenizer: Tokenizer, constants: ModelConstants, where: str) -> None:
    """Raises ConfigError where one of `tokens` is no special token, or one of those that templates are made of."""
    special = special_tokens(tokenizer)
    of_template = {
        constants.im_start_token_id,
        constants.im_end_token_id,
        constants.pad_token_id,
        constants.vision_start_token_id,
        constants.vision_end_token_id,
        constants.image_token_id,
        constants.video_token_id,
    }
    for token in tokens:
        if token not in special:
            known = ", ".join(sorted(each for each in special if tokenizer.token_to_id(each) not in of_template))
            raise ConfigError(f"{where}: allow_tokens has {token!r}, no special token of the model; it has {known}")
        if tokenizer.token_to_id(token) in of_template:
            raise ConfigError(f"{where}: allow_tokens has {token!r}, which would end a turn or ask for pixels")


@dataclass(frozen=True)
class TokenBound:
    """Tells without a tokenizer's work that a text is long. What it works with grows to 160 times the text."""

    longest: int  # bytes of UTF-8 that a token stands for, at most
    shrinks: int  # bytes that normalisation makes one of, at most; text that is ASCII stays as it is

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> TokenBound | None:
        """None where no token has a longest text: where text may be dropped, or is not split into bytes."""
        record = json.loads(tokenizer.to_str())
        vocabulary = record["model"].get("vocab")
        added = [token for token in record["added_tokens"] if not token["special"]]  # special ones are off in text
        if (
            record["model"]["type"] != "BPE"
            or not set(pre_tokenizers.ByteLevel.alphabet()) <= vocabulary.keys()
            or any(token["lstrip"] or token["rstrip"] for token in added)  # these take all spaces around them
            or not all(token["content"].isascii() for token in added)  # others may themselves be normalised
            or not _keeps_every_byte(record["pre_tokenizer"])
            or (record["normalizer"] or {"type": "NFC"})["type"] != "NFC"
        ):
            return None
        # In the vocabulary, a character of the alphabet stands for a byte.
        longest = max(map(len, (*vocabulary, *(token["content"] for token in added))))
        return cls(longest, 1 if record["normalizer"] is None else NFC_SHRINKS)

    def least_tokens(self, text: str) -> int:
        """No encoding of the text is shorter."""
        if len(text) < self.longest:
            return bool(text)
        return -(-len(text.encode()) // (self.longest * (1 if text.isascii() else self.shrinks)))


def _keeps_every_byte(pre_tokenizer: Mapping[str, Any] | None) -> bool:
    """Whether it ends in ByteLevel, after nothing but splits that drop nothing."""
    if pre_tokenizer is None:
        return False
    steps = pre_tokenizer["pretokenizers"] if pre_tokenizer["type"] == "Sequence" else [pre_tokenizer]
    splits, last = steps[:-1], steps[-1:]
    return [step["type"] for step in last] == ["ByteLevel"] and all(
        step["type"] == "Split" and step["behavior"] != "Removed" for step in splits
    )
