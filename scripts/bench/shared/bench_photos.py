"""Photo-like JPEGs, a registry and a configuration: what the benchmarks of encoding run on, and compare."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts" / "demo")]

from demo_model import write_model_folder  # noqa: E402

from preprocess.config import RunConfig  # noqa: E402
from preprocess.jobs.executor import ThisProcess  # noqa: E402
from preprocess.jobs.share import Share  # noqa: E402
from preprocess.output_dir import hold_of, prepare  # noqa: E402
from preprocess.run import materialise, plan_into_output  # noqa: E402
from preprocess.write.publish import publish  # noqa: E402
from shards.files.hashing import sha256_of_file  # noqa: E402

_DIFFERENT_PHOTOS = 16  # of each size; the others are copies, because making one takes longer than decoding it
_QUESTIONS = ("What stands in the middle?", "Which colour fills most of it?", "Is it darker on the left?")
_ANSWERS = ("A bright patch with soft edges.", "Mostly a muddy green, with some blue.", "Yes, by a little.")


def write_photo(path: Path, size: tuple[int, int], seed: int) -> None:
    """Smooth shapes with fine grain, so that JPEG and the resize filter have about the work of a photograph."""
    rng = np.random.default_rng(seed)
    width, height = size
    coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC), np.int16)
    grain = rng.integers(-12, 13, (height, width, 1), dtype=np.int16)
    Image.fromarray(np.clip(smooth + grain, 0, 255).astype(np.uint8)).save(path, quality=85)


def published(folder: Path) -> dict[str, str]:
    """The hash of every file of the dataset, the plan left out: that says where the bytes came from."""
    files = (path for path in folder.rglob("*") if path.is_file() and "plan" not in path.relative_to(folder).parts)
    return {str(path.relative_to(folder)): sha256_of_file(path) for path in files}


def make_run(folder: Path, sizes: list[tuple[int, int]], *, suffix: str = ".jpg", **settings: Any) -> RunConfig:
    """One conversation a made-up photo, whose format the suffix says; `settings` are those of RunConfig."""
    media = folder / "photos"
    media.mkdir(parents=True)
    made: dict[tuple[tuple[int, int], int], Path] = {}
    for number, size in enumerate(sizes):
        path, kind = media / f"{number:05d}{suffix}", (size, number % _DIFFERENT_PHOTOS)
        if kind in made:
            shutil.copyfile(made[kind], path)
        else:
            write_photo(path, size, number)
            made[kind] = path
    return run_of_photos(folder, sorted(path.name for path in media.iterdir()), **settings)


def run_of_photos(folder: Path, names: list[str], **settings: Any) -> RunConfig:
    """One conversation for each file, a picture or a clip, in the folder `photos` of `folder`."""
    records = []
    for number, name in enumerate(names):
        question, answer = _QUESTIONS[number % 3], _ANSWERS[number % 3]
        kind = "video" if name.endswith(".mp4") else "image"
        turns = [{"from": "human", "value": f"<{kind}>\n{question}"}, {"from": "gpt", "value": answer}]
        records.append({kind: name, "conversations": turns})
    (folder / "photos.json").write_text(json.dumps(records))
    (folder / "datasets.yaml").write_text("photos: {annotation_path: photos.json, data_path: photos}\n")
    write_model_folder(folder / "model", [*_QUESTIONS, *_ANSWERS])
    chosen = {"model": folder / "model", "datasets": folder / "datasets.yaml", "dataset_use": "photos"}
    return RunConfig(**{**chosen, "output_dir": folder / "out", **settings})


def copy_photos(photos: list[Path], folder: Path, number: int) -> list[str]:
    """Names of so many files in `folder`, each of the photos as it is, several times."""
    names = [f"{copy:05d}{photos[copy % len(photos)].suffix}" for copy in range(number)]
    for copy, name in enumerate(names):
        shutil.copyfile(photos[copy % len(photos)], folder / name)
    return names


def write_shards(config: RunConfig) -> None:
    """A whole run, in this process."""
    sources = prepare(config, Share())
    plan, hold = plan_into_output(config, sources, ThisProcess(), Share()), hold_of(config, sources)
    materialise(config, plan, ThisProcess(), Share(), hold)
    publish(config, plan, sources.constants, hold)
