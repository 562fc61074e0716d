"""A run of the samples of tests/golden/certificate.json, and the recorded reference, in files as the reference leaves
them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from demo_model import write_model_folder
from tokenizers import Tokenizer

from preprocess.certify.compare import Found, Reference, compare_all
from preprocess.certify.draw import Drawn, draw
from preprocess.certify.task import write_task
from preprocess.encode import SampleEncoder
from shards.families import read_model_constants
from tests.preprocess.golden import GOLDEN, read_golden, read_golden_arrays
from tests.preprocess.workshop import Workshop

ROLES = {"system": "system", "user": "human", "assistant": "gpt"}
LIMITS = ("--max_pixels=4*784", "--video_min_frame_pixels=784", "--video_max_frame_pixels=2*784")


def model_with_golden_tokenizer(folder: Path) -> Path:
    write_model_folder(folder, ["nothing to learn from"])
    shutil.copyfile(GOLDEN / "chat_tokenizer.json", folder / "tokenizer.json")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    tokens = {
        "bos_token_id": "<|endoftext|>",
        "eos_token_id": "<|im_end|>",
        **{f"{name}_token_id": f"<|{name}|>" for name in ("vision_start", "vision_end")},
        **{f"{name}_token_id": f"<|{name}_pad|>" for name in ("vision", "image", "video")},
    }
    config |= {name: tokenizer.token_to_id(token) for name, token in tokens.items()}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


class Recorded:
    """The finished run, its samples as drawn, and the reference's files, which may be changed."""

    def __init__(self, workshop: Workshop) -> None:
        golden = read_golden("certificate.json")
        workshop.model = model_with_golden_tokenizer(workshop.root / "model")
        self.workshop = workshop
        self.task = golden["task"]
        workshop.register("unused", workshop.root / "unused.jsonl")
        workshop.dataset([record_of(sample) for sample in self.task["samples"]], data_path=str(GOLDEN / "media"))
        self.flags = workshop.flags(*LIMITS)
        self.flags = [flag for flag in self.flags if not flag.startswith("--dataset_use")] + ["--dataset_use=d"]
        self.outcome = workshop.command("run", *self.flags)
        assert self.outcome.code == 0, self.outcome.err
        self.constants = read_model_constants(workshop.model)
        self.drawn = list(draw(self.outcome.shards, self.outcome.folder / "plan", self.outcome.plan, 100, seed=0))
        self.folder = workshop.root / "work"
        self.encoder = SampleEncoder.load(workshop.model, self.config)
        write_task(self.folder, self.drawn, self.config, self.encoder, "pil")
        write_reference(self.folder, golden["result"], [each.measured.sample.index for each in self.drawn])

    @property
    def config(self) -> Any:
        return self.workshop.config(
            dataset_use="d", max_pixels=4 * 784, video_min_frame_pixels=784, video_max_frame_pixels=2 * 784
        )

    def number(self, name: str) -> int:
        """The place among the drawn samples of the one that is called so."""
        index = [sample["key"] for sample in self.task["samples"]].index(name)
        return [each.measured.sample.index for each in self.drawn].index(index)

    def compare(self) -> list[Found]:
        return list(compare_all(self.drawn, Reference.read(self.folder), self.constants))

    def plant(self, name: str, array: str, place: tuple[int, ...], step: int = 1) -> None:
        """One value of the reference becomes another one."""
        path = self.folder / "reference" / f"{self.number(name)}.npz"
        with np.load(path) as file:
            arrays = dict(file)
        values = arrays[array].copy()
        values[place] += step
        np.savez(path, **{**arrays, array: values})


def record_of(sample: dict[str, Any]) -> dict[str, Any]:
    """As an annotation."""
    turns = [{"from": ROLES[turn["role"]], "value": turn["text"]} for turn in sample["turns"]]
    record: dict[str, Any] = {"conversations": turns, "image": [image["path"] for image in sample["images"]]}
    if sample["videos"]:
        [video] = sample["videos"]
        record |= {"video": [video["frames"]], "fps": video["plan"]["fps"]}
    return record


def write_reference(folder: Path, result: dict[str, Any], indices: list[int]) -> None:
    """The recorded one, for samples of these indices in this order."""
    arrays = read_golden_arrays("certificate.npz")
    names = [sample["key"] for sample in result["samples"]]
    (folder / "reference").mkdir()
    samples = []
    for number, index in enumerate(indices):
        name = names[index]
        own: dict[str, npt.NDArray[Any]] = {
            key.removeprefix(f"{name}/"): array for key, array in arrays.items() if key.startswith(f"{name}/")
        }
        np.savez(folder / "reference" / f"{number}.npz", **own)
        samples.append({**result["samples"][index], "key": f"d:{index}"})
    record = {**result, "samples": samples}
    (folder / "reference" / "result.json").write_text(json.dumps(record), encoding="utf-8")


def drawn_keys(drawn: list[Drawn]) -> list[str]:
    return [each.key for each in drawn]
