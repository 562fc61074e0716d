"""How fast samples are measured on one core, and how much memory planning takes for each.

    python scripts/bench/parts/plan.py [--quick]

Speed: real JPEG headers and tokenization, everything that measuring does until its part of the plan is on disk, in one
process. Files are in the page cache. Medians of some rounds; the figure is a second of the core's time, so that it does
not depend on what else the machine does, and the time on the clock stands beside it.

Memory: synthetic samples (10^6; --quick: 10^5) go through the same code, from a JSON Lines file to packs.arrow, all in
one process; only the opening of media and the tokenizer are replaced. The figure is how much more the peak of that
process is than with few samples, and the peak itself.

Array jobs: the same annotations, of which one of 64 jobs reads its part once the index exists. The figure is the share
of their bytes that this process reads from files, other files included.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "shared"))

from bench_facts import PACK_LENGTH, sample_sizes
from bench_photos import write_photo
from demo_model import write_model_folder

from preprocess.config import RunConfig
from preprocess.encode import SampleEncoder
from preprocess.jobs.executor import ThisProcess
from preprocess.jobs.share import Share
from preprocess.jobs.worker import limit_threads
from preprocess.plan.inputs import open_sources
from preprocess.plan.make import finish_plan
from preprocess.plan.measure import MeasureStage
from preprocess.plan.parts import cut_into_jobs, measure
from preprocess.plan.tables import SAMPLES_DIR
from preprocess.sample import MeasuredImage, MeasuredSample, MediaStamp, Sample

PHOTO_SIZE = (640, 480)
NUM_PHOTOS = 64
ARRAY_JOBS = 64
FEW_SAMPLES = 2_000  # what a process needs before samples count
WORDS = """the a of in on and with his her two man woman dog street table window light small large red blue green
is are stands sits holds walks looks behind before under near left right corner middle picture background sky
trees water building people wearing shirt hat bicycle traffic sign several appears bright dark open wooden"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer samples and rounds")
    parser.add_argument("--plan_synthetic", type=Path, help=argparse.SUPPRESS)  # what the child process is told
    arguments = parser.parse_args()
    limit_threads()
    if arguments.plan_synthetic is not None:
        plan_synthetic(arguments.plan_synthetic)
        return
    num_samples, rounds, num_synthetic = (1_500, 3, 100_000) if arguments.quick else (6_000, 7, 1_000_000)
    with tempfile.TemporaryDirectory(prefix="bench-plan-") as name:
        speed = measure_speed(Path(name), num_samples, rounds)
    few, many = (measure_memory(number) for number in (FEW_SAMPLES, num_synthetic))
    bytes_per_sample = (many.peak_bytes - few.peak_bytes) / (num_synthetic - FEW_SAMPLES)
    print(f"{'synthetic samples':>20}{'peak memory':>14}{'measuring':>12}{'packing and the rest':>23}")
    for number, run in ((FEW_SAMPLES, few), (num_synthetic, many)):
        print(f"{number:20,}{run.peak_bytes / 1e6:11,.0f} MB{run.measuring:10.1f} s{run.finishing:21.1f} s")
    share = measure_share(num_synthetic)
    print(f"job 1 of {ARRAY_JOBS} reads {share:.2%} of the annotations' bytes")
    result = {
        "samples_per_s_per_core": round(speed),
        "bytes_per_sample": round(bytes_per_sample),
        "peak_mb": round(many.peak_bytes / 1e6),
        "share_of_bytes_read": round(share, 4),
    }
    print(json.dumps(result))


def measure_speed(folder: Path, num_samples: int, rounds: int) -> float:
    """Samples for a second of the core, median."""
    config = write_dataset(folder, num_samples)
    sources, plan = open_sources(config), folder / "plan"
    by_core, by_clock = [], []
    for round_number in range(rounds + 1):
        shutil.rmtree(plan, ignore_errors=True)
        plan.mkdir()
        core, clock = time.process_time(), time.perf_counter()
        measure(config, sources, plan, ThisProcess())
        if round_number:  # the first round fills caches
            by_core.append(num_samples / (time.process_time() - core))
            by_clock.append(num_samples / (time.perf_counter() - clock))
    width, height = PHOTO_SIZE
    print(f"{num_samples:,} samples: a JPEG of {width}x{height} pixels and about 360 characters in two turns each")
    for name, rates in (("a second of the core", by_core), ("a second of the clock", by_clock)):
        print(f"measured in {name:22}{statistics.median(rates):8,.0f} ({min(rates):,.0f} to {max(rates):,.0f})")
    return statistics.median(by_core)


def write_dataset(folder: Path, num_samples: int) -> RunConfig:
    """Photos and conversations about them: about 60 characters asked, 300 answered."""
    (folder / "photos").mkdir()
    for number in range(NUM_PHOTOS):
        write_photo(folder / "photos" / f"{number}.jpg", PHOTO_SIZE, number)
    chooser, words = random.Random(0), WORDS.split()
    with open(folder / "annotations.jsonl", "w", encoding="utf-8") as file:
        for number in range(num_samples):
            question, answer = (" ".join(chooser.choices(words, k=length)) for length in (11, 55))
            file.write(record(f"{question}?", f"{answer}.", image=f"photos/{number % NUM_PHOTOS}.jpg"))
    return configure(folder)


def record(question: str, answer: str, image: str) -> str:
    turns = [{"from": "human", "value": f"<image>\n{question}"}, {"from": "gpt", "value": answer}]
    return json.dumps({"image": image, "conversations": turns}) + "\n"


def configure(folder: Path) -> RunConfig:
    if not (folder / "model").exists():
        write_model_folder(folder / "model", [WORDS])
        registry = "bench: {annotation_path: annotations.jsonl, data_path: .}\n"
        (folder / "datasets.yaml").write_text(registry, encoding="utf-8")
    chosen = {"model": folder / "model", "datasets": folder / "datasets.yaml", "dataset_use": "bench"}
    return RunConfig(**chosen, output_dir=folder / "out", pack_length=PACK_LENGTH, workers=0)


# --- memory --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class SyntheticRun:
    peak_bytes: int
    measuring: float  # seconds
    finishing: float  # seconds: gathering sizes, packing, writing packs


def measure_memory(num_samples: int) -> SyntheticRun:
    """In a process of its own, since a peak never falls."""
    with tempfile.TemporaryDirectory(prefix="bench-plan-") as name:
        folder = Path(name)
        write_synthetic(folder, num_samples)
        command = [sys.executable, __file__, "--plan_synthetic", str(folder)]
        return SyntheticRun(**json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))


def write_synthetic(folder: Path, num_samples: int) -> RunConfig:
    with open(folder / "annotations.jsonl", "w", encoding="utf-8") as file:
        for number in range(num_samples):
            file.write(record("What is this?", "A picture.", image=f"images/{number}.jpg"))
    return configure(folder)


def plan_synthetic(folder: Path) -> None:
    config = configure(folder)
    sources, plan = open_sources(config), folder / "plan"
    (plan / SAMPLES_DIR).mkdir(parents=True)
    [use], [file] = sources.uses, sources.files
    tokens, patches = sample_sizes(len(file))

    class SyntheticEncoder(SampleEncoder):
        """Knows the sizes of samples by their number, instead of opening and tokenizing anything."""

        def measure(self, sample: Sample) -> MeasuredSample:
            return synthetic_sample(sample, int(tokens[sample.index]), int(patches[sample.index]))

    stage = MeasureStage(
        config=config, folder=plan, fingerprint=sources.plan_fingerprint, load_encoder=SyntheticEncoder.load
    )
    jobs = cut_into_jobs(use, file, config.seed, 0)
    start = time.perf_counter()
    num_parts = sum(1 for _ in ThisProcess().run(stage, jobs, lambda: None))
    measured = time.perf_counter()
    finish_plan(config, sources, plan, num_parts)
    finished = time.perf_counter()
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"peak_bytes": peak_bytes, "measuring": measured - start, "finishing": finished - measured}))


def synthetic_sample(sample: Sample, tokens: int, patches: int) -> MeasuredSample:
    stamp = MediaStamp(num_bytes=100_000, version=1_700_000_000_000_000_000 + sample.index)
    grid = (1, 2, patches // 2)
    height, width = (14 * patches for patches in grid[1:])
    image = MeasuredImage(source=sample.images[0], stamp=stamp, height=height, width=width, grid_thw=grid)
    return MeasuredSample(
        sample=sample,
        images=(image,),
        videos=(),
        num_tokens=tokens,
        num_label_tokens=tokens // 3,
        num_image_patches=patches,
        num_video_patches=0,
    )


# --- array jobs ----------------------------------------------------------------------------------------------------


def measure_share(num_samples: int) -> float:
    with tempfile.TemporaryDirectory(prefix="bench-plan-") as name:
        config = write_synthetic(Path(name), num_samples)
        open_sources(config, Share(index=0, of=ARRAY_JOBS))  # makes the index
        mine = Share(index=1, of=ARRAY_JOBS)
        before = bytes_read()
        sources = open_sources(config, mine)
        [use], [file] = sources.uses, sources.files
        num_parts = sum(1 for _ in cut_into_jobs(use, file, config.seed, 0, lambda part, _: part in mine))
        sources.check_unchanged()
        assert num_parts, "there are too few records"
        return (bytes_read() - before) / (Path(name) / "annotations.jsonl").stat().st_size


def bytes_read() -> int:
    """By this process so far, from whatever file."""
    return int(Path("/proc/self/io").read_text().split()[1])


if __name__ == "__main__":
    main()
