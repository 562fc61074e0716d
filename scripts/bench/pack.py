"""How full packs are on both axes, and how long packing takes, beside what the reference scripts do.

    python scripts/bench/pack.py [--quick]

The reference packs windows of 256 samples by tokens alone, with `binpacking.to_constant_volume`; so its packs need room
for the patches of nothing but images. The last rows are distributions that are hard to search (`bench_facts.py`), where
few samples or none are of equal size. Needs the extra `dev`. Median of some rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

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

from preprocess.plan.packing import choose_patch_capacity, pack_units

WINDOW = 256
Numbers = npt.NDArray[np.int32]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="fewer rounds, and fewer samples in the rows that are hard"
    )
    quick = parser.parse_args().quick
    rounds, num_hard = (1, 250_000) if quick else (5, 1_000_000)
    print(f"{'':42}{'samples':>10}{'packs':>9}{'tokens used':>13}{'patches used':>14}{'capacity':>17}{'seconds':>9}")
    few, many = sample_sizes(20_000), sample_sizes(1_000_000)
    everything = PACK_LENGTH, PATCHES_PER_TOKEN * PACK_LENGTH  # patches of a pack that holds nothing but images
    show("binpacking, windows of 256, tokens alone", few, everything, pack_in_windows, rounds)
    show("global, tokens alone", few, everything, pack_tokens, rounds)
    token_fill, patch_fill, _ = show_both("global, tokens and patches", few, PACK_LENGTH, rounds)
    *_, seconds = show_both("global, tokens and patches", many, PACK_LENGTH, rounds)
    for pack_length in (PACK_LENGTH, LONG_PACK_LENGTH):
        show_both("the same, hardly two of equal size", distinct_sizes(num_hard), pack_length, rounds)
    show_both("the same, large images and long text", opposite_sizes(num_hard), LONG_PACK_LENGTH, rounds)
    result = {"token_fill": token_fill, "patch_fill": patch_fill, "seconds_per_million": seconds}
    print(json.dumps({name: round(value, 4) for name, value in result.items()}))


def show_both(name: str, sizes: Sizes, pack_length: int, rounds: int) -> tuple[float, float, float]:
    """`show` for packing on both axes, with a capacity in patches that the data gives."""
    capacity = choose_patch_capacity(*sizes, pack_length, PATCHES_PER_TOKEN)
    return show(name, sizes, (pack_length, capacity), pack_units, rounds)


def show(
    name: str,
    sizes: Sizes,
    capacities: tuple[int, int],
    pack: Callable[[Numbers, Numbers, int, int], Numbers],
    rounds: int,
) -> tuple[float, float, float]:
    """Print a line: how full the packs are, and the median of the seconds. Checks that every sample fits."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        pack_of = pack(*sizes, *capacities)
        times.append(time.perf_counter() - start)
    num_packs = int(pack_of.max()) + 1
    fills = []
    for numbers, capacity in zip(sizes, capacities, strict=True):
        assert np.bincount(pack_of, numbers).max() <= capacity
        fills.append(float(numbers.sum()) / (num_packs * capacity))
    token_fill, patch_fill = fills
    seconds = statistics.median(times)
    shown = ", ".join(f"{capacity:,}" for capacity in capacities)
    print(f"{name:42}{len(pack_of):10,}{num_packs:9,}{token_fill:13.2%}{patch_fill:14.2%}{shown:>17}{seconds:9.2f}")
    return token_fill, patch_fill, seconds


def pack_in_windows(tokens: Numbers, patches: Numbers, token_capacity: int, patch_capacity: int) -> Numbers:
    pack_of = np.empty(len(tokens), np.int32)
    num_packs = 0
    for start in range(0, len(tokens), WINDOW):
        window = dict(enumerate(tokens[start : start + WINDOW].tolist(), start))
        for members in binpacking.to_constant_volume(window, token_capacity):
            pack_of[list(members)] = num_packs
            num_packs += 1
    return pack_of


def pack_tokens(tokens: Numbers, patches: Numbers, token_capacity: int, patch_capacity: int) -> Numbers:
    return pack_units(tokens, patches, token_capacity)


if __name__ == "__main__":
    main()
