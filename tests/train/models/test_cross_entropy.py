"""The chunked head against logits, softmax and cross entropy of all tokens at once, in float64."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest

from train.models import cross_entropy
from train.models.cross_entropy import HeadLoss, head_losses, token_chunks

TOKENS, CHANNELS, WORDS = 11, 5, 13


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cross_entropy, "CHUNK_TOKENS", 4)


def test_loss_and_gradients_equal_those_of_all_logits_at_once() -> None:
    assert token_chunks(TOKENS) == ((0, 4), (4, 8), (8, 11)), "the case of several chunks, the last of them shorter"
    random = np.random.default_rng(0)
    hidden = random.standard_normal((TOKENS, CHANNELS)).astype(np.float32)
    head = random.standard_normal((WORDS, CHANNELS)).astype(np.float32)
    targets = random.integers(0, WORDS, TOKENS).astype(np.int32)
    weight = np.ones(TOKENS, np.float32)
    weight[-2:] = 0  # padding

    logits = hidden.astype(np.float64) @ head.T.astype(np.float64)
    probabilities = np.exp(logits - logits.max(1, keepdims=True))
    probabilities /= probabilities.sum(1, keepdims=True)
    expected = -(np.log(probabilities[np.arange(TOKENS), targets]) * weight).sum()
    dlogits = (probabilities - np.eye(WORDS)[targets]) * weight[:, None] * 3

    tensors = [ms.Tensor(each) for each in (hidden, head, targets, weight)]
    cell = HeadLoss()

    def tripled(*inputs: ms.Tensor) -> ms.Tensor:
        return cell(*inputs) * 3

    differentiate = ms.value_and_grad(tripled, (0, 1))
    value, (dhidden, dhead) = ms.jit(differentiate)(*tensors)
    assert float(value.asnumpy()) / 3 == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(dhidden.asnumpy(), dlogits @ head, atol=2e-6 * np.abs(dlogits @ head).max())
    np.testing.assert_allclose(dhead.asnumpy(), dlogits.T @ hidden, atol=2e-6 * np.abs(dlogits.T @ hidden).max())
    losses = ms.jit(head_losses)(*tensors).asnumpy()
    of_tokens = -np.log(probabilities[np.arange(TOKENS), targets]) * weight
    np.testing.assert_allclose(losses, of_tokens, rtol=1e-5, atol=1e-6)
