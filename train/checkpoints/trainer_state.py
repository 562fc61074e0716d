"""trainer_state.json: where a run stands, and what determines its result. Plain JSON, which carries its own hash.

It stands in every checkpoint, where it also lists the other files with their sizes and hashes, and in `output_dir`:
with step 0 from the start of a run, with the last step when the trained model is complete.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from shards import Manifest
from shards.files.atomic import write_atomically
from shards.files.differences import differences
from shards.files.hashing import sha256_of_json
from shards.files.names import CONFIG_NAME
from shards.files.plain import open_own, read_own
from shards.inputs import names_format, without_format
from shards.manifest import fingerprint_of
from shards.order import PackOrder
from train.arguments import FIELDS, TrainArguments
from train.errors import DamagedCheckpoint
from train.reports.metrics import StepSums

FORMAT_VERSION = 1
_SAMPLE_BYTES = 1 << 20

# What may differ between a run and its continuation: places, what is shown and kept, what is computed twice, and the
# length of the run.
MAY_DIFFER = {"shards", "model", "output_dir", "resume_from_checkpoint", "device", "data_flatten"}
MAY_DIFFER |= {"gradient_checkpointing"}
MAY_DIFFER |= {"backend"}
MAY_DIFFER |= {"log_samples", "profile_steps", "jit_level", "deterministic"}
MAY_DIFFER |= {"logging_steps", "disable_tqdm", "report_to", "save_strategy", "save_steps", "save_total_limit"}
MAY_DIFFER |= {"checkpoint_writer", "check_replicas"}
MAY_DIFFER |= {"zero_stage", "deepspeed", "device_memory"}
MAY_DIFFER |= {"eval_shards", "eval_strategy", "eval_steps", "num_train_epochs", "max_steps"}
# Only their product counts.
_PACKS_PER_STEP = ("per_device_train_batch_size", "gradient_accumulation_steps")


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    num_bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class RunIdentity:
    """What determines the weights after each step, but for the number of steps."""

    arguments: Mapping[str, Any]  # all of TrainArguments, as JSON
    shards: Mapping[str, Any]  # `fingerprint`, `num_packs`, and `inputs`, which the fingerprint was taken of
    model_sha256: str  # see `hash_model`
    num_ranks: int = 1

    @classmethod
    def of(cls, arguments: TrainArguments, manifest: Manifest, num_ranks: int = 1) -> RunIdentity:
        values = {name: getattr(arguments, name) for name in FIELDS}
        shards = {
            "fingerprint": manifest.fingerprint,
            "num_packs": manifest.num_packs,
            "inputs": dict(manifest.inputs),
        }
        return cls(
            arguments={name: str(value) if isinstance(value, Path) else value for name, value in values.items()},
            shards=json.loads(json.dumps(shards)),
            model_sha256=hash_model(arguments.model),
            num_ranks=num_ranks,
        )

    @property
    def packs_per_step(self) -> int:
        """On all ranks."""
        return self.num_ranks * math.prod(self.arguments[name] for name in _PACKS_PER_STEP)

    def differences(self, now: RunIdentity) -> Iterator[str]:
        """What `now` has otherwise, each with both values. Nothing: its steps continue those of this run exactly."""
        before, after = _rows_of(self.shards), _rows_of(now.shards)
        if before != after:
            inputs = list(_changes(before["inputs"], after["inputs"]))
            num_packs = list(_changes({"packs": before["num_packs"]}, {"packs": after["num_packs"]}))
            yield f"the shards ({', '.join(inputs + num_packs) or 'their fingerprint'})"
        if self.model_sha256 != now.model_sha256:
            yield f"the model to start from ({self.arguments['model']} -> {now.arguments['model']})"
        yield from _changes(_determining(self), _determining(now))


def _rows_of(shards: Mapping[str, Any]) -> Mapping[str, Any]:
    """What determines the rows of shards: all but the format, which a conversion changes and nothing else."""
    inputs = shards["inputs"]
    if not names_format(inputs) or shards["fingerprint"] != fingerprint_of(inputs):
        return shards
    without = without_format(inputs)
    return {**shards, "inputs": without, "fingerprint": fingerprint_of(without)}


@dataclass(frozen=True, kw_only=True)
class TrainerState:
    """A run after `step` of `num_steps` optimizer steps."""

    step: int
    num_steps: int
    packs_taken: int  # positions of the stream of packs that the steps took
    identity: RunIdentity
    since_report: StepSums = field(default_factory=StepSums)  # of the steps after the last record of the log
    is_evaluated: bool = True  # False: the evaluation that is due after `step` has not been made

    @classmethod
    def after(
        cls,
        step: int,
        order: PackOrder,
        identity: RunIdentity,
        *,
        since_report: StepSums | None = None,
        is_evaluated: bool = True,
    ) -> TrainerState:
        return cls(
            step=step,
            num_steps=order.num_steps,
            packs_taken=min(step * order.packs_per_step, order.num_positions),
            identity=identity,
            since_report=since_report or StepSums(),
            is_evaluated=is_evaluated,
        )


def write_state(path: Path, state: TrainerState, files: Mapping[str, StoredFile]) -> None:
    """Write `state`, atomically, with the `files` that belong to it."""
    record = {
        "format_version": FORMAT_VERSION,
        **asdict(state),
        "files": {name: asdict(entry) for name, entry in files.items()},
    }
    write_atomically(path, json.dumps({**record, "sha256": sha256_of_json(record)}, indent=1, sort_keys=True) + "\n")


def read_state(path: Path) -> tuple[TrainerState, dict[str, StoredFile]]:
    """Raises DamagedCheckpoint for a file that is missing, altered, or of another version."""
    try:
        record = json.loads(read_own(path))
        stored_hash = record.pop("sha256")
        version = record.pop("format_version")
        is_altered = stored_hash != sha256_of_json({"format_version": version, **record})
    except OSError as error:
        raise DamagedCheckpoint(f"{path} can't be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise DamagedCheckpoint(f"{path} is cut short or not ours") from None
    if version != FORMAT_VERSION:
        raise DamagedCheckpoint(f"{path} has format version {version}, this code reads {FORMAT_VERSION}")
    if is_altered:
        raise DamagedCheckpoint(f"{path} was altered: its hash does not match")
    try:
        return _parse(record)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedCheckpoint(f"{path} holds values that we never write ({error})") from None


def _parse(record: dict[str, Any]) -> tuple[TrainerState, dict[str, StoredFile]]:
    """Raises ValueError, KeyError, TypeError or AttributeError for what is missing, unknown or of another type."""
    files = {name: StoredFile(**entry) for name, entry in record.pop("files").items()}
    identity = RunIdentity(**record.pop("identity"))
    since_report = StepSums(**record.pop("since_report"))
    state = TrainerState(**record, identity=identity, since_report=since_report)
    for count in (state.step, state.num_steps, state.packs_taken, *(each.num_bytes for each in files.values())):
        if type(count) is not int or count < 0:
            raise ValueError(f"{count!r} is not a number from 0")
    for sum_ in vars(since_report).values():
        if isinstance(sum_, bool) or not isinstance(sum_, int | float):
            raise ValueError(f"{sum_!r} is not a number")
    for name in files:
        if not name or "/" in name or "\0" in name or name in (".", ".."):
            raise ValueError(f"{name!r} is not the name of a file")
    said = (
        (identity.arguments, (*_PACKS_PER_STEP, "model")),
        (identity.shards, ("fingerprint", "num_packs", "inputs")),
    )
    for values, names in said:
        if not isinstance(values, dict) or any(name not in values for name in names):
            raise ValueError(f"{', '.join(names)} must be said")
    if any(type(identity.arguments[name]) is not int for name in _PACKS_PER_STEP):
        raise ValueError(f"{' and '.join(_PACKS_PER_STEP)} must be numbers")
    if not isinstance(identity.shards["inputs"], dict):
        raise ValueError("inputs must be an object")
    _rows_of(identity.shards)
    return state, files


def hash_model(folder: Path) -> str:
    """Hash that tells model folders apart without reading them.

    It is taken of config.json, and of each file of weights its name, size, first and last MiB.
    """
    digest = hashlib.sha256(read_own(folder / CONFIG_NAME))
    for path in sorted(folder.glob("*.safetensors")):
        with open_own(path) as file:
            size = os.fstat(file.fileno()).st_size
            digest.update(f"{path.name} {size}".encode())
            digest.update(file.read(_SAMPLE_BYTES))
            file.seek(max(0, size - _SAMPLE_BYTES))
            digest.update(file.read(_SAMPLE_BYTES))
    return digest.hexdigest()


def _determining(identity: RunIdentity) -> dict[str, Any]:
    kept = {name: value for name, value in identity.arguments.items() if name not in (*MAY_DIFFER, *_PACKS_PER_STEP)}
    return {**kept, " * ".join(_PACKS_PER_STEP) + " * ranks": identity.packs_per_step}


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """`name before -> now` of each value that differs."""
    yield from (f"{name} {old} -> {new}" for name, old, new in differences(before, now))
