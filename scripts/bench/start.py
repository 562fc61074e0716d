"""From the command to the end of the first step: graphs compiled, and taken from files. One process, the demo's shards.

    python scripts/bench/start.py [--quick]

Each start is a process of its own, `python -m train`, until it prints its first step; cold with an empty folder of
graphs, then with what that one left. Of the demo's tiny model and, without --quick, of one of 106 million parameters
(`shared/bench_step_sides.py`). Files are in the page cache.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent / "shared"))

from bench_command import run_preprocess
from bench_rounds import ratios, spread
from bench_step_sides import ROOT, write_large_model
from demo_build import build

COMPILED, FROM_FILES = "compiled in ", ", from "


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the tiny model alone, twice, not five times")
    quick = parser.parse_args().quick
    result: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="bench-start-") as name:
        folder = Path(name)
        demo, _ = build(folder / "demo")
        models = {"": demo.model}
        if not quick:
            write_large_model(folder / "large", demo.model)
            models["large_"] = folder / "large"
        print(f"{len(os.sched_getaffinity(0))} cores; python -m train, until its first step is made")
        print(f"{'':18}{'seconds, cold':>28}{'with the compile cache':>28}{'cold to cached':>24}")
        for prefix, model in models.items():
            shards = folder / f"{prefix}shards"  # the vocabulary, which training compares, is another one
            run_preprocess({"config": demo.config, "model": model, "output_dir": shards})
            repeats = 2 if quick else 2 if prefix else 5
            pairs = [starts(folder / f"{prefix}{repeat}", model, shards) for repeat in range(repeats)]
            cold, cached = (list(each) for each in zip(*pairs, strict=True))
            ratio = ratios(cold, cached)
            print(f"{prefix or 'tiny':18}{spread(cold):>28}{spread(cached):>28}{spread(ratio):>24}")
            result |= {f"{prefix}cold_s": round(statistics.median(cold), 2)}
            result |= {f"{prefix}cached_s": round(statistics.median(cached), 2)}
            result |= {f"{prefix}cold_to_cached": round(statistics.median(ratio), 2)}
    print(json.dumps(result))


def starts(folder: Path, model: Path, shards: Path) -> tuple[float, float]:
    """Seconds of a cold start, and of the next."""
    folder.mkdir()
    environment = {**os.environ, "MS_COMPILER_CACHE_ENABLE": "1", "MS_COMPILER_CACHE_PATH": str(folder / "graphs")}
    cold, cached = (start(folder / name, model, shards, environment) for name in ("cold", "cached"))
    if cold[1] or not cached[1]:
        sys.exit(f"error: graphs came from files: {cold[1]} at the cold start, {cached[1]} at the next")
    return cold[0], cached[0]


def start(output: Path, model: Path, shards: Path, environment: dict[str, str]) -> tuple[float, bool]:
    """Seconds until the first step is made, and whether its graphs came from files."""
    flags = {"shards": shards, "model": model, "output_dir": output, "max_steps": 1, "learning_rate": 1e-5}
    command = [sys.executable, "-u", "-m", "train", *(f"--{flag}={value}" for flag, value in flags.items())]
    begin = time.perf_counter()
    with subprocess.Popen(
        [*command, "--save_strategy=no"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        seconds, lines = None, []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("step 1/1 "):
                seconds = time.perf_counter() - begin
    compiled = [line for line in lines if line.startswith(COMPILED)]
    if process.returncode or seconds is None or not compiled:
        sys.exit("".join(lines))
    return seconds, FROM_FILES in compiled[0]


if __name__ == "__main__":
    main()
