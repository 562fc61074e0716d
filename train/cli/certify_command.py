"""python -m train certify: its flags."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shards import ModelFolderError, ShardError, ShardSet, read_model_constants
from shards.errors import FlagError
from shards.flags.fields import read_fields
from shards.flags.settings import read_settings
from shards.reader import open_packs
from train.certify.task import find_oracle
from train.errors import UsageError

USAGE = "python -m train certify OUTPUT_DIR --model MODEL [--packs N] [--oracle PYTHON]"
_PROGRAM = "python -m train certify"
_HELP = f"""usage: {USAGE}

Packs of finished shards through the model, and each of their samples alone, by MindSpore and by transformers in
PyTorch: the losses of a sample must be equal. A tiny model of the same family stands in for one that is too large.
Writes its half of certificate.json and certificate.html beside the manifest; exit code 1 where a loss differs.
`bash scripts/certify.sh` makes the environment of PyTorch, and certifies the data too.

  --model MODEL     Hugging Face model folder
  --packs N         how many packs, evenly chosen (default: 2)
  --oracle PYTHON   an interpreter that has torch and transformers 4.57.1 (default: that of .venv-oracle)"""


@dataclass(frozen=True, kw_only=True)
class CertifyArguments:
    shards: Path
    model: Path | None = None
    packs: int = 2
    oracle: Path | None = None


@dataclass(frozen=True, kw_only=True)
class CertifyInputs:
    shards: ShardSet
    model: Path
    numbers: tuple[int, ...]  # of packs
    oracle: Path


def describe_flags() -> str:
    return _HELP


def run(argv: Sequence[str]) -> CertifyInputs:
    """Raises UsageError."""
    words = list(argv)
    if words and not words[0].startswith("--"):
        words[:1] = ["--shards", words[0]]
    try:
        values = read_fields(read_settings(words), CertifyArguments, program=_PROGRAM).values
    except FlagError as error:
        raise UsageError(str(error)) from None
    if "shards" not in values:
        raise UsageError(f"give the OUTPUT_DIR of `python -m preprocess run`: {USAGE}")
    arguments = CertifyArguments(**values)
    if arguments.model is None:
        raise UsageError(f"--model is missing: give the Hugging Face model folder: {USAGE}")
    if arguments.packs < 1:
        raise UsageError(f"packs is {arguments.packs}; say how many, 1 or more")
    try:
        shards = open_packs(arguments.shards)
        constants = read_model_constants(arguments.model)
        constants.require_equal(shards.manifest.model, mine=str(arguments.model), theirs=str(arguments.shards))
    except (ShardError, ModelFolderError) as error:
        raise UsageError(str(error)) from error
    number = min(arguments.packs, len(shards))
    return CertifyInputs(
        shards=shards,
        model=arguments.model,
        numbers=tuple(place * len(shards) // number for place in range(number)),
        oracle=find_oracle(arguments.oracle),
    )
