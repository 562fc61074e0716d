"""One small dataset, its media and registry in a folder of its own, and how to preprocess it in this process."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from preprocess.cli.commands import main
from preprocess.config import RunConfig
from preprocess.plan.summary import PlanSummary
from preprocess.plan.tables import SamplesReader, part_metadata
from shards import Manifest, ModelConstants, Pack, ShardSet, open_shards, read_model_constants

Record = dict[str, Any]

MEDIUM = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
TURNS = pa.list_(pa.struct([("from", pa.string()), ("value", pa.string())]))


def talk(question: str = "What is this?", answer: str = "A picture.", **more: Any) -> Record:
    """A record of two turns; `more` are its other keys."""
    return {"conversations": [{"from": "human", "value": question}, {"from": "gpt", "value": answer}], **more}


def published(folder: Path) -> dict[str, bytes]:
    """The dataset without its plan."""
    files = (path for path in folder.rglob("*") if path.is_file() and "plan" not in path.relative_to(folder).parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def samples_of(plan: Path) -> SamplesReader:
    """The measured samples of a plan, whichever run's it is."""
    has_parts = (plan / "samples" / "part-000000.arrow").exists()
    return SamplesReader(plan, part_metadata(plan, 0).get("fingerprint", "") if has_parts else "")


@dataclass(frozen=True)
class Outcome:
    """What a command printed and left in its output folder."""

    code: int
    out: str
    err: str
    folder: Path

    @property
    def rejects(self) -> list[Record]:
        return [json.loads(line) for line in (self.folder / "rejects.jsonl").read_text(encoding="utf-8").splitlines()]

    @property
    def shards(self) -> ShardSet:
        return open_shards(self.folder)

    @property
    def manifest(self) -> Manifest:
        return self.shards.manifest

    @property
    def plan(self) -> PlanSummary:
        summary = PlanSummary.read(self.folder / "plan")
        assert summary is not None
        return summary

    @property
    def packs(self) -> list[Pack]:
        return list(self.shards)

    @property
    def keys(self) -> list[str]:
        """Keys of all samples written, in order of dataset, index, member and repeat."""
        return sorted(key for pack in self.packs for key in pack.sample_keys)

    @property
    def error(self) -> str:
        """The one line on standard error."""
        [line] = self.err.splitlines()
        return line


class Workshop:
    """`root/` holds media/, annotation files and datasets.yaml; runs write root/out."""

    def __init__(self, root: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.root = root
        self.model = model
        self.media = root / "media"
        self.media.mkdir()
        self._capsys = capsys
        self._entries: dict[str, dict[str, Any]] = {}

    @property
    def constants(self) -> ModelConstants:
        return read_model_constants(self.model)

    @property
    def registry(self) -> Path:
        return self.root / "datasets.yaml"

    def image(self, name: str = "a.png", size: tuple[int, int] = (56, 84), color: str = "red") -> str:
        """Write an image, width first; returns its name below the media folder."""
        (self.media / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, color).save(self.media / name)
        return name

    def truncated_image(self, name: str = "truncated.jpg") -> str:
        """Write a JPEG whose header is whole and whose pixels are not; returns its name below the media folder."""
        noise = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
        Image.fromarray(noise).save(self.media / name)
        content = (self.media / name).read_bytes()
        (self.media / name).write_bytes(content[: len(content) // 2])
        return name

    def dataset(self, records: Sequence[Any], name: str = "d", suffix: str = ".jsonl", **options: Any) -> None:
        """Write an annotation file and enter it in the registry."""
        path = self.root / f"{name}{suffix}"
        if suffix == ".parquet":
            pq.write_table(pa.Table.from_pylist(list(records)), path)
        elif suffix == ".json":
            path.write_text(json.dumps(records), encoding="utf-8")
        else:
            path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
        self.register(name, path, **options)

    def register(self, name: str, annotations: Path, **options: Any) -> None:
        entry = {"annotation_path": str(annotations), "data_path": str(self.media), **options}
        self._entries[name] = {key: value for key, value in entry.items() if value is not None}
        self.registry.write_text(yaml.safe_dump(self._entries), encoding="utf-8")

    def flags(self, *more: str, out: str = "out") -> list[str]:
        values = {
            "model": self.model,
            "datasets": self.registry,
            "dataset_use": ",".join(self._entries),
            "output_dir": self.root / out,
            "pack_length": 256,
            "min_pixels": 784,
            "workers": 0,
        }
        return [*(f"--{name}={value}" for name, value in values.items()), *more]

    def config(self, **changes: Any) -> RunConfig:
        values = {
            "model": self.model,
            "datasets": self.registry,
            "dataset_use": ",".join(self._entries),
            "output_dir": self.root / "out",
            "pack_length": 256,
            "min_pixels": 784,
            "workers": 0,
        }
        return RunConfig(**{**values, **changes})

    def run(self, *more: str, out: str = "out") -> Outcome:
        return self.command("run", *self.flags(*more, out=out), out=out)

    def command(self, *arguments: str, out: str = "out") -> Outcome:
        self._capsys.readouterr()
        code = main(arguments)
        printed = self._capsys.readouterr()
        return Outcome(code, printed.out, printed.err, self.root / out)
