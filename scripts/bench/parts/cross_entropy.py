"""The head's cross entropy in chunks against all logits at once: time, and peak of resident memory.

    python scripts/bench/parts/cross_entropy.py [--quick]

Forward and backward of the head alone, real vocabulary, every process by itself. All logits of 4,096 tokens at once are
more than a kernel of MindSpore's CPU backend takes (GatherDGradV2 clears at most 2 GiB): what is compared are 3,500.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("GLOG_v", "3")  # MindSpore's own log: errors only
sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from train.models.cross_entropy import HeadLoss

VOCABULARY, CHANNELS = 152_064, 256
COMPARED, WANTED = 3500, 4096  # supervised tokens
AT_ONCE, CHUNKED = "at once", "chunked"


class HeadAtOnce(nn.Cell):
    def __init__(self) -> None:
        super().__init__()
        self.matmul = ops.MatMul(transpose_b=True)

    def construct(self, hidden: ms.Tensor, head: ms.Tensor, ids: ms.Tensor, weight: ms.Tensor) -> ms.Tensor:
        log_probabilities = ops.log_softmax(self.matmul(hidden, head), -1)
        of_targets = ops.gather_elements(log_probabilities, 1, ops.expand_dims(ids, 1))
        return -(ops.reshape(of_targets, weight.shape) * weight).sum()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a vocabulary of a tenth")
    parser.add_argument("--way", choices=(AT_ONCE, CHUNKED), help=argparse.SUPPRESS)
    parser.add_argument("--tokens", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    words = VOCABULARY // 10 if arguments.quick else VOCABULARY
    if arguments.way:
        print(json.dumps(measure_own(arguments.way, arguments.tokens, words)))
        return
    found = {}
    for way, tokens in ((AT_ONCE, COMPARED), (CHUNKED, COMPARED), (CHUNKED, WANTED)):
        found[way, tokens] = measure(way, tokens, quick=arguments.quick)
        loss, seconds, peak = found[way, tokens]
        print(f"{way:10}{tokens:6} tokens{words:9,} words {seconds:8.2f} s{peak / 1e6:9.0f} MB above the inputs")
    loss, before, peak_before = found[AT_ONCE, COMPARED]
    chunked_loss, after, peak_after = found[CHUNKED, COMPARED]
    result = {
        "time_ratio": round(after / before, 3),
        "peak_bytes_at_once": peak_before,
        "peak_bytes_chunked": peak_after,
        "peak_bytes_chunked_4096": found[CHUNKED, WANTED][2],
        "loss_difference": abs(chunked_loss - loss) / loss,
    }
    print(json.dumps(result))


def measure(way: str, tokens: int, *, quick: bool) -> tuple[float, float, int]:
    command = [sys.executable, __file__, "--way", way, "--tokens", str(tokens), *(["--quick"] if quick else [])]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    loss, seconds, peak = json.loads(done.stdout.splitlines()[-1])
    return loss, seconds, peak


def measure_own(way: str, tokens: int, words: int) -> tuple[float, float, int]:
    """Loss; seconds of the fastest of three steps; bytes of the peak above what was there before the first."""
    random = np.random.default_rng(0)
    hidden = ms.Tensor(random.standard_normal((tokens, CHANNELS), np.float32))
    head = ms.Tensor(random.standard_normal((words, CHANNELS), np.float32) / 50)
    ids = ms.Tensor(random.integers(0, words, tokens).astype(np.int32))
    weight = ms.Tensor(np.ones(tokens, np.float32))
    step = ms.jit(ms.value_and_grad(HeadLoss() if way == CHUNKED else HeadAtOnce(), (0, 1)))
    before = status("VmRSS")
    times = []
    for _ in range(3):
        begin = time.perf_counter()
        loss, gradients = step(hidden, head, ids, weight)
        value = float(loss.asnumpy())
        gradients[1].asnumpy()
        times.append(time.perf_counter() - begin)
    return value, min(times), status("VmHWM") - before


def status(name: str) -> int:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
