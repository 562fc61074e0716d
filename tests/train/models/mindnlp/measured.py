"""`python -m tests.train.models.mindnlp.measured MODEL OUT.npz`: losses and gradients of the golden packs by MindNLP.

For each pack NAME: NAME/loss_sum, NAME/losses, and NAME/gradient/PARAMETER. flattened/loss_sum: see `flattening`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from shards import Pack
from shards.batch import BatchShape, make_batch
from tests.train.golden_case import CONSTANTS, make_sample, make_samples, pack_samples, shape_for
from train.models.backends import MINDNLP
from train.models.folder import build_model
from train.steps.step import to_device

SAMPLES = {**make_samples(), "image and video": make_sample(5, images=[(1, 6, 10), (1, 2, 2)], videos=[(3, 6, 8)])}


def golden_packs() -> dict[str, Pack]:
    """Each sample alone, and all in one pack."""
    return {name: pack_samples([each]) for name, each in SAMPLES.items()} | {"all": pack_samples([*SAMPLES.values()])}


def golden_shape() -> BatchShape:
    return shape_for(list(golden_packs().values()), pack_length=400)


def main(model_folder: Path, out: Path) -> None:
    model = build_model(model_folder, backend=MINDNLP)
    differentiate = model.loss_and_gradients()
    names = [each.name for each in model.trainable_params()]
    arrays: dict[str, np.ndarray] = {"parameters": np.array([each.name for each in model.get_parameters()])}
    for name, pack in [*golden_packs().items(), ("empty", None)]:
        batch = to_device(make_batch(pack, golden_shape(), CONSTANTS))
        loss_sum, gradients = differentiate(*batch)
        arrays[f"{name}/loss_sum"] = loss_sum.asnumpy()
        arrays[f"{name}/losses"] = model.losses(*batch).asnumpy()
        for parameter, gradient in zip(names, gradients, strict=True):
            arrays[f"{name}/gradient/{parameter}"] = gradient.asnumpy()
    batch = to_device(make_batch(golden_packs()["all"], golden_shape(), CONSTANTS))
    arrays["flattened/loss_sum"] = flattening(type(model.network), lambda: model(*batch).asnumpy())
    np.savez(out, **arrays)


def flattening(network: Any, compute: Callable[[], np.ndarray]) -> np.ndarray:
    """What `compute` gives while the forward of `network` is somebody's own: all logits 0."""
    forward = network.forward

    def own(self: Any, **inputs: Any) -> Any:
        output = forward(self, **inputs)
        output.logits = output.logits * 0
        return output

    network.forward = own
    try:
        return compute()
    finally:
        network.forward = forward


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
