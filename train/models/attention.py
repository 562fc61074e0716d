"""Attention in which every query sees one range of keys: its segment, its window, or its segment up to itself.

The one place where the kernel is chosen:

- on Ascend and where products are computed in bfloat16 or float16 (`--bf16`; the kernel has no float32),
  `flash_attention_score` with layout TND, for full attention over a packed sequence (language model, and the vision
  tower's full layers). NEVER RUN by this project's tests, which have no NPU;
- elsewhere, and for windows everywhere, `RangeAttention`: batched matrix products and a softmax, in chunks of queries.
  It has its own backward, which computes each chunk's probabilities again, and does one chunk after the other, so
  that neither forward nor backward holds more than one chunk's scores (README.md has what was measured).

Keys outside a query's range get probability 0, exactly: their score is -1e30, whose exponential underflows. Every query
must see at least one key, or it would see all (`shards.batch` gives padding its own ranges).

Suffixes: N tokens or patches, H heads of queries, G heads of keys and values (H is a multiple: R queries a key), D
channels of a head, E one more than D, B batches (windows), W windows, Q rows of a window, C queries of a chunk, M
rows of it (R times C).
"""

from __future__ import annotations

from functools import cache

import mindspore as ms
import numpy as np
from mindspore import nn, ops
from mindspore.ops.primitive import constexpr

from train.models.gathers import GatherOnce

MASKED_SCORE = -1e30
MASK_SIDE = 2048  # of the mask of `flash_attention_score`
MIN_CHUNK = 512
MAX_CHUNKS = 16  # the graph is unrolled: more chunks compile longer

# Primitives rather than functions such as ops.softmax: a branch inside `bprop`, even a constant one, crashes the
# compiler of MindSpore 2.7.0 ("The pointer[input] is null").
_bias_add = ops.BiasAdd()
_cast = ops.Cast()
_concat_channels = ops.Concat(-1)
_concat_keys = ops.Concat(2)
_depend = ops.Depend()
_expand_dims = ops.ExpandDims()
_greater_equal = ops.GreaterEqual()
_less = ops.Less()
_logical_and = ops.LogicalAnd()
_matmul = ops.BatchMatMul()
_matmul_nt = ops.BatchMatMul(transpose_b=True)
_matmul_tn = ops.BatchMatMul(transpose_a=True)
_reshape = ops.Reshape()
_slice = ops.Slice()  # x[first:last] takes 80 times as long on CPU where it takes all of x
_softmax = ops.Softmax(-1)
_sum_channels = ops.ReduceSum(keep_dims=True)
_tile = ops.Tile()
_transpose = ops.Transpose()


def sequence_attention(num_heads: int, head_dim: int, compute: ms.Type, *, causal: bool) -> nn.Cell:
    """Attention within the segments of one packed sequence: the fastest kernel that this device has for `compute`.

    The cell maps (q_NHD, k_NGD, v_NGD, keys (N, 2) int32, ends (K,) int32) to out_NHD; `keys` holds each query's range
    [first, last), `ends` the same segments as cumulative lengths, the last being N.
    """
    if uses_flash_attention(ms.get_context("device_target"), compute):
        return FlashAttention(num_heads, head_dim, causal=causal)
    return SequenceAttention(head_dim, causal=causal)


def uses_flash_attention(device: str, compute: ms.Type) -> bool:
    return device == "Ascend" and compute in (ms.bfloat16, ms.float16)


@cache
def compressed_mask() -> ms.Tensor:
    """The lower triangle that sparse_mode 2 and 3 expect, (2048, 2048) uint8: one tensor for all layers (4 MB)."""
    return ms.Tensor(np.triu(np.ones((MASK_SIDE, MASK_SIDE), np.uint8), 1))


class FlashAttention(nn.Cell):
    """The fused kernel of Ascend. Not run anywhere yet: `train.doctor` compares it with `SequenceAttention`.

    Segments may have length 0: `ends` repeats N where a pack has fewer segments than there is room for.
    """

    def __init__(self, num_heads: int, head_dim: int, *, causal: bool) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.scale = head_dim**-0.5
        self.sparse_mode = 3 if causal else 0
        self.mask = compressed_mask() if causal else None

    def construct(
        self, q_NHD: ms.Tensor, k_NGD: ms.Tensor, v_NGD: ms.Tensor, keys_N2: ms.Tensor, ends_K: ms.Tensor
    ) -> ms.Tensor:
        ends_K = ops.cast(ends_K, ms.int64)
        return ops.flash_attention_score(
            q_NHD,
            k_NGD,
            v_NGD,
            self.num_heads,
            attn_mask=self.mask,
            actual_seq_qlen=ends_K,
            actual_seq_kvlen=ends_K,
            scalar_value=self.scale,
            input_layout="TND",
            sparse_mode=self.sparse_mode,
        )


class SequenceAttention(nn.Cell):
    """`sequence_attention` with operators that every device has."""

    def __init__(self, head_dim: int, *, causal: bool) -> None:
        super().__init__()
        self.scale = head_dim**-0.5
        self.attend = RangeAttention(causal=causal)

    def construct(
        self, q_NHD: ms.Tensor, k_NGD: ms.Tensor, v_NGD: ms.Tensor, keys_N2: ms.Tensor, ends_K: ms.Tensor
    ) -> ms.Tensor:
        length, num_heads, head_dim = q_NHD.shape
        groups = k_NGD.shape[1]
        q_NGRD = _reshape(q_NHD * self.scale, (length, groups, num_heads // groups, head_dim))
        out_GBRND = self.attend(
            _expand_dims(_transpose(q_NGRD, (1, 2, 0, 3)), 1),
            _expand_dims(_transpose(k_NGD, (1, 0, 2)), 1),
            _expand_dims(_transpose(v_NGD, (1, 0, 2)), 1),
            _expand_dims(keys_N2, 0),
        )
        return _reshape(_transpose(out_GBRND, (3, 1, 0, 2, 4)), (length, num_heads, head_dim))


class WindowAttention(nn.Cell):
    """Attention within windows of at most Q patches, as a batch of W windows."""

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        self.scale = head_dim**-0.5
        self.attend = RangeAttention(causal=False)
        self.gather = GatherOnce()

    def construct(
        self,
        q_NHD: ms.Tensor,
        k_NHD: ms.Tensor,
        v_NHD: ms.Tensor,
        window_index: ms.Tensor,
        window_keys: ms.Tensor,
        window_position: ms.Tensor,
    ) -> ms.Tensor:
        """Map q, k, v (N, H, D) to (N, H, D). The last three arguments are those of `shards.batch.Batch`."""
        q_HWQD = self._cut(q_NHD * self.scale, window_index, window_position)
        k_HWQD = self._cut(k_NHD, window_index, window_position)
        v_HWQD = self._cut(v_NHD, window_index, window_position)
        out_HWRQD = self.attend(_expand_dims(q_HWQD, 2), k_HWQD, v_HWQD, window_keys)
        num_heads, num_windows, _, window_size, head_dim = out_HWRQD.shape
        out_WQHD = _transpose(_reshape(out_HWRQD, (num_heads, num_windows, window_size, head_dim)), (1, 2, 0, 3))
        out_NHD = _reshape(out_WQHD, (num_windows * window_size, num_heads, head_dim))
        return self.gather(out_NHD, window_position, _reshape(window_index, (-1,)))

    def _cut(self, x_NHD: ms.Tensor, window_index: ms.Tensor, window_position: ms.Tensor) -> ms.Tensor:
        """(N, H, D) to (H, W, Q, D)"""
        return _transpose(self.gather(x_NHD, window_index, window_position), (2, 0, 1, 3))


class RangeAttention(nn.Cell):
    """softmax(q @ k.T over each query's range of keys) @ v, in chunks of queries, with bounded memory.

    `causal` promises that no query's range goes beyond itself, so that later keys need not be looked at. There may be
    several batches, or several queries a key, not both.
    """

    def __init__(self, *, causal: bool) -> None:
        super().__init__()
        self.causal = causal

    def construct(self, q_GBRND: ms.Tensor, k_GBND: ms.Tensor, v_GBND: ms.Tensor, keys_BN2: ms.Tensor) -> ms.Tensor:
        """Map q (G, B, R, N, D), already scaled, k and v (G, B, N, D) and ranges (B, N, 2) int32 to (G, B, R, N, D)."""
        chunks: tuple[ms.Tensor, ...] = ()
        done = q_GBRND
        for first, last, num_keys, _ in query_chunks(q_GBRND.shape[3], self.causal):
            # Depend makes each chunk wait for the one before; without it all chunks' scores live at once.
            q_GBMD = _rows(_depend(q_GBRND, done), first, last)
            keys_BC2 = _ranges(_depend(keys_BN2, done), first, last)
            p_GBMN = _probabilities(q_GBMD, _first_keys(k_GBND, num_keys), keys_BC2)
            done = _matmul(_cast(p_GBMN, v_GBND.dtype), _first_keys(v_GBND, num_keys))
            chunks += (_unrows(done, last - first),)
        return ops.Concat(3)(chunks)

    def bprop(
        self,
        q_GBRND: ms.Tensor,
        k_GBND: ms.Tensor,
        v_GBND: ms.Tensor,
        keys_BN2: ms.Tensor,
        out_GBRND: ms.Tensor,
        dout_GBRND: ms.Tensor,
    ) -> tuple[ms.Tensor, ...]:
        """ds = p * (dp - sum(dp * p)) with dp = dout @ v.T and sum(dp * p) = sum(dout * out), as in FlashAttention."""
        length = k_GBND.shape[2]
        compute = q_GBRND.dtype
        dq_chunks: tuple[ms.Tensor, ...] = ()
        # Each chunk waits for both results of the one before, and the first for dout: depending on q, k and keys
        # alone, it would be computed with the forward, and its probabilities kept until here.
        zeros_GBND = _depend(ops.zeros_like(_cast(k_GBND, ms.float32)), dout_GBRND)
        dk_GBND, dv_GBND = zeros_GBND, zeros_GBND
        # -sum(dout * out) goes through the product with v as one more channel, against a column of ones:
        # subtracting it afterwards would broadcast (see `_probabilities`).
        drop_GBRN1 = -_sum_channels(_cast(dout_GBRND, ms.float32) * _cast(out_GBRND, ms.float32), -1)
        dout_GBRNE = _concat_channels((dout_GBRND, _cast(drop_GBRN1, compute)))
        v_GBNE = _concat_channels((v_GBND, ops.ones_like(v_GBND[:, :, :, :1])))
        for first, last, num_keys, unseen in query_chunks(length, self.causal):
            q_GBMD = _rows(_depend(q_GBRND, dk_GBND), first, last)
            keys_BC2 = _ranges(_depend(keys_BN2, dv_GBND), first, last)
            dout_GBME = _rows(_depend(dout_GBRNE, dk_GBND), first, last)
            dout_GBMD = _rows(_depend(dout_GBRND, dk_GBND), first, last)
            k_seen = _first_keys(k_GBND, num_keys)
            p_GBMN = _probabilities(q_GBMD, k_seen, keys_BC2)
            ds_GBMN = _cast(p_GBMN * _cast(_matmul_nt(dout_GBME, _first_keys(v_GBNE, num_keys)), ms.float32), compute)
            dq_chunks += (_unrows(_matmul(ds_GBMN, k_seen), last - first),)
            dk_seen = _cast(_matmul_tn(ds_GBMN, q_GBMD), ms.float32)
            dv_seen = _cast(_matmul_tn(_cast(p_GBMN, compute), dout_GBMD), ms.float32)
            for num_unseen in unseen:  # none or one: a branch would crash the compiler
                nothing = _first_keys(zeros_GBND, num_unseen)
                dk_seen, dv_seen = _concat_keys((dk_seen, nothing)), _concat_keys((dv_seen, nothing))
            dk_GBND, dv_GBND = dk_GBND + dk_seen, dv_GBND + dv_seen
        return ops.Concat(3)(dq_chunks), _cast(dk_GBND, compute), _cast(dv_GBND, compute), ops.zeros_like(keys_BN2)


@constexpr
def query_chunks(length: int, causal: bool) -> tuple[tuple[int, int, int, tuple[int, ...]], ...]:
    """(first query, last query (exclusive), keys to look at, keys after these: none or their number) of each chunk."""
    size = max(MIN_CHUNK, -(-length // MAX_CHUNKS))
    lasts = [*range(size, length, size), length]
    chunks = zip([0, *lasts], lasts, strict=False)
    if not causal:
        return tuple((first, last, length, ()) for first, last in chunks)
    return tuple((first, last, last, (length - last,) if last < length else ()) for first, last in chunks)


def _rows(x_GBRND: ms.Tensor, first: int, last: int) -> ms.Tensor:
    """(G, B, R, N, D) to (G, B, M, D): queries first..last-1 of every R."""
    groups, batches, repeats, _, channels = x_GBRND.shape
    num_queries = last - first
    cut = _slice(x_GBRND, (0, 0, 0, first, 0), (groups, batches, repeats, num_queries, channels))
    return _reshape(cut, (groups, batches, repeats * num_queries, channels))


def _first_keys(x_GBND: ms.Tensor, num_keys: int) -> ms.Tensor:
    groups, batches, _, channels = x_GBND.shape
    return _slice(x_GBND, (0, 0, 0, 0), (groups, batches, num_keys, channels))


def _ranges(keys_BN2: ms.Tensor, first: int, last: int) -> ms.Tensor:
    return _slice(keys_BN2, (0, first, 0), (keys_BN2.shape[0], last - first, 2))


def _unrows(x_GBMD: ms.Tensor, num_queries: int) -> ms.Tensor:
    groups, batches, rows, channels = x_GBMD.shape
    return _reshape(x_GBMD, (groups, batches, rows // num_queries, num_queries, channels))


def _probabilities(q_GBMD: ms.Tensor, k_GBND: ms.Tensor, keys_BC2: ms.Tensor) -> ms.Tensor:
    """float32 (G, B, M, N), 0 outside each query's range.

    Nothing of this size is broadcast: for that, MindSpore's CPU kernels make index arrays (16 bytes an element), and
    keep them for as long as the graph lives. BiasAdd along a flattened axis adds one mask to all heads without. (Heads
    can be its outer axis because either B or R is 1.)
    """
    groups, batches, rows, _ = q_GBMD.shape
    num_queries, num_keys = keys_BC2.shape[1], k_GBND.shape[2]
    num_heads = groups * rows // num_queries
    key_BCN = _tile(_reshape(_arange(num_keys), (1, 1, num_keys)), (batches, num_queries, 1))
    first_BCN = _tile(keys_BC2[:, :, :1], (1, 1, num_keys))
    last_BCN = _tile(keys_BC2[:, :, 1:], (1, 1, num_keys))
    is_seen = _logical_and(_greater_equal(key_BCN, first_BCN), _less(key_BCN, last_BCN))
    bias_BCN = _cast(is_seen, ms.float32) * -MASKED_SCORE + MASKED_SCORE
    scores_GBMN = _cast(_matmul_nt(q_GBMD, k_GBND), ms.float32)
    scores_HX = _reshape(scores_GBMN, (num_heads, batches * num_queries * num_keys))
    masked_HX = _bias_add(scores_HX, _reshape(bias_BCN, (-1,)))
    return _softmax(_reshape(masked_HX, (groups, batches, rows, num_keys)))


@constexpr
def _arange(length: int) -> ms.Tensor:
    return ms.Tensor(np.arange(length, dtype=np.int32))
