"""A training step on CPU: this project's, compiled and not, beside PyTorch's and MindNLP's.

    python scripts/bench/step.py [--quick] [--oracle PYTHON] [--mindnlp PYTHON]

Forward, backward, clipping and AdamW, all in float32, of one pack of the demo (768 tokens, 1,300 patches or so), with
everything trained: of the demo's tiny model, and of one of 106 million parameters (`shared/bench_step_sides.py`).

| side | what |
| --- | --- |
| compiled | the trainer's step |
| uncompiled | the same operator by operator: MindSpore's PyNative mode |
| mindnlp | `--backend mindnlp`, whose gradient sums and AdamW are those of the trainer |
| mindnlp_by_default | the same without what the trainer does about waiting (train/README.md); tiny |
| pytorch | transformers' Qwen2_5_VLForConditionalGeneration with sdpa, `clip_grad_norm_`, fused AdamW, uncompiled |

Each side is a process of its own, with one thread for each core; they make their steps in turn, and ratios are taken
within a round. A side that takes long takes part in fewer rounds. They do the same work: losses and norms of gradients
of all steps are compared, and must be equal within 1e-4 and 1e-3 of their value.

One thing differs: transformers computes the logits of all tokens, ours (and MindNLP's here) those of supervised ones.
PYTHON of --oracle has torch and transformers (default: .venv-oracle, made first), that of --mindnlp MindNLP too
(default: .venv-mindnlp, which `bash scripts/setup.sh --mindnlp` makes; without it that side is left out).
The processes of the large model hold 19 GB together. Where the time goes, and what was tried: train/README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent / "shared"))

from bench_command import run_preprocess
from bench_rounds import median_ratio, spread
from bench_step_sides import ROOT, Side, Steps, running, write_large_model, write_pack
from bench_ways import add_oracle_flag, oracle_python
from demo_build import build

COMPILED = "compiled"
BLOCKING = "MS_DEV_HOST_BLOCKING_RUN"  # of `train.building`, which loads MindSpore
MINDNLP_PYTHON = ROOT / ".venv-mindnlp" / "bin" / "python"
LOSS_TOLERANCE, NORM_TOLERANCE = 1e-4, 1e-3  # relative


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    add_oracle_flag(parser)
    parser.add_argument(
        "--mindnlp", type=Path, metavar="PYTHON", default=MINDNLP_PYTHON, help="of an environment with it"
    )
    arguments = parser.parse_args()
    oracle = oracle_python(arguments.oracle)
    threads = len(os.sched_getaffinity(0))
    result: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="bench-step-") as name:
        folder = Path(name)
        demo, _ = build(folder / "demo")
        run_preprocess({"config": demo.config, "output_dir": folder / "shards"})
        index = write_pack(folder / "shards", folder / "pack.npz")
        write_large_model(folder / "large", demo.model)
        for size, model in (("tiny", demo.model), ("large", folder / "large")):
            sides = sides_of(size, arguments.mindnlp, oracle, quick=arguments.quick)
            with running(sides, model, folder / "shards", folder / "pack.npz", index, threads) as steps:
                times = in_turn(sides, steps)
            require_same_work(steps)
            result |= report(size, sides, steps, times, threads)
    print(json.dumps(result))


def sides_of(size: str, mindnlp: Path, oracle: Path, *, quick: bool) -> dict[str, Side]:
    is_tiny = size == "tiny"
    # Of the tiny model too few rounds would say how warm the caches are.
    many, some, few = (40, 10, 5) if is_tiny else (6, 2, 2) if quick else (11, 5, 3)
    here = Path(sys.executable)
    sides = {
        COMPILED: Side(words="compiled", python=here, backend="native", rounds=many),
        "pytorch": Side(words="PyTorch", python=oracle, backend=None, rounds=many),
        "uncompiled": Side(
            words="operator by operator", python=here, backend="native", environment={"MS_JIT": "0"}, rounds=some
        ),
    }
    if not mindnlp.exists():
        print(f"{mindnlp} is not there: MindNLP is left out", file=sys.stderr)
        return sides
    sides["mindnlp"] = Side(words="MindNLP", python=mindnlp, backend="mindnlp", rounds=some)
    if is_tiny:
        sides["mindnlp_by_default"] = Side(
            words="MindNLP, threads as it has them",
            python=mindnlp,
            backend="mindnlp",
            environment={BLOCKING: "0"},
            rounds=few,
        )
    return sides


def in_turn(sides: dict[str, Side], steps: dict[str, Steps]) -> dict[str, list[float]]:
    """Seconds of each side, in the last of the rounds, after a step of all at once that compiles and fills caches."""
    for each in steps.values():
        each.begin()
    for each in steps.values():
        each.end()
    times: dict[str, list[float]] = {name: [] for name in sides}
    for left in range(max(side.rounds for side in sides.values()), 0, -1):
        for name, side in sides.items():
            if left <= side.rounds:
                steps[name].begin()
                times[name].append(steps[name].end())
    return times


def require_same_work(steps: dict[str, Steps]) -> None:
    ours = steps[COMPILED]
    for name, other in steps.items():
        for what, mine, its, tolerance in (
            ("loss", ours.losses, other.losses, LOSS_TOLERANCE),
            ("gradient norm", ours.norms, other.norms, NORM_TOLERANCE),
        ):
            for number, (one, two) in enumerate(zip(mine, its, strict=False), start=1):
                if abs(one - two) > tolerance * abs(one):
                    sys.exit(f"error: step {number}: the {what} of {name} is {two}, ours {one}: not the same work")


def report(
    size: str, sides: dict[str, Side], steps: dict[str, Steps], times: dict[str, list[float]], threads: int
) -> dict[str, float]:
    ours = steps[COMPILED].about
    versions = ", ".join(dict.fromkeys(part for each in steps.values() for part in each.about["versions"].split(", ")))
    print(f"{size}: {ours['num_parameters']:,} parameters, {threads} threads; {versions}")
    print(f"{'':34}{'seconds a step':>28}{'of ours':>10}")
    result = {}
    for name, seconds in times.items():
        ratio = median_ratio(seconds, times[COMPILED][-len(seconds) :])
        shown = spread(seconds, "{:.3f}")
        rounds, loss = len(seconds), steps[name].losses[0]
        print(f"{sides[name].words:34}{shown:>28}{ratio:10.2f}{rounds:8} rounds; first loss {loss:.6f}")
        result[f"{size}_{name}_s"] = round(statistics.median(seconds), 4)
        if name != COMPILED:
            result[f"{size}_to_{name}"] = round(ratio, 2)
    return result


if __name__ == "__main__":
    main()
