"""How full packs are on both axes, and how long packing takes, beside the ways of others.

    python scripts/bench/pack.py [--quick]

| way | |
| --- | --- |
| one sample a pack | padded to the length: without packing |
| windows of 256 | `binpacking.to_constant_volume` on tokens, as in the Qwen scripts |
| windows of 1,000 | the same, as in ms-swift: the last pack of a window waits for the next one |
| first-fit decreasing | of all samples, on tokens alone or on both axes |
| global | this project, on tokens alone or, as it does, on both axes |

Shapes are static, so a pack has room for `capacity` tokens and patches: where only tokens are looked at, for the
patches of the pack that has most. The last rows are distributions that are hard to search (`bench_facts.py`), where
few samples or none are of equal size. Needs the extra `dev`. Median of some rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent / "shared"))

import binpacking
import numpy as np
import numpy.typing as npt
from bench_facts import (
    LONG_PACK_LENGTH,
    PACK_LENGTH,
    PATCHES_PER_TOKEN,
    Sizes,
    distinct_sizes,
    opposite_sizes,
    sample_sizes,
)
from bench_rounds import spread

from preprocess.plan.packing import choose_patch_capacity, pack_units

Numbers = npt.NDArray[np.int32]
Packer = Callable[[Numbers, Numbers, int, int], Numbers]
ROOM = PATCHES_PER_TOKEN * PACK_LENGTH  # patches of a pack that holds nothing but images
FEW = 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="fewer rounds, and fewer samples in the rows that are hard"
    )
    quick = parser.parse_args().quick
    rounds, num_hard = (1, 250_000) if quick else (5, 1_000_000)
    print(f"seconds: median (least to most), rounds: {rounds}")
    print(f"{'':42}{'samples':>10}{'packs':>9}{'tokens used':>13}{'patches used':>14}{'capacity':>17}{'seconds':>24}")
    few, many = sample_sizes(FEW), sample_sizes(1_000_000)
    both = choose_patch_capacity(*few, PACK_LENGTH, PATCHES_PER_TOKEN)
    result: dict[str, float] = {}
    for name, title, pack, capacity in (
        ("none", "one sample a pack", one_each, ROOM),
        ("windows_256", "binpacking, windows of 256", pack_windows_of_256, ROOM),
        ("windows_1000", "binpacking, windows of 1,000", pack_windows_of_1000, ROOM),
        ("ffd_tokens", "first-fit decreasing, tokens alone", fit_tokens, ROOM),
        ("ffd", "first-fit decreasing, tokens and patches", fit_both, both),
        ("global_tokens", "global, tokens alone", pack_tokens, ROOM),
        ("global", "global, tokens and patches", pack_units, both),
    ):
        token_fill, patch_fill, seconds = show(title, few, (PACK_LENGTH, capacity), pack, rounds)
        result |= {f"{name}_token_fill": token_fill, f"{name}_patch_fill": patch_fill, f"{name}_seconds": seconds}
    *_, seconds = show_both("global, tokens and patches", many, PACK_LENGTH, rounds)
    for pack_length in (PACK_LENGTH, LONG_PACK_LENGTH):
        show_both("the same, hardly two of equal size", distinct_sizes(num_hard), pack_length, rounds)
    show_both("the same, large images and long text", opposite_sizes(num_hard), LONG_PACK_LENGTH, rounds)
    result |= {"token_fill": result.pop("global_token_fill"), "patch_fill": result.pop("global_patch_fill")}
    for name in ("none", "windows_256", "windows_1000", "ffd"):  # what a model computes is the capacity of all packs
        result[f"{name}_tokens_ratio"] = result["token_fill"] / result[f"{name}_token_fill"]
        result[f"{name}_patches_ratio"] = result["patch_fill"] / result[f"{name}_patch_fill"]
    result["seconds_per_million"] = seconds
    print(json.dumps({name: round(value, 4) for name, value in result.items()}))


def show_both(name: str, sizes: Sizes, pack_length: int, rounds: int) -> tuple[float, float, float]:
    """`show` for packing on both axes, with a capacity in patches that the data gives."""
    capacity = choose_patch_capacity(*sizes, pack_length, PATCHES_PER_TOKEN)
    return show(name, sizes, (pack_length, capacity), pack_units, rounds)


def show(name: str, sizes: Sizes, capacities: tuple[int, int], pack: Packer, rounds: int) -> tuple[float, float, float]:
    """Print a line: how full the packs are, and the median of the seconds. Checks that every sample fits."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        pack_of = pack(*sizes, *capacities)
        times.append(time.perf_counter() - start)
    num_packs = int(pack_of.max()) + 1
    most = [int(np.bincount(pack_of, numbers).max()) for numbers in sizes]
    assert all(each <= capacity for each, capacity in zip(most, capacities, strict=True))
    if capacities[1] == ROOM:  # patches were not looked at
        capacities = capacities[0], most[1]
    fills = []
    for numbers, capacity in zip(sizes, capacities, strict=True):
        fills.append(float(numbers.sum()) / (num_packs * capacity))
    token_fill, patch_fill = fills
    seconds = statistics.median(times)
    shown = ", ".join(f"{capacity:,}" for capacity in capacities)
    print(
        f"{name:42}{len(pack_of):10,}{num_packs:9,}{token_fill:13.2%}{patch_fill:14.2%}{shown:>17}{spread(times):>24}"
    )
    return token_fill, patch_fill, seconds


def one_each(tokens: Numbers, patches: Numbers, token_capacity: int, patch_capacity: int) -> Numbers:
    return np.arange(len(tokens), dtype=np.int32)


def pack_windows_of_256(tokens: Numbers, patches: Numbers, token_capacity: int, patch_capacity: int) -> Numbers:
    return pack_in_windows(tokens, token_capacity, 256, carry=False)


def pack_windows_of_1000(tokens: Numbers, patches: Numbers, token_capacity: int, patch_capacity: int) -> Numbers:
    return pack_in_windows(tokens, token_capacity, 1000, carry=True)


def pack_in_windows(tokens: Numbers, capacity: int, window: int, *, carry: bool) -> Numbers:
    pack_of = np.empty(len(tokens), np.int32)
    num_packs = 0
    waiting: dict[int, int] = {}
    for start in range(0, len(tokens), window):
        samples = waiting | dict(enumerate(tokens[start : start + window].tolist(), start))
        packs = binpacking.to_constant_volume(samples, capacity)
        waiting = packs.pop() if carry and start + window < len(tokens) else {}
        for members in packs:
            pack_of[list(members)] = num_packs
            num_packs += 1
    return pack_of


def fit_tokens(tokens: Numbers, patches: Numbers, token_capacity: int, patch_capacity: int) -> Numbers:
    return fit_first(np.stack([tokens]), np.array([token_capacity]))


def fit_both(tokens: Numbers, patches: Numbers, token_capacity: int, patch_capacity: int) -> Numbers:
    return fit_first(np.stack([tokens, patches]), np.array([token_capacity, patch_capacity]))


def fit_first(sizes: Numbers, capacities: Numbers) -> Numbers:
    """Each sample into the first pack with room on every axis; those that take the largest share of an axis first."""
    num_samples = sizes.shape[1]
    pack_of = np.empty(num_samples, np.int32)
    room = np.tile(capacities, (num_samples, 1))
    num_packs = 0
    for sample in np.argsort(-(sizes.T / capacities).max(axis=1), kind="stable"):
        size = sizes[:, sample]
        fits = (room[: num_packs + 1] >= size).all(axis=1)  # the last is a new one
        pack = int(fits.argmax())
        room[pack] -= size
        pack_of[sample] = pack
        num_packs = max(num_packs, pack + 1)
    return pack_of


def pack_tokens(tokens: Numbers, patches: Numbers, token_capacity: int, patch_capacity: int) -> Numbers:
    return pack_units(tokens, patches, token_capacity)


if __name__ == "__main__":
    main()
