"""The other ways (`bench_oracle.py`), as functions, in processes with torch and transformers."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench_photos import ROOT

sys.path.append(str(ROOT / "scripts"))

from certify_needs import requirements

from preprocess.config import RunConfig
from shards import read_model_constants
from shards.files.names import TOKENIZER_NAME

NAMES = {  # of bench_oracle.Ways
    "decode": "decode alone",
    "resize": "decode + Pillow's resize",
    "pil": "transformers' PIL processor",
    "torchvision": "transformers' torchvision processor",
    "loader": "loader of the Qwen scripts",
}


class OtherWays:
    """Processes which share the samples of a run, and do what they are asked to at the same time."""

    def __init__(self, processes: list[subprocess.Popen[str]]) -> None:
        self._processes = processes

    def seconds(self, name: str) -> float:
        """Of the clock, until all samples are through."""
        start = time.perf_counter()
        ask(self._processes, name)
        return time.perf_counter() - start

    def core_seconds(self, name: str) -> float:
        """Of all processes together, whatever else the machine does."""
        return sum(float(reply.split()[1]) for reply in ask(self._processes, name))

    def num_bytes(self) -> int:
        """Of all pixel values together."""
        return sum(map(int, ask(self._processes, "num_bytes")))


def add_oracle_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--oracle",
        type=Path,
        metavar="PYTHON",
        help="interpreter of an environment with torch and transformers (default: that of .venv-oracle, made first)",
    )


def oracle_python(given: Path | None) -> Path:
    """`given`, or that of .venv-oracle, which is made where it isn't there."""
    if given is None:
        command = '. scripts/environment.sh; prepare_environment; prepare_oracle "$@"'
        words = ["bash", "-c", command, "bash", *requirements(needs_torchvision=True)]
        subprocess.run(words, cwd=ROOT, check=True, stdout=sys.stderr)
    return given or ROOT / ".venv-oracle" / "bin" / "python"


@contextmanager
def other_ways(oracle: Path, config: RunConfig, *, processes: int = 1) -> Iterator[OtherWays]:
    """For the samples of a run of `bench_photos.run_of_photos`. Prints the versions."""
    task = task_of(config)
    samples = task["samples"]
    with ExitStack() as stack:
        started = []
        for _ in range(processes):
            command = [oracle, Path(__file__).with_name("bench_oracle.py")]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            started.append(stack.enter_context(process))
            stack.callback(process.kill)
        for number, process in enumerate(started):
            write(process, json.dumps({**task, "samples": samples[number::processes]}))
        versions = {read(process) for process in started}
        print(f"{versions.pop()}; here Pillow {version('pillow')}")
        yield OtherWays(started)


def task_of(config: RunConfig) -> dict[str, Any]:
    folder, constants = config.output_dir.parent, read_model_constants(config.model)
    image, frame = config.image_limits(constants), config.frame_limits(constants)
    samples = []
    for record in json.loads((folder / "photos.json").read_text(encoding="utf-8")):
        question, answer = (turn["value"] for turn in record["conversations"])
        path = folder / "photos" / record.get("image", record.get("video"))
        samples.append([str(path), question.partition("\n")[2], answer])
    return {
        "samples": samples,
        "image_limits": {"min_pixels": image.min_pixels, "max_pixels": image.max_pixels},
        "frame_limits": {"min_pixels": frame.min_pixels, "max_pixels": frame.max_pixels},
        "frames": {
            "interval": config.base_interval,
            "least": config.video_min_frames,
            "most": config.video_max_frames,
        },
        "tokenizer": str(config.model / TOKENIZER_NAME),
    }


def ask(processes: list[subprocess.Popen[str]], line: str) -> list[str]:
    for process in processes:
        write(process, line)
    return [read(process) for process in processes]


def write(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    print(line, file=process.stdin, flush=True)


def read(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    reply = process.stdout.readline().strip()
    if not reply:
        sys.exit("error: bench_oracle.py ended; it says why above")
    return reply
