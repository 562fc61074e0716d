"""How full packs are on both axes, and how long packing takes, beside what the reference scripts do.

    python scripts/bench/pack.py [--quick]

The reference packs windows of 256 samples by tokens alone, with `binpacking.to_constant_volume`; so its packs need room
for the patches of nothing but images. Needs the extra `dev`. Median of some rounds.
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
from bench_facts import PACK_LENGTH, PATCHES_PER_TOKEN, sample_sizes

from preprocess.packing import choose_patch_capacity, pack_units

WINDOW = 256
Sizes = npt.NDArray[np.int32]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    rounds = 1 if parser.parse_args().quick else 5
    print(f"{'':42}{'samples':>10}{'packs':>9}{'tokens used':>13}{'patches used':>14}{'capacity':>16}{'seconds':>9}")
    tokens, patches = sample_sizes(20_000)
    everything = PATCHES_PER_TOKEN * PACK_LENGTH  # patches of a pack that holds nothing but images
    show("binpacking, windows of 256, tokens alone", tokens, patches, everything, pack_in_windows, rounds)
    show("global, tokens alone", tokens, patches, everything, pack_tokens, rounds)
    capacity = choose_patch_capacity(tokens, patches, PACK_LENGTH, PATCHES_PER_TOKEN)
    token_fill, patch_fill, _ = show("global, tokens and patches", tokens, patches, capacity, pack_both, rounds)
    tokens, patches = sample_sizes(1_000_000)
    capacity = choose_patch_capacity(tokens, patches, PACK_LENGTH, PATCHES_PER_TOKEN)
    *_, seconds = show("global, tokens and patches", tokens, patches, capacity, pack_both, rounds)
    result = {"token_fill": token_fill, "patch_fill": patch_fill, "seconds_per_million": seconds}
    print(json.dumps({name: round(value, 4) for name, value in result.items()}))


def show(
    name: str, tokens: Sizes, patches: Sizes, capacity: int, pack: Callable[[Sizes, Sizes, int], Sizes], rounds: int
) -> tuple[float, float, float]:
    """Print a line: how full the packs are, and the median of the seconds. Checks that every sample fits."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        pack_of = pack(tokens, patches, capacity)
        times.append(time.perf_counter() - start)
    num_packs = int(pack_of.max()) + 1
    assert np.bincount(pack_of, tokens).max() <= PACK_LENGTH
    assert np.bincount(pack_of, patches).max() <= capacity
    token_fill = float(tokens.sum()) / (num_packs * PACK_LENGTH)
    patch_fill = float(patches.sum()) / (num_packs * capacity)
    seconds = statistics.median(times)
    capacities = f"{PACK_LENGTH:,}, {capacity:,}"
    print(f"{name:42}{len(tokens):10,}{num_packs:9,}{token_fill:13.2%}{patch_fill:14.2%}{capacities:>16}{seconds:9.2f}")
    return token_fill, patch_fill, seconds


def pack_in_windows(tokens: Sizes, patches: Sizes, capacity: int) -> Sizes:
    pack_of = np.empty(len(tokens), np.int32)
    num_packs = 0
    for start in range(0, len(tokens), WINDOW):
        window = dict(enumerate(tokens[start : start + WINDOW].tolist(), start))
        for members in binpacking.to_constant_volume(window, PACK_LENGTH):
            pack_of[list(members)] = num_packs
            num_packs += 1
    return pack_of


def pack_tokens(tokens: Sizes, patches: Sizes, capacity: int) -> Sizes:
    return pack_units(tokens, patches, PACK_LENGTH)


def pack_both(tokens: Sizes, patches: Sizes, capacity: int) -> Sizes:
    return pack_units(tokens, patches, PACK_LENGTH, capacity)


if __name__ == "__main__":
    main()
