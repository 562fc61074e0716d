"""The dtype of every number in training: the one place that decides it.

| what | dtype |
| --- | --- |
| weights (the masters), gradient sums, moments of AdamW, the update | float32 |
| activations, and the weights' copies that they meet in a product | `Precision.compute` |
| softmax, the mean of a norm, rotations, cross entropy, what attention adds up over chunks | float32 |

The model casts what enters it, embeddings and normalised patches, to `Precision.compute`; from there on a layer follows
what it is given: it casts its weights to the dtype of its input where it uses them, and answers in that dtype. A
gradient returns through the same cast, and so reaches a float32 weight as float32.

The copies are made inside the graph of a pack and not kept from step to step. Kept, they would take 2 bytes more for
every parameter beside the 16 that there are (weight, gradient sum, two moments), all of the time, and would be a
second truth about the weights, for the optimizer, checkpoints and adapters to keep equal. Made anew, a copy lives
from its first use to its last (without recomputation that is the backward), and costs 6 bytes of memory traffic a
parameter and pack.
"""

from __future__ import annotations

from dataclasses import dataclass

import mindspore as ms

from train.errors import UsageError


@dataclass(frozen=True)
class Precision:
    """What products are computed in. float16 is for tests: no loss is scaled here, so that gradients may underflow."""

    compute: ms.Type

    def __str__(self) -> str:
        return str(self.compute).lower().rpartition(".")[2]  # "Float32", with MindNLP's Tensor "mindspore.float32"


FLOAT32 = Precision(ms.float32)
BFLOAT16 = Precision(ms.bfloat16)


def choose_precision(*, bf16: bool, device: str) -> Precision:
    """What the flag `bf16` means on this device. Raises UsageError where MindSpore has no bfloat16 kernels."""
    if bf16 and device != "Ascend":
        raise UsageError(
            f"bf16 True: MindSpore has no bfloat16 matrix products on {device}; leave the flag out to train in float32"
        )
    return BFLOAT16 if bf16 else FLOAT32
