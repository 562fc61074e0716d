"""`reference.py FOLDER`: what Hugging Face's processor makes of the samples in FOLDER/task.json, for FOLDER/reference/.

Runs in an environment of its own, with torch and transformers 4.57.1, and imports nothing of this project: what it
gives is compared with the shards by `python -m preprocess certify`, which writes the task. Each thing is made as the
processor makes it, and where the specification chooses otherwise, a second time with the choice applied; every
alternative carries the names of its choices.

| file | holds |
| --- | --- |
| result.json | versions; of each sample, for each image, video and for the text, the alternatives and their choices |
| N.npz | arrays of sample N: `image0.1` are the pixels of image 0 by its alternative 1, `image0.1.grid` its grid, ... |
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from reference_media import Made, MediaReference, UnreadableMedium
from reference_text import TextReference

PACKAGES = ("transformers", "torch", "torchvision", "tokenizers", "numpy", "pillow", "decord2")


@dataclass
class Recorder:
    """Arrays of one sample, and the alternatives that they are of."""

    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    media: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def add(self, name: str, made: list[Made]) -> Made:
        """The last alternative, in which all choices are applied."""
        self.media[name] = []
        for number, each in enumerate(made):
            self.arrays |= {f"{name}.{number}": each.levels, f"{name}.{number}.grid": np.array(each.grid_thw, np.int32)}
            self.media[name].append({"choices": each.choices, "float_error": each.float_error, "seconds": each.seconds})
        return made[-1]


def main() -> None:
    folder = Path(sys.argv[1])
    task = json.loads((folder / "task.json").read_text(encoding="utf-8"))
    out = folder / "reference"
    out.mkdir(exist_ok=True)
    media, text = MediaReference(task), TextReference(task)
    samples = []
    for number, sample in enumerate(task["samples"]):
        if sys.stderr.isatty():
            print(f"\r{number + 1} of {len(task['samples'])}", end="", file=sys.stderr, flush=True)
        recorder = Recorder()
        record: dict[str, Any] = {"key": sample["key"], "media": recorder.media, "texts": []}
        try:
            record["texts"] = list(run(sample, media, text, recorder))
        except UnreadableMedium as error:
            record["unreadable"] = {"part": error.part, "why": str(error)}
        np.savez(out / f"{number}.npz", **recorder.arrays)
        samples.append(record)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    values = media.values.tolist()
    result = {"values": values, "versions": dict(versions()), "template": text.origin, "samples": samples}
    (out / "result.json").write_text(json.dumps(result) + "\n", encoding="utf-8")


def run(
    sample: dict[str, Any], media: MediaReference, text: TextReference, recorder: Recorder
) -> Iterator[dict[str, Any]]:
    """The alternatives of the text, whose arrays go where those of the media went."""
    made: dict[str, list[Made]] = {"image": [], "video": []}
    for kind, make in (("image", media.image), ("video", media.video)):
        for number, medium in enumerate(sample[f"{kind}s"]):
            try:
                made[kind].append(recorder.add(f"{kind}{number}", make(medium)))
            except UnreadableMedium as error:
                error.part = f"{kind} {number}"
                raise
    images, videos = [each.grid_thw for each in made["image"]], made["video"]
    for number, written in enumerate(text.alternatives(sample, images, videos)):
        arrays = {"ids": written.input_ids, "labels": written.labels}
        positions = []
        for which, (choices, values) in enumerate(written.positions):
            arrays[f"positions{which}"] = values
            positions.append({"choices": choices})
        recorder.arrays |= {f"text{number}.{name}": np.asarray(array, np.int64) for name, array in arrays.items()}
        yield {"choices": written.choices, "positions": positions}


def versions() -> Iterator[tuple[str, str]]:
    for name in PACKAGES:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            yield name, "none"


if __name__ == "__main__":
    main()
