"""Damaged folders of every kind that the commands open: manifests, shards, models, checkpoints, Parquet annotations.

    python scripts/bench/proofs/fuzz_folders.py DATASET MODEL COUNT SEED

Run by fuzz.py, in a process of its own: DATASET is a folder of shards, MODEL the model folder that it was made with.
Each of COUNT cases is damaged by chance, and may end well or in one of our errors. Anything else is a finding: another
exception, more than 10 s, more than 1 GB, a file opened from Python that lies neither in the case's folder nor where
Python itself looks. Findings are printed one a line, then the number of cases by kind and by how they ended.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import io
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import preprocess.cli.commands
from shards import ModelFolderError, ShardError, open_shards, read_model_constants
from shards.files.hashing import sha256_of_json
from shards.look.info import info_text
from shards.manifest import read_manifest
from train.arguments import TrainArguments
from train.checkpoints.folder import read_checkpoint, write_checkpoint
from train.checkpoints.trainer_state import RunIdentity, TrainerState
from train.errors import TrainError
from train.inputs import order_of_run
from train.models import family_in
from train.weights.companions import check_companions
from train.weights.files import WeightToWrite, find_weights, stored_weights, write_file

MOST_SECONDS = 10
MOST_BYTES = 1 << 30
OURS = (ShardError, ModelFolderError, TrainError)
SECRET = "secret.safetensors"  # beside every case: what names and links may not lead to
STRANGE: list[Any] = [
    *(None, True, 0, -1, 10**9, 10**18, 10**400, 0.5, float("nan"), float("inf"), "", "x", "../" + SECRET, "/dev/zero"),
    *([], {}, [[]], [None], {"a": 1}, [0] * 5, "n" * 300, "\x1b[31m", "\0"),
]
Damage = Callable[[Path, random.Random], None]


class Hang(BaseException):
    """More than MOST_SECONDS; no Exception, so that nobody takes it for an error of the data."""


# --- damage --------------------------------------------------------------------------------------------------------


def strange_value(record: Any, dice: random.Random) -> Any:
    """A copy in which one value, at any depth, is another one, missing, or twice there."""
    record = copy.deepcopy(record)
    at = record
    while True:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        if not keys:
            return record
        key = dice.choice(keys)
        if isinstance(at[key], dict | list) and at[key] and dice.random() < 0.8:
            at = at[key]
            continue
        match dice.randrange(8):
            case 0:
                del at[key]
            case 1 if isinstance(at, list):
                at.append(at[key])
            case _:
                at[key] = dice.choice(STRANGE)
        return record


def strange_json(path: Path, dice: random.Random) -> None:
    match dice.randrange(6):
        case 0:
            path.write_bytes(dice.choice([b"", b"{", b"[]", b"9" * 5000, b"[" * 100_000, b"\xff\xfe", b"null"]))
        case 1:
            strange_file(path, dice)
        case _:
            path.write_text(json.dumps(strange_value(json.loads(path.read_text()), dice)))


def strange_bytes(path: Path, dice: random.Random, first: int = 0, last: int | None = None) -> None:
    """Some bytes of [first, last) are others, or the file ends early."""
    content = bytearray(path.read_bytes())
    last = len(content) if last is None else last
    if dice.random() < 0.2:
        content = content[: dice.randrange(len(content))]
    else:
        for _ in range(dice.choice((1, 2, 8))):
            content[dice.randrange(first, last)] = dice.randrange(256)
    path.write_bytes(content)


def strange_file(path: Path, dice: random.Random) -> None:
    """No file of its own: a FIFO, a folder, a device, a link out of the folder, or to itself."""
    path.unlink()
    match dice.randrange(5):
        case 0:
            os.mkfifo(path)
        case 1:
            path.mkdir()
        case 2:
            path.symlink_to("/dev/zero")
        case 3:
            path.symlink_to(f"../{SECRET}")
        case 4:
            path.symlink_to(path.name)


# --- kinds: a whole folder -> damage -> what a command does with it --------------------------------------------------


def damage_manifest(folder: Path, dice: random.Random) -> None:
    """Values of other kinds under a hash that is right."""
    path = folder / "manifest.json"
    strange_json(path, dice)
    if path.is_file() and not path.is_symlink():
        (folder / "manifest.sha256").write_text(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  manifest.json\n")


def damage_shards(folder: Path, dice: random.Random) -> None:
    path = dice.choice(sorted(folder.glob("*.arrow")))
    strange_file(path, dice) if dice.random() < 0.2 else strange_bytes(path, dice)


def open_dataset(folder: Path) -> None:
    info_text(read_manifest(folder), folder)
    shards = open_shards(folder)
    for index in range(min(3, len(shards))):
        shards[index]


def damage_model(folder: Path, dice: random.Random) -> None:
    strange_json(folder / dice.choice(("config.json", "preprocessor_config.json", "tokenizer.json")), dice)


def damage_weights(folder: Path, dice: random.Random) -> None:
    path = folder / "model.safetensors"
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    match dice.randrange(5):
        case 0:
            strange_bytes(path, dice, 0, 8 + length)
        case 1:
            strange_file(path, dice)
        case 2:
            names = {"weight": dice.choice(STRANGE), "other": "model.safetensors"}
            index = {"weight_map": names if dice.random() < 0.8 else dice.choice(STRANGE)}
            (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        case _:
            header = json.dumps(strange_value(json.loads(content[8 : 8 + length]), dice)).encode()
            path.write_bytes(len(header).to_bytes(8, "little") + header + content[8 + length :])


def open_model(folder: Path) -> None:
    check_companions(folder)
    read_model_constants(folder)
    family = family_in(folder)
    family.num_matrix_values(family.read_config(folder))
    for weight in find_weights(folder, family.NAMES).values():
        weight.read()


def damage_checkpoint(folder: Path, dice: random.Random) -> None:
    """The state with a hash that is right, or one of the files."""
    path = folder / "trainer_state.json"
    if dice.random() < 0.3:
        strange_json(path, dice)
    elif dice.random() < 0.2:
        strange_bytes(folder / "optimizer.safetensors", dice)
    else:
        record = strange_value(json.loads(path.read_text()), dice)
        record.pop("sha256", None)
        path.write_text(json.dumps({**record, "sha256": sha256_of_json(record)}))


def open_checkpoint(folder: Path) -> None:
    checkpoint = read_checkpoint(folder)
    list(checkpoint.state.identity.differences(checkpoint.state.identity))
    for weight in stored_weights(folder / "optimizer.safetensors"):
        weight.read()


def damage_footer(folder: Path, dice: random.Random) -> None:
    path = folder / "data.parquet"
    content = path.read_bytes()
    length = int.from_bytes(content[-8:-4], "little")
    strange_bytes(path, dice, len(content) - 8 - length, len(content))


def plan_parquet(folder: Path) -> None:
    flags = {"model": folder / "model", "datasets": folder / "data.yaml", "dataset_use": "data", "workers": 0}
    words = [f"--{name}={value}" for name, value in {**flags, "output_dir": folder / "out"}.items()]
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = preprocess.cli.commands.main(["run", *words, "--max_reject_share=1"])
    if code not in (0, 1, 2):
        raise AssertionError(f"exit code {code}: {said.getvalue()}")


def write_sources(root: Path, dataset: Path, model: Path) -> dict[str, tuple[Path, Damage, Callable[[Path], None]]]:
    shutil.copytree(model, root / "model", dirs_exist_ok=True)
    if not list((root / "model").glob("*.safetensors")):
        ones = WeightToWrite(name="weight", dtype="F32", shape=(4,), read=lambda: np.ones(4, np.float32))
        twos = WeightToWrite(name="other", dtype="BF16", shape=(2, 2), read=lambda: np.ones((2, 2), np.uint16))
        write_file(root / "model" / "model.safetensors", [ones, twos])
    shutil.copytree(dataset, root / "dataset", ignore=shutil.ignore_patterns("plan", "model"))
    arguments = TrainArguments(shards=dataset, model=root / "model", output_dir=root, max_steps=9)
    manifest = read_manifest(dataset)
    identity = RunIdentity.of(arguments, manifest)
    state = TrainerState.after(3, order_of_run(arguments, manifest.num_packs), identity)

    def write_contents(folder: Path) -> None:
        values = WeightToWrite(name="moments", dtype="F32", shape=(4,), read=lambda: np.ones(4, np.float32))
        write_file(folder / "optimizer.safetensors", [values])

    checkpoint = write_checkpoint(root, state, write_contents)
    parquet = root / "parquet"
    parquet.mkdir()
    shutil.copytree(model, parquet / "model")
    turns = [{"from": "human", "value": "What is this?"}, {"from": "gpt", "value": "Shapes with soft edges."}]
    pq.write_table(
        pa.table({"conversations": [turns] * 40, "id": [str(n) for n in range(40)]}), parquet / "data.parquet"
    )
    (parquet / "data.yaml").write_text("data: {annotation_path: data.parquet, data_path: .}\n")
    return {
        "manifest": (root / "dataset", damage_manifest, open_dataset),
        "shards": (root / "dataset", damage_shards, open_dataset),
        "model folder": (root / "model", damage_model, open_model),
        "weights": (root / "model", damage_weights, open_model),
        "checkpoint": (checkpoint, damage_checkpoint, open_checkpoint),
        "Parquet footer": (parquet, damage_footer, plan_parquet),
    }


# --- the run ---------------------------------------------------------------------------------------------------------


class Opened:
    """Paths that Python opens to read, while `folder` is set. C libraries are not seen."""

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.outside: list[str] = []
        places = (sys.prefix, sys.base_prefix, str(Path(__file__).parents[3]), "/usr", "/lib", "/etc/ld", "/proc/self")
        self._places = tuple(os.path.realpath(place) for place in places if os.path.exists(place))
        self._places += ("/dev/null", "/dev/urandom", "/proc", "/sys", *(os.path.realpath(path) for path in sys.path))
        sys.addaudithook(self._note)

    def _note(self, event: str, details: tuple[Any, ...]) -> None:
        if event != "open" or self.folder is None or not isinstance(details[0], str | bytes):
            return
        path = os.path.realpath(os.fsdecode(details[0]))
        # /dev/zero and the like are opened to see what they are; what reads them takes more than its time.
        if not path.startswith((str(self.folder), "/dev/", *self._places)):
            self.outside.append(path)


def main() -> None:
    dataset, model, count, seed = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    dice = random.Random(seed)
    opened = Opened()
    ends: Counter[tuple[str, str]] = Counter()

    def stop(number: int, frame: object) -> None:
        raise Hang

    signal.signal(signal.SIGALRM, stop)
    with tempfile.TemporaryDirectory(prefix="bench-fuzz-") as name:
        root = Path(os.path.realpath(name))
        kinds = write_sources(root, dataset, model)
        for number in range(count):
            kind = list(kinds)[number % len(kinds)]
            source, damage, use = kinds[kind]
            home = root / "cases" / str(number)
            case = home / source.name
            shutil.copytree(source, case)
            shutil.copyfile(root / "model" / "model.safetensors", home / SECRET)
            damage(case, dice)
            ends[kind, use_one(f"{kind} {number}", case, use, opened)] += 1
            shutil.rmtree(home)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if used > MOST_BYTES:
        print(f"finding: {used:,} bytes of memory were used")
    print(json.dumps({f"{kind}, {end}": number for (kind, end), number in sorted(ends.items())}))


def use_one(name: str, case: Path, use: Callable[[Path], None], opened: Opened) -> str:
    """How it ended: well, refused, or a finding, which is printed."""
    opened.folder, opened.outside = case, []
    signal.alarm(MOST_SECONDS)
    try:
        use(case)
        end = "well"
    except OURS:
        end = "refused"
    except OSError as error:  # the commands print these as one line, where they name the file
        end = "refused" if error.filename else "finding"
    except Hang:
        end = "finding"
        print(f"finding: {name}: more than {MOST_SECONDS} s")
    except Exception as error:
        end = "finding"
        where = traceback.extract_tb(error.__traceback__)[-1]
        print(f"finding: {name}: {type(error).__name__}: {str(error)[:200]!r} ({where.filename}:{where.lineno})")
    finally:
        signal.alarm(0)
        opened.folder = None
    for path in dict.fromkeys(opened.outside):
        end = "finding"
        print(f"finding: {name}: opened {path}")
    return end


if __name__ == "__main__":
    main()
