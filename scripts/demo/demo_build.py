"""Builds the whole demo folder, for a model of one of the families:

OUT_DIR/
    run.yaml                      configuration of `python -m preprocess`, paths relative to itself
    datasets.yaml, datasets.py    the same registry twice, as YAML and as the Qwen scripts have it
    annotations/                  one file per dataset
    media/images/, media/clips/
    model/                        a tiny model in the Hugging Face layout
    demo.json                     written last: which version of this code made the folder, the family, and the counts
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import PIL
import pyarrow as pa
import tokenizers
from demo_annotations import (
    CLIPS_FOLDER,
    DATASET_USE,
    IMAGES,
    MEDIA,
    NUM_FLAWED,
    datasets,
    num_records,
    texts,
    write_annotations,
)
from demo_clips import CLIPS, write_demo_clip
from demo_images import THIN, pictures, write_picture
from demo_model import FAMILIES, SIZES, write_model_folder

STAMP = "demo.json"

RUN_YAML = """\
# Everything here can be overridden on the command line. Paths are relative to this file.
model: model
datasets: datasets.yaml
dataset_use: {dataset_use}
output_dir: shards

pack_length: 768
max_pixels: 128*{cell}*{cell}
min_pixels: 4*{cell}*{cell}

base_interval: 0.5
video_min_frames: 4
video_max_frames: 8
video_max_frame_pixels: 36*{cell}*{cell}
video_min_frame_pixels: 4*{cell}*{cell}

seed: 0
"""

CHAT_TEXTS = ("You are a helpful assistant.", "system\n", "user\n", "assistant\n")
"""What the chat template puts around every record, so that the tokenizer learns it whole."""


class ForeignFolderError(Exception):
    """The target holds something that this version of the demo did not make."""


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Where the parts of a built demo are, and what it holds. Sizes in bytes."""

    root: Path
    family: str  # model_type
    num_images: int
    num_clips: int
    num_records: int
    num_flawed: int
    num_bytes: int

    @property
    def config(self) -> Path:
        return self.root / "run.yaml"

    @property
    def registry(self) -> Path:
        return self.root / "datasets.yaml"

    @property
    def python_registry(self) -> Path:
        return self.root / "datasets.py"

    @property
    def annotations(self) -> Path:
        return self.root / "annotations"

    @property
    def media(self) -> Path:
        return self.root / MEDIA

    @property
    def model(self) -> Path:
        return self.root / "model"


def build(root: Path, family: str = next(iter(FAMILIES))) -> tuple[Demo, bool]:
    """Build the demo at `root`, or reuse the one that is there; says whether it was reused.

    The folder appears whole or not at all. Raises ForeignFolderError where `root` holds anything else.
    """
    version = content_version()
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        return _reuse(root, version, family), True
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root.parent, prefix=f".{root.name}-") as scratch:
        made = Path(scratch) / "demo"
        counts = _write_all(made, family)
        stamp = {"content_version": version, "family": family, **counts}
        (made / STAMP).write_text(json.dumps(stamp, indent=2) + "\n", encoding="utf-8")
        made.replace(root)
    return Demo(root=root, family=family, **counts), False


def content_version() -> str:
    """A hash of this code and of the libraries that shape the bytes it writes."""
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    for library in (av, np, PIL, pa, tokenizers):
        digest.update(f"{library.__name__} {library.__version__}\n".encode())
    return digest.hexdigest()[:16]


def _reuse(root: Path, version: str, family: str) -> Demo:
    try:
        stamp = json.loads((root / STAMP).read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        raise ForeignFolderError(f"{root} is not empty and holds no demo; name a new or empty folder") from None
    if stamp.pop("content_version", None) != version:
        raise ForeignFolderError(
            f"{root} holds the demo of another version of this code; remove it, or name a new folder"
        )
    demo = Demo(root=root, **stamp)
    if demo.family != family:
        raise ForeignFolderError(f"{root} holds the demo of {demo.family}; remove it, or name a new folder")
    return demo


def _write_all(root: Path, family: str) -> dict[str, int]:
    """Write everything but the stamp; returns the counts that the stamp and `Demo` carry."""
    images, clips = root / MEDIA / IMAGES, root / MEDIA / CLIPS_FOLDER
    images.mkdir(parents=True)
    clips.mkdir()
    drawn = pictures()
    for picture in (*drawn, THIN):
        write_picture(picture, images)
    for clip in CLIPS:
        write_demo_clip(clip, clips)
    records = datasets(drawn)
    write_annotations(root, records)
    corpus = [text for dataset in records.values() for text in texts(dataset)]
    write_model_folder(root / "model", corpus + len(corpus) * list(CHAT_TEXTS), family=family)
    cell = SIZES[family].patch_size * SIZES[family].merge_size
    (root / "run.yaml").write_text(RUN_YAML.format(dataset_use=DATASET_USE, cell=cell), encoding="utf-8")
    return {
        "num_images": len(drawn) + 1,
        "num_clips": len(CLIPS),
        "num_records": sum(num_records(dataset) for dataset in records.values()),
        "num_flawed": NUM_FLAWED,
        "num_bytes": sum(path.stat().st_size for path in root.rglob("*") if path.is_file()),
    }
