"""Whether ranks still hold the same of what each of them holds whole: `--check_replicas N`.

Nothing keeps weights that are whole on all ranks equal but that every rank computes the same bits of them. A device
that does not, or a fault in what ranks share, would go unnoticed: losses stay plausible.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable

import mindspore as ms
import numpy as np
import numpy.typing as npt

from train.cluster.world import World
from train.errors import TrainingFailed
from train.weights.files import listing
from train.weights.parts import part_of

_DIGEST_BYTES = 6  # 2**48 numbers, all of which float64 has


def require_equal_replicas(step: int, parameters: Iterable[ms.Parameter], world: World) -> None:
    """Compare those of `parameters` that are whole here, on all ranks at once. Raises TrainingFailed, naming them."""
    replicas = [each for each in parameters if part_of(each) is None]
    digests = world.gather(digests_of(replicas))
    differing = np.flatnonzero((digests != digests[0]).any(0)).tolist()
    if differing:
        names = listing([replicas[index].name for index in differing])
        raise TrainingFailed(
            f"after step {step}, ranks hold different values of {names}: {_sides(digests[:, differing[0]])}; a device "
            "or a link is at fault, or the program: go on from a checkpoint, without that rank's device first"
        )


def digests_of(parameters: Iterable[ms.Parameter]) -> npt.NDArray[np.float64]:
    """A number of each parameter's bits."""
    digests = (hashlib.sha256(each.asnumpy().tobytes()).digest() for each in parameters)
    return np.array([int.from_bytes(each[:_DIGEST_BYTES], "little") for each in digests], np.float64)


def _sides(digests: npt.NDArray[np.float64]) -> str:
    """The ranks of each value, the most first."""
    ranks: dict[float, list[str]] = defaultdict(list)
    for rank, digest in enumerate(digests.tolist()):
        ranks[digest].append(str(rank))
    sides = sorted(ranks.values(), key=len, reverse=True)
    return " against ".join(f"rank{'s' * (len(side) > 1)} {', '.join(side)}" for side in sides)
