"""The checks in turn. Every rank makes all of them, and says what it finds; each in its own log."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

from train.cluster.world import World
from train.doctor import attention, collectives, dropout, machine, one_step
from train.doctor.findings import FAILED, OK, SKIPPED, Finding, failed
from train.errors import TrainingFailed

Check = Callable[[World], Iterator[Finding]]
CHECKS: Mapping[str, Check] = MappingProxyType(
    {
        "machine": machine.check,
        "collectives": collectives.check,
        "attention": attention.check,
        "cost of segments": attention.check_cost,
        "dropout": dropout.check,
        "one step": one_step.check,
    }
)


def examine(world: World, log: Callable[[str], None], checks: Mapping[str, Check] = CHECKS) -> bool:
    """Whether nothing failed, on any rank. Must be called by all ranks.

    A check that raises has failed. Alone, the others follow; of several ranks, where the others wait for this one, it
    ends the job: raises TrainingFailed.
    """
    findings: list[Finding] = []
    for name, check in checks.items():
        for finding in _findings(name, check, world):
            findings.append(finding)
            log(finding.to_line())
    counts = Counter(each.outcome for each in findings)
    failures = world.gather(float(counts[FAILED]))
    log(", ".join(f"{counts[outcome]} {outcome}" for outcome in (OK, SKIPPED, FAILED)))
    for finding in findings:
        if finding.outcome == FAILED:
            log(f"failed: {finding.what}")
    for rank, count in enumerate(failures.astype(int).tolist()):
        if count and rank != world.rank:
            log(f"rank {rank}: {count} FAILED, as its log says")
    return not failures.any()


def _findings(name: str, check: Check, world: World) -> Iterator[Finding]:
    try:
        yield from check(world)
    except TrainingFailed:  # another rank is gone
        raise
    except Exception as error:  # whatever MindSpore raises on an unknown device is what was looked for
        text = traceback.format_exc()
        if world.size > 1:
            raise TrainingFailed(f"doctor: {name} raised on rank {world.rank}\n{text}") from error
        yield failed(name, f"raised {type(error).__name__}\n{text}")
