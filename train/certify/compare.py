"""Losses of samples, packed and alone, by both libraries: they must be equal but for rounding."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from shards.look.readable import counted
from train.certify.task import Task

# Of a sample's loss, or of as many as it has supervised tokens, where a trained model has less: sums of float32 in
# another order make 5e-8 within a library and 3e-7 between them, in tiny models of all families. Where samples see each
# other the loss of a model that is hardly trained changes by 2e-5.
WITHIN, BETWEEN = 1e-6, 1e-5
Losses = Mapping[str, Sequence[float]]  # by the name of a pack, of each of its samples


def model_section(task: Task, ours: Losses, result: Mapping[str, Any]) -> dict[str, Any]:
    """`result` is the reference's."""
    theirs: Losses = result["losses"]
    keys = {name: pack.sample_keys for name, pack in task.packs.items() if "." not in name}
    pairs = {
        "MindSpore: packed against alone": (packed(ours, keys), separate(ours, keys), WITHIN),
        "PyTorch: packed against alone": (packed(theirs, keys), separate(theirs, keys), WITHIN),
        "MindSpore packed against PyTorch alone": (packed(ours, keys), separate(theirs, keys), BETWEEN),
    }
    counts = [task.packs[f"{name}.{place}"].num_label_tokens for name in keys for place in range(len(keys[name]))]
    names = [f"pack {name}, {key}" for name, of_pack in keys.items() for key in of_pack]
    rows, largest, differences = [], [], []
    for what, (one, other, bound) in pairs.items():
        errors = [_error(a, b, count) for a, b, count in zip(one, other, counts, strict=True)]
        wrong = [number for number, error in enumerate(errors) if error > bound]
        rows.append({"what": what, "total": len(errors), "explained": 0, "unexplained": len(wrong)})
        largest.append({"what": what, "value": max(errors), "bound": bound})
        differences += [
            {
                "key": names[number],
                "part": what,
                "what": "loss",
                "choices": [],
                "detail": f"{one[number]:.6f} and {other[number]:.6f}",
            }
            for number in wrong
        ]
    return {
        "what": in_words(task, len(names), len(keys)),
        "rows": rows,
        "largest": largest,
        "differences": differences,
        "num_unexplained": len(differences),
        "versions": {"this project": {"mindspore": version("mindspore")}, "reference": result["versions"]},
    }


def _error(loss: float, other: float, num_tokens: int) -> float:
    """At most 1, which is also that of a loss that is no number."""
    error = abs(loss - other) / max(other, num_tokens, 1)
    return error if error < 1 else 1.0


def in_words(task: Task, num_samples: int, num_packs: int) -> str:
    model = (
        "a tiny model of the same family with random weights, because the model itself is too large for this"
        if task.is_tiny
        else "the model itself"
    )
    samples, packs = counted(num_samples, "sample"), counted(num_packs, "pack")
    return (
        f"The loss of {samples} in {packs}, and of each sample alone, in float32 on a CPU, "
        f"by MindSpore and by transformers in PyTorch: {model}."
    )


def packed(losses: Losses, keys: Iterable[str]) -> list[float]:
    return [loss for name in keys for loss in losses[name]]


def separate(losses: Losses, keys: Mapping[str, Sequence[str]]) -> list[float]:
    return [losses[f"{name}.{place}"][0] for name, of_pack in keys.items() for place in range(len(of_pack))]
