"""The tokenizer of a model folder: tokenizer.json, or what that would be where only the older files are there.

vocab.json and merges.txt hold the byte-level BPE of Qwen2's tokenizer, and tokenizer_config.json
(`added_tokens_decoder`) the tokens beside it. How text is normalised and split stands in none of them, but in
`Qwen2Tokenizer` of transformers.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from shards.files.names import TOKENIZER_NAME
from shards.model_folder.json_file import JsonFile, ModelFolderError, read_file

_VOCABULARY_NAME, _MERGES_NAME, _SETTINGS_NAME = _OLDER_NAMES = ("vocab.json", "merges.txt", "tokenizer_config.json")
_ADDED = "added_tokens_decoder"
_CLASSES = ("Qwen2Tokenizer", "Qwen2TokenizerFast")
# Source: PRETOKENIZE_REGEX of transformers 4.57.1, models/qwen2/tokenization_qwen2.py.
_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}


def tokenizer_files(folder: Path) -> tuple[str, ...]:
    """Names of the files that `read_tokenizer` reads."""
    has_older = all((folder / name).exists() for name in (_VOCABULARY_NAME, _MERGES_NAME))
    return _OLDER_NAMES if has_older and not (folder / TOKENIZER_NAME).exists() else (TOKENIZER_NAME,)


def read_tokenizer(folder: Path) -> bytes:
    """A tokenizer.json: the folder's own, or one made of the older files, always to the same bytes.

    Raises ModelFolderError.
    """
    if tokenizer_files(folder) == (TOKENIZER_NAME,):
        return read_file(folder / TOKENIZER_NAME)
    record = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": _added_tokens(folder / _SETTINGS_NAME),
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": _SPLIT}, "behavior": "Isolated", "invert": False},
                _BYTE_LEVEL,
            ],
        },
        "post_processor": _BYTE_LEVEL,
        "decoder": _BYTE_LEVEL,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": JsonFile.read(folder / _VOCABULARY_NAME).record,
            "merges": _merges(folder / _MERGES_NAME),
        },
    }
    return json.dumps(record, ensure_ascii=False, indent=1).encode()


def parse_tokenizer(folder: Path) -> JsonFile:
    """Raises ModelFolderError."""
    return JsonFile.parse(folder / tokenizer_files(folder)[0], read_tokenizer(folder))


def token_ids(tokenizer: JsonFile) -> JsonFile:
    """{token: id} of a tokenizer.json, added tokens included. Raises ModelFolderError."""
    try:
        vocabulary = tokenizer.record["model"]["vocab"]
        added = {token["content"]: token["id"] for token in tokenizer.record["added_tokens"]}
        tokens = {**vocabulary, **added}
    except (KeyError, TypeError):
        raise ModelFolderError(f"{tokenizer.path} is not a tokenizer.json with a vocabulary and added tokens") from None
    token_of: dict[int, str] = {}
    for token, number in tokens.items():
        if type(number) is not int or number < 0:  # a boolean is no id
            raise ModelFolderError(f"{tokenizer.path}: the id of token {token!r} is {number!r}, not a whole number")
        if token_of.setdefault(number, token) != token:
            raise ModelFolderError(f"{tokenizer.path}: {token_of[number]!r} and {token!r} both have id {number}")
    return JsonFile(tokenizer.path, tokens)


def _merges(path: Path) -> list[list[str]]:
    try:
        lines = (
            read_file(path).decode("utf-8").split("\n")
        )  # no other end of line: tokens may hold what Python takes for one
    except ValueError as error:
        raise ModelFolderError(f"{path} is not text: {error}; copy the model folder again") from None
    merges = []
    for number, line in enumerate(lines, 1):
        pair = line.removesuffix("\r").split(" ")
        if pair == [""] or (number == 1 and line.startswith("#version:")):
            continue
        if len(pair) != 2 or not all(pair):
            raise ModelFolderError(
                f"{path}, line {number}: {line[:80]!r} is not two tokens; copy the model folder again"
            )
        merges.append(pair)
    return merges


def _added_tokens(path: Path) -> list[dict[str, Any]]:
    settings = JsonFile.read(path)
    if settings.record.get("tokenizer_class") not in _CLASSES:
        raise ModelFolderError(
            f"{path}: tokenizer_class is {settings.record.get('tokenizer_class')!r}; without a {TOKENIZER_NAME} only "
            f"{' and '.join(_CLASSES)} can be read: save the tokenizer once with transformers' use_fast=True"
        )
    added = settings.section(_ADDED).record
    tokens = []
    for number, token in sorted(added.items(), key=lambda item: int(item[0]) if item[0].isdecimal() else -1):
        if not number.isdecimal() or not isinstance(token, dict) or not isinstance(token.get("content"), str):
            raise ModelFolderError(f"{path}: {_ADDED} has {number!r}: {token!r}, not a token under its id")
        switches = {key: token.get(key) is True for key in ("single_word", "lstrip", "rstrip", "normalized", "special")}
        tokens.append({"id": int(number), "content": token["content"], **switches})
    return tokens
