"""The head and its cross entropy, over the supervised tokens in chunks: logits of one chunk alive at a time.

    loss = sum over tokens of weight * (logsumexp(logits) - logits[target])       logits = hidden @ head.T, float32

At 4,096 supervised tokens and 152,000 words, the logits of all tokens are 2.5 GB, and what their gradient needs three
times that. Since the loss is a sum, the gradient of a chunk is known as soon as its logits are: it is computed there,
and the logits are dropped. No product is computed twice.

Suffixes: L supervised tokens, T tokens of a chunk, C channels, V words.
"""

from __future__ import annotations

from typing import Any

import mindspore as ms
from mindspore import nn, ops
from mindspore.ops.primitive import constexpr

# More make the chunk larger (5 to 6 arrays of its logits live at once); fewer add up gradients of the head more often.
CHUNK_TOKENS = 512
MAX_CHUNKS = 32  # the graph is unrolled

_cast = ops.Cast()
_concat_rows = ops.Concat(0)
_depend = ops.Depend()
_exp = ops.Exp()
_gather_elements = ops.GatherD()
_log_softmax = ops.LogSoftmax(-1)
_matmul = ops.MatMul()
_matmul_nt = ops.MatMul(transpose_b=True)
_matmul_tn = ops.MatMul(transpose_a=True)
_one_hot = ops.OneHot()
_reshape = ops.Reshape()
_slice = ops.Slice()  # see `train.models.attention`
_stop_gradient = ops.stop_gradient


class HeadLoss(nn.Cell):
    """The sum of the cross entropy, with its gradients computed along the way.

    Called in a graph that takes no gradient, it computes them all the same: there, use `head_losses`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.trains_head = True  # False, set before it is compiled: no gradient of the head is computed
        self.with_gradient = _WithGradient()

    def construct(
        self, hidden_LC: ms.Tensor, head_VC: ms.Tensor, target_ids: ms.Tensor, target_weight: ms.Tensor
    ) -> ms.Tensor:
        """float32 (). `head_VC` has the dtype of `hidden_LC`, which products are computed in."""
        # The gradients of what follows are given to `with_gradient`, not derived.
        fixed_LC, fixed_VC = _stop_gradient(hidden_LC), _stop_gradient(head_VC)
        one, zero = ops.scalar_to_tensor(1.0, ms.float32), ops.scalar_to_tensor(0.0, ms.float32)
        compute = hidden_LC.dtype
        losses: tuple[ms.Tensor, ...] = ()
        dhidden: tuple[ms.Tensor, ...] = ()
        dhead_VC: ms.Tensor | None = None  # no zeros to begin with: the compiler would keep them
        done: tuple[Any, ...] = ()
        for first, last in token_chunks(hidden_LC.shape[0]):
            # Depend makes each chunk wait for all of the one before. Whatever does not wait, runs at the start, and is
            # kept: that includes one-hot targets, which are as large as the logits.
            chunk_TC = _rows(_depend(fixed_LC, done) if losses else fixed_LC, first, last)
            targets_T = _slice(_depend(target_ids, done) if losses else target_ids, (first,), (last - first,))
            weight_T1 = _reshape(_slice(target_weight, (first,), (last - first,)), (-1, 1))
            log_probabilities_TV = _log_softmax(_cast(_matmul_nt(chunk_TC, fixed_VC), ms.float32))
            losses += (_gather_elements(log_probabilities_TV, 1, _reshape(targets_T, (-1, 1))),)
            gradient_TV = _exp(log_probabilities_TV) - _one_hot(targets_T, head_VC.shape[0], one, zero)
            dlogits_TV = _cast(gradient_TV, compute)
            dhidden += (_cast(_cast(_matmul(dlogits_TV, fixed_VC), ms.float32) * weight_T1, compute),)
            done = losses, dhidden
            if self.trains_head:
                weighted_TC = _cast(_cast(chunk_TC, ms.float32) * weight_T1, compute)
                of_chunk_VC = _cast(_matmul_tn(dlogits_TV, weighted_TC), ms.float32)
                dhead_VC = of_chunk_VC if dhead_VC is None else dhead_VC + of_chunk_VC
                done = losses, dhidden, dhead_VC
        loss = -(_reshape(_concat_rows(losses), target_weight.shape) * target_weight).sum()
        loss = self.with_gradient(hidden_LC, loss, _concat_rows(dhidden))
        return self.with_gradient(head_VC, loss, _cast(dhead_VC, compute)) if self.trains_head else loss


def head_losses(hidden_LC: ms.Tensor, head_VC: ms.Tensor, target_ids: ms.Tensor, target_weight: ms.Tensor) -> ms.Tensor:
    """What each token adds to the loss, float32 (L,), for graphs without gradients."""
    losses: tuple[ms.Tensor, ...] = ()
    done = hidden_LC
    for first, last in token_chunks(hidden_LC.shape[0]):
        chunk_TC = _rows(_depend(hidden_LC, done), first, last)
        log_probabilities_TV = _log_softmax(_cast(_matmul_nt(chunk_TC, head_VC), ms.float32))
        targets_T = _slice(target_ids, (first,), (last - first,))
        done = _gather_elements(log_probabilities_TV, 1, _reshape(targets_T, (-1, 1)))
        losses += (done,)
    return -(_reshape(_concat_rows(losses), target_weight.shape) * target_weight)


class _WithGradient(nn.Cell):
    """`loss`, whose gradient with respect to `x` is the tensor given."""

    def construct(self, x: ms.Tensor, loss: ms.Tensor, dx: ms.Tensor) -> ms.Tensor:
        return loss * 1.0

    def bprop(
        self, x: ms.Tensor, loss: ms.Tensor, dx: ms.Tensor, out: ms.Tensor, dout: ms.Tensor
    ) -> tuple[ms.Tensor, ...]:
        return dx * _cast(dout, dx.dtype), dout, ops.zeros_like(dx)


def _rows(x_LC: ms.Tensor, first: int, last: int) -> ms.Tensor:
    return _slice(x_LC, (first, 0), (last - first, x_LC.shape[1]))


@constexpr
def token_chunks(length: int) -> tuple[tuple[int, int], ...]:
    """(first, last (exclusive)) of each chunk."""
    size = max(CHUNK_TOKENS, -(-length // MAX_CHUNKS))
    return tuple((first, min(first + size, length)) for first in range(0, length, size))
