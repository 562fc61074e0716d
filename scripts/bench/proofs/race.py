"""Start two runs of other configurations in one output folder at the same moment, again and again.

    python scripts/bench/proofs/race.py [--quick] [--trials N]

One must come out whole, with the bytes and the file names of a run that had the folder alone; the other must end with
exit code 1 or 2 and one line that says so. Anything else is a mixture. With `--overwrite` the later one may take the
folder from the other while that one is at work.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "shared"))

from bench_photos import ROOT, make_run, published

from shards.verify import verify

TRIALS, QUICK_TRIALS = 50, 5
# What tells two runs apart: another plan from the first record on, or the same samples in another order.
CONFIGURATIONS = {"wide": ["--max_pixels", "200704"], "small": ["--max_pixels", "50176", "--seed", "3"]}
WAYS: dict[str, tuple[list[str], float]] = {  # flags of both; how much later the second starts, in whole runs, at most
    "new folder": ([], 0.0),
    "new folder, a little later": ([], 0.2),
    "--overwrite": (["--overwrite"], 0.0),
    "--overwrite, later": (["--overwrite"], 1.0),
    "--overwrite of another run": (["--overwrite"], 0.0),
}
_OLD = ["--seed", "7"]  # the configuration of that other run


@dataclass(frozen=True, kw_only=True)
class Ended:
    code: int
    errors: str

    def in_one_line(self) -> bool:
        """Of a run that lost: the last line says so, and no other does. Progress may stand before it."""
        lines = self.errors.splitlines()
        ours = [line for line in lines if line.startswith("preprocess: ")]
        return self.code in (1, 2) and len(ours) == 1 and lines[-1:] == ours and "Traceback" not in self.errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_TRIALS} trials")
    parser.add_argument("--trials", type=int, default=TRIALS, metavar="N")
    arguments = parser.parse_args()
    trials = QUICK_TRIALS if arguments.quick else arguments.trials
    dice = random.Random(0)
    counts = {way: {"trials": 0, "one whole": 0, "at the start": 0, "at work": 0} for way in WAYS}
    found: list[str] = []
    with tempfile.TemporaryDirectory(prefix="bench-race-") as name:
        folder = Path(name)
        make_run(folder, [(640, 480)] * 24)
        start = time.perf_counter()
        alone = {name: run_alone(folder, name, flags) for name, flags in CONFIGURATIONS.items()}
        seconds = (time.perf_counter() - start) / len(alone)
        for trial in range(trials):
            way = [*WAYS][trial % len(WAYS)]
            target = folder / f"trial-{trial}"
            ended = race(folder, target, way, str(trial % 2), WAYS[way][1] * seconds * dice.random(), dice)
            flaws = look(target, ended, alone)
            found += [f"trial {trial}, {way}: {flaw}" for flaw in flaws]
            counts[way]["trials"] += 1
            counts[way]["one whole"] += not flaws
            for each in ended.values():
                if each.code in (1, 2):
                    counts[way]["at the start" if each.code == 2 else "at work"] += 1
    print(f"{'':28}{'trials':>8}{'one whole':>11}{'lost at the start':>19}{'lost at work':>14}")
    for way, of_way in counts.items():
        print(f"{way:28}{of_way['trials']:8}{of_way['one whole']:11}{of_way['at the start']:19}{of_way['at work']:14}")
    for flaw in found:
        print(flaw)
    print(json.dumps({"trials": trials, "one_whole": sum(each["one whole"] for each in counts.values())}))


def run_alone(folder: Path, name: str, flags: list[str]) -> tuple[dict[str, str], set[str]]:
    """What a run leaves that has its folder alone: hashes of the dataset's files, names of all."""
    target = folder / name
    ended = finish(launch(folder, target, [*flags, "--workers", "1"]))
    if ended.code:
        raise SystemExit(f"the run failed:\n{ended.errors}")
    return published(target), all_names(target)


def race(folder: Path, target: Path, way: str, workers: str, later: float, dice: random.Random) -> dict[str, Ended]:
    """How the run of each configuration ended; either may start first."""
    flags, _ = WAYS[way]
    if way == "--overwrite of another run" and finish(launch(folder, target, [*_OLD, "--workers", "0"])).code:
        raise SystemExit("the run that is to be overwritten failed")
    names = dice.sample([*CONFIGURATIONS], len(CONFIGURATIONS))
    running = {}
    for number, name in enumerate(names):
        if number:
            time.sleep(later)
        running[name] = launch(folder, target, [*CONFIGURATIONS[name], *flags, "--workers", workers])
    return {name: finish(process) for name, process in running.items()}


def look(target: Path, ended: dict[str, Ended], alone: dict[str, tuple[dict[str, str], set[str]]]) -> list[str]:
    """What is wrong with the outcome of a trial; nothing where one run came out whole and the other said that it lost.

    With `--overwrite` the second may find the first finished, and remove it: then both end well, and one is there.
    """
    won = [name for name, each in ended.items() if each.code == 0]
    flaws = [
        f"{name} ended with {each.code}: {each.errors[-500:]!r}"
        for name, each in ended.items()
        if each.code and not each.in_one_line()
    ]
    if not won:
        return [*flaws, f"nobody won: {[each.errors[-300:] for each in ended.values()]}"]
    try:
        inputs = json.loads((target / "plan" / "inputs.json").read_text())
        manifest = json.loads((target / "manifest.json").read_text())["inputs"]
    except (OSError, ValueError) as error:
        return [*flaws, f"{won} won, and {error}"]
    flaws += [f"{name} is not as in plan/inputs.json" for name in manifest if manifest[name] != inputs.get(name)]
    flaws += [f"verify: {problem}" for problem in verify(target, quick=False, workers=0, on_shard=_ignore)]
    there = published(target)
    whole = [name for name in won if (there, all_names(target)) == alone[name]]
    if not whole:
        odd = {name: sorted(all_names(target) ^ alone[name][1]) for name in won}
        flaws.append(f"not what a run alone leaves; names that only one has: {odd}")
    return flaws


def _ignore(number: int) -> None:
    pass


def all_names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def launch(folder: Path, target: Path, flags: list[str]) -> subprocess.Popen[str]:
    common = ["--model", folder / "model", "--datasets", folder / "datasets.yaml", "--dataset_use", "photos"]
    common += ["--output_dir", target, "--packing", "none", "--shard_bytes", str(1 << 19)]
    return subprocess.Popen(
        [sys.executable, "-m", "preprocess", "run", *map(str, common), *flags],
        cwd=ROOT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> Ended:
    _, errors = process.communicate()
    return Ended(code=process.returncode, errors=errors)


if __name__ == "__main__":
    main()
