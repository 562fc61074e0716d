"""What the environment says about a process: one of how many it is, and where the others meet.

The launcher of this wing sets these variables, and so does MindSpore's own, `msrun`:

    MS_ROLE                        MS_WORKER for a rank; MS_SCHED for the scheduler, through which ranks find each other
    MS_WORKER_NUM                  number of ranks on all nodes
    MS_NODE_ID, RANK_ID            number of this rank, from 0; `msrun` may leave both out, and the scheduler decides
    MS_SCHED_HOST, MS_SCHED_PORT   where the scheduler listens
    DEVICE_ID                      number of the NPU on this node
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass

from train.errors import UsageError

ROLE, SIZE = "MS_ROLE", "MS_WORKER_NUM"
WORKER, SCHEDULER = "MS_WORKER", "MS_SCHED"
_NUMBERS_OF_A_RANK = ("MS_NODE_ID", "RANK_ID")
_OTHER_SIZE = "RANK_SIZE"

# Seconds.
_HCCL_TIMEOUTS = {
    # Until the links are up, in the first collective. Its default, 120, is less than ranks may differ in compiling: a
    # graph of 36 layers took 155 s, and with a cache of compiled graphs one rank may have it and another not.
    "HCCL_CONNECT_TIMEOUT": 1800,
    # How long a collective waits for the last rank, which may be compiling, or saving alone. CANN's own default (a
    # multiple of 68), written down since those of its versions differ.
    "HCCL_EXEC_TIMEOUT": 1836,
}


@dataclass(frozen=True, kw_only=True)
class Place:
    """The place of a process in its job."""

    size: int  # ranks on all nodes
    rank: int | None  # None where the scheduler will say it
    is_scheduler: bool


def find_place(environment: Mapping[str, str]) -> Place | None:
    """None for a process that is alone. Raises UsageError where the variables contradict each other."""
    role = environment.get(ROLE)
    size = _number(environment, SIZE, least=1)
    if role is None:
        for name, number in ((SIZE, size), (_OTHER_SIZE, _number(environment, _OTHER_SIZE, least=1))):
            if number is not None and number > 1:
                raise UsageError(f"{name} is {number}, but {ROLE} is not set: start it by scripts/train.sh or msrun")
        return None
    if role not in (WORKER, SCHEDULER):
        raise UsageError(f"{ROLE} is {role}; it must be {WORKER} or {SCHEDULER}")
    if size is None:
        raise UsageError(f"{ROLE} is {role}, but {SIZE} is not set: start it by scripts/train.sh or msrun")
    if role == SCHEDULER:
        return Place(size=size, rank=None, is_scheduler=True)
    rank = _rank(environment)
    if rank is not None and rank >= size:
        raise UsageError(f"rank {rank} of {size} ranks: they are counted from 0, so {SIZE} or the rank is wrong")
    return Place(size=size, rank=rank, is_scheduler=False)


def set_hccl_timeouts(environment: MutableMapping[str, str]) -> None:
    """Give ranks the time that compiling takes, whoever launched them. What the user set stays.

    Call it before MindSpore is imported, which sets a connect timeout of its own, 600.
    """
    for name, seconds in _HCCL_TIMEOUTS.items():
        environment.setdefault(name, str(seconds))


def _rank(environment: Mapping[str, str]) -> int | None:
    found = [_number(environment, name, least=0) for name in _NUMBERS_OF_A_RANK]
    return next((number for number in found if number is not None), None)


def _number(environment: Mapping[str, str], name: str, *, least: int) -> int | None:
    text = environment.get(name)
    if text is None:
        return None
    if not text.isdecimal() or int(text) < least:
        raise UsageError(f"{name} is {text!r}; it must be a whole number from {least}")
    return int(text)
