"""The processes that train together, as one of them sees it. Nobody else asks MindSpore who and how many they are."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from train.cluster.environment import find_place
from train.errors import TrainingFailed, UsageError


@dataclass(frozen=True, kw_only=True)
class World:
    """Rank `rank` of `size`, on a `device` ("CPU" or "Ascend").

    The methods are for the main thread, outside of graphs, and wait for the same call of all ranks, in the same order.
    They raise TrainingFailed where another rank is gone. With one rank they return what they were given.
    """

    rank: int
    size: int
    device: str

    @classmethod
    def single(cls, device: str = "CPU") -> World:
        """A process that is alone: no collectives, nothing to initialise."""
        return cls(rank=0, size=1, device=device)

    @property
    def is_first(self) -> bool:
        """Whether this rank is the one that writes what is written once."""
        return self.rank == 0

    def gather(self, values: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Values of one shape from each rank -> (size, *shape) float64, by rank, bit for bit. Equal on all ranks."""
        mine = np.asarray(values, np.float64)
        if self.size == 1:
            return mine[None].copy()
        from train.cluster.collectives import gather_words

        try:
            words = gather_words(np.ascontiguousarray(mine).reshape(-1).view(np.int32))
        except RuntimeError as error:
            raise TrainingFailed(f"rank {self.rank} waits for the others in vain: {_first_line(error)}") from error
        return words.view(np.float64).reshape(self.size, *mine.shape)

    def sum(self, values: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Sums over ranks, in float64 and in the order of ranks: the same bits on all of them. A number gives one."""
        return self.gather(values).sum(0)

    def barrier(self) -> None:
        """Returns once all ranks have come here."""
        self.gather(0.0)

    def agree_to_stop(self, flag: bool) -> bool:
        """Whether any rank wants to stop. All ranks get the same answer, so all stop after the same step."""
        return bool(self.gather(float(flag)).any())


def connect() -> World:
    """Join the other ranks, as the environment says (`train.cluster.environment`), once MindSpore's device is chosen.

    Call it before anything makes a Tensor or a Parameter: on Ascend, MindSpore wants that. It waits for all ranks. In
    the scheduler of `msrun`, which runs the same script, it does not return: that process ends with the job.
    Raises UsageError where the environment is contradictory, TrainingFailed where ranks don't come.
    """
    place = find_place(os.environ)
    import mindspore as ms

    device = ms.get_context("device_target")
    if place is None:
        return World.single(device)
    from mindspore.communication import get_group_size, get_rank, init

    try:
        init()
        if place.is_scheduler:
            raise SystemExit(0)
        rank, size = get_rank(), get_group_size()
    except RuntimeError as error:
        raise TrainingFailed(f"the ranks did not find each other: {_first_line(error)}") from error
    if size != place.size or place.rank not in (None, rank):
        raise UsageError(
            f"MindSpore counts rank {rank} of {size}, the environment rank {place.rank} of {place.size}: "
            "nodes were started with different numbers"
        )
    return World(rank=rank, size=size, device=device)


def _first_line(error: RuntimeError) -> str:
    return next((line.strip(" -") for line in str(error).splitlines() if line.strip(" -")), type(error).__name__)
