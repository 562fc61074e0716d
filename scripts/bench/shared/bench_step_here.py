"""A training step as the trainer makes it: `bench_step_here.py MODEL SHARDS PACK_INDEX BACKEND`, of `--backend`.

Says what it is in a line of JSON, and answers every line that it reads with one: after another step, its loss (before
the update, by supervised token), the norm of its gradient (before clipping) and its seconds. The first step compiles,
unless MindSpore's variable MS_JIT is 0.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("GLOG_v", "3")  # MindSpore's own log: errors only
sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from bench_step_sides import LEARNING_RATE, MAX_GRAD_NORM, WEIGHT_DECAY

from shards import open_shards
from shards.batch import BatchShape, make_batch
from train.building import choose_device
from train.models.backends import MINDNLP
from train.models.folder import build_model
from train.models.precision import FLOAT32
from train.steps.optimizer import AccumulateGradients, AdamW
from train.steps.step import to_device


def main() -> None:
    folder, shards_folder, index, backend = sys.argv[1:]
    replies, sys.stdout = sys.stdout, sys.stderr  # MindNLP prints
    choose_device("CPU")
    shards = open_shards(Path(shards_folder))
    pack = shards[int(index)]
    num_label_tokens = int((pack.labels[1:] >= 0).sum())
    batch = make_batch(pack, BatchShape.of(shards.manifest), shards.manifest.model)
    model = build_model(Path(folder), FLOAT32, backend)
    accumulate = AccumulateGradients(model)
    parameters = model.trainable_params()
    optimizer = AdamW(
        parameters,
        accumulate.sums,
        groups=[0] * len(parameters),
        weight_decay=WEIGHT_DECAY,
        max_grad_norm=MAX_GRAD_NORM,
    )
    names = ("mindspore", "mindnlp") if backend == MINDNLP else ("mindspore",)
    about = {
        "versions": ", ".join(f"{name} {version(name)}" for name in names),
        "num_parameters": sum(math.prod(each.shape) for each in parameters),
    }
    print(json.dumps(about), file=replies, flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        loss_sum = float(accumulate(*to_device(batch)).asnumpy())
        norm = optimizer.step([LEARNING_RATE], divisor=num_label_tokens)
        answer = {"loss": loss_sum / num_label_tokens, "grad_norm": norm, "seconds": time.perf_counter() - start}
        print(json.dumps(answer), file=replies, flush=True)


if __name__ == "__main__":
    main()
