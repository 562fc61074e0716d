"""The loss of each sample, by the model that is trained: of packs, and of samples alone."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from shards import ModelConstants, Pack, PackMaxima, measure_pack
from shards.batch import BatchShape, make_batch
from train.certify.task import Task
from train.models.folder import build_model
from train.steps.evaluate import Forward
from train.steps.step import to_device


def losses_of(task: Task, constants: ModelConstants) -> dict[str, list[float]]:
    """By the name of the pack: of each of its samples, the sum of the loss over the supervised tokens.

    All are padded to one shape, for which one graph is compiled.
    """
    shape = shape_of(task.packs, constants)
    forward = Forward(build_model(task.model))
    sums: dict[str, list[float]] = {}
    for name, pack in task.packs.items():
        batch = make_batch(pack, shape, constants)
        of_tokens = forward(*to_device(batch)).asnumpy().astype(np.float64)
        is_real = batch.target_weight > 0
        segments = np.searchsorted(pack.cu_seqlens, batch.target_index[is_real], side="right") - 1
        sums[name] = [math.fsum(of_tokens[is_real][segments == number]) for number in range(pack.num_samples)]
    return sums


def shape_of(packs: Mapping[str, Pack], constants: ModelConstants) -> BatchShape:
    maxima = PackMaxima()
    for pack in packs.values():
        maxima = maxima.merge(measure_pack(pack, constants))
    return BatchShape.holding(maxima, maxima.tokens, constants)
