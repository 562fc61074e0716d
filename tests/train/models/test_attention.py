"""The attention kernel against a slow one in float64, in the regimes that the tiny model's tests don't reach."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

from tests.train.golden_case import ROOT
from train.models.attention import (
    MAX_CHUNKS,
    MIN_CHUNK,
    SequenceAttention,
    WindowAttention,
    compressed_mask,
    query_chunks,
    uses_flash_attention,
)

GROUPS, REPEATS, CHANNELS = 2, 3, 4
LENGTH = 2 * MIN_CHUNK + 60
BOUNDARIES = [0, 5, 300, MIN_CHUNK + 7, LENGTH - 1, LENGTH]


def key_ranges(causal: bool) -> np.ndarray:
    lengths = np.diff(BOUNDARIES)
    first = np.repeat(BOUNDARIES[:-1], lengths)
    last = np.arange(LENGTH) + 1 if causal else np.repeat(BOUNDARIES[1:], lengths)
    return np.stack([first, last], axis=1).astype(np.int32)


def slow_attention(q: np.ndarray, k: np.ndarray, v: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """(N, H, D), (N, G, D), (N, G, D), (N, N) bool -> (N, H, D), in float64, head by head."""
    out = np.zeros(q.shape)
    for head in range(q.shape[1]):
        group = head // (q.shape[1] // k.shape[1])
        scores = q[:, head].astype(np.float64) @ k[:, group].astype(np.float64).T / np.sqrt(q.shape[2])
        weights = np.where(seen, np.exp(scores - scores.max(axis=1, keepdims=True)), 0)
        out[:, head] = weights / weights.sum(axis=1, keepdims=True) @ v[:, group]
    return out


def slow_gradients(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, seen: np.ndarray, dout: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of sum(out * dout), by the softmax's Jacobian."""
    dq, dk, dv = (np.zeros(x.shape) for x in (q, k, v))
    scale = 1 / np.sqrt(q.shape[2])
    for head in range(q.shape[1]):
        group = head // (q.shape[1] // k.shape[1])
        query, key, value = (x.astype(np.float64) for x in (q[:, head], k[:, group], v[:, group]))
        scores = query @ key.T * scale
        weights = np.where(seen, np.exp(scores - scores.max(axis=1, keepdims=True)), 0)
        weights /= weights.sum(axis=1, keepdims=True)
        dweights = dout[:, head] @ value.T
        dscores = weights * (dweights - (weights * dweights).sum(axis=1, keepdims=True)) * scale
        dq[:, head] = dscores @ key
        dk[:, group] += dscores.T @ query
        dv[:, group] += weights.T @ dout[:, head]
    return dq, dk, dv


@pytest.mark.parametrize("causal", [True, False])
def test_sequence_attention_and_its_own_backward_equal_the_slow_ones(causal: bool) -> None:
    assert len(query_chunks(LENGTH, causal)) == 3, "the case of several chunks, the last of them shorter"
    random = np.random.default_rng(0)
    q, dout = random.standard_normal((2, LENGTH, GROUPS * REPEATS, CHANNELS)).astype(np.float32)
    k, v = random.standard_normal((2, LENGTH, GROUPS, CHANNELS)).astype(np.float32)
    keys = key_ranges(causal)
    columns = np.arange(LENGTH)
    seen = (columns >= keys[:, :1]) & (columns < keys[:, 1:])
    assert not seen[6, 4] and seen[6, 5] and seen[6, 7] != causal

    attend = SequenceAttention(CHANNELS, causal=causal)
    out, (dq, dk, dv) = run_with_gradients(attend, [q, k, v], [keys, np.array(BOUNDARIES[1:], np.int32)], dout)

    np.testing.assert_allclose(out, slow_attention(q, k, v, seen), atol=1e-5)
    for ours, slow in zip((dq, dk, dv), slow_gradients(q, k, v, seen, dout), strict=True):
        np.testing.assert_allclose(ours, slow, atol=2e-5 * np.abs(slow).max())


def test_window_attention_equals_attention_over_the_same_segments() -> None:
    sizes, capacity, num_windows = [16, 4, 8, 16], 16, 6
    length = sum(sizes) + 12
    ends = np.cumsum(sizes)
    index = np.zeros((num_windows, capacity), np.int32)
    keys = np.tile(np.array([0, capacity], np.int32), (num_windows, capacity, 1))
    position = np.zeros(length, np.int32)
    segment = np.full(length, -1)
    for window, (size, end) in enumerate(zip(sizes, ends, strict=True)):
        rows = np.arange(end - size, end)
        index[window, :size], segment[rows] = rows, window
        keys[window, :size], keys[window, size:] = (0, size), (size, capacity)
        position[rows] = window * capacity + np.arange(size)
    real = segment >= 0
    seen = segment[:, None] == segment

    random = np.random.default_rng(1)
    q, k, v, dout = random.standard_normal((4, length, 3, CHANNELS)).astype(np.float32)
    dout[~real] = 0  # nothing real reads the rows of padding
    out, gradients = run_with_gradients(WindowAttention(CHANNELS), [q, k, v], [index, keys, position], dout)

    np.testing.assert_allclose(out[real], slow_attention(q, k, v, seen)[real], atol=1e-5)
    for ours, slow in zip(gradients, slow_gradients(q, k, v, seen, dout), strict=True):
        np.testing.assert_allclose(ours, slow, atol=2e-5 * np.abs(slow).max())
        assert not ours[~real].any()


@pytest.mark.parametrize(
    "length", [1, MIN_CHUNK, MIN_CHUNK + 1, MIN_CHUNK * MAX_CHUNKS, MIN_CHUNK * MAX_CHUNKS + 1, 99_999]
)
def test_chunks_cover_every_query_once(length: int) -> None:
    for causal in (True, False):
        chunks = query_chunks(length, causal)
        assert len(chunks) <= MAX_CHUNKS
        assert [first for first, *_ in chunks] == [0, *(last for _, last, *_ in chunks[:-1])]
        for first, last, num_keys, unseen in chunks:
            assert first < last
            assert num_keys == (last if causal else length)
            assert unseen == ((length - num_keys,) if num_keys < length else ())
        assert chunks[-1][1] == length


PEAK_OF_ONE_LAYER = """
import resource, sys
import mindspore as ms, numpy as np
from train.models.attention import SequenceAttention
length, heads = 2048, 16
attend = SequenceAttention(64, causal=False)
gradient = ms.grad(attend, (0, 1, 2))
@ms.jit
def backward(*inputs):
    return gradient(*inputs)
qkv = [ms.Tensor(np.ones((length, heads, 64), np.float32)) for _ in range(3)]
keys = ms.Tensor(np.tile(np.array([0, length], np.int32), (length, 1)))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for tensor in backward(*qkv, keys, ms.Tensor(np.array([length], np.int32))):
    tensor.asnumpy()
scores = heads * length**2 * 4 / 1024
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / scores)
"""


@pytest.mark.slow
def test_backward_never_holds_all_scores(tmp_path: Path) -> None:
    """In units of one score matrix over all queries; MindSpore's own gradient of the same takes about 7."""
    script = tmp_path / "peak.py"  # ms.jit reads the source of what it compiles from a file
    script.write_text(PEAK_OF_ONE_LAYER)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True, env=environment)
    assert float(done.stdout.split()[-1]) < 4


def run_with_gradients(
    attend: nn.Cell, floats: list[np.ndarray], integers: list[np.ndarray], dout: np.ndarray
) -> tuple[np.ndarray, list[np.ndarray]]:
    weight = ms.Tensor(dout)

    class WeightedSum(nn.Cell):
        def __init__(self) -> None:
            super().__init__()
            self.attend = attend

        def construct(self, *inputs: ms.Tensor) -> tuple[ms.Tensor, ms.Tensor]:
            out = self.attend(*inputs)
            return (out * weight).sum(), out

    differentiate = ms.value_and_grad(WeightedSum(), (0, 1, 2), has_aux=True)

    @ms.jit
    def step(*inputs: ms.Tensor) -> tuple:
        return differentiate(*inputs)

    (_, out), gradients = step(*(ms.Tensor(array) for array in [*floats, *integers]))
    return out.asnumpy(), [gradient.asnumpy() for gradient in gradients]


def test_the_fused_kernel_is_for_ascend_and_half_precision_alone() -> None:
    assert uses_flash_attention("Ascend", ms.bfloat16)
    assert not uses_flash_attention("Ascend", ms.float32)
    assert not uses_flash_attention("CPU", ms.float16)
    assert compressed_mask() is compressed_mask()
    assert compressed_mask().asnumpy()[:3, :3].tolist() == [[0, 1, 1], [0, 0, 1], [0, 0, 0]]
