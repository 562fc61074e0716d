"""What happens now and then: after which steps, and how many epochs those are. No MindSpore."""

from __future__ import annotations

from shards.order import PackOrder


def is_due(strategy: str, every: int, step: int, order: PackOrder) -> bool:
    """Whether what happens by `strategy` (no, steps, epoch) happens after `step` steps; it does after the last one."""
    if strategy == "no":
        return False
    if step == order.num_steps:
        return True
    if strategy == "steps":
        return step % every == 0
    epochs_before, epochs_now = ((each * order.packs_per_step) // order.num_packs for each in (step - 1, step))
    return epochs_now > epochs_before


def epoch_after(step: int, order: PackOrder) -> float:
    return min(step * order.packs_per_step, order.num_positions) / order.num_packs
