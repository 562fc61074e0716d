"""The chunked head against logits, softmax and cross entropy of all tokens at once, in float64."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest

from tests.train.golden_case import build_golden_model
from train.adapters.lora import add_adapters
from train.models import cross_entropy
from train.models.cross_entropy import HeadLoss, head_losses, token_chunks
from train.steps.groups import freeze

ROOT = Path(__file__).parents[3]
TOKENS, CHANNELS, WORDS = 11, 5, 13


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cross_entropy, "CHUNK_TOKENS", 4)


def inputs() -> list[np.ndarray]:
    random = np.random.default_rng(0)
    hidden = random.standard_normal((TOKENS, CHANNELS)).astype(np.float32)
    head = random.standard_normal((WORDS, CHANNELS)).astype(np.float32)
    weight = np.ones(TOKENS, np.float32)
    weight[-2:] = 0  # padding
    return [hidden, head, random.integers(0, WORDS, TOKENS).astype(np.int32), weight]


def test_loss_and_gradients_equal_those_of_all_logits_at_once() -> None:
    assert token_chunks(TOKENS) == ((0, 4), (4, 8), (8, 11)), "the case of several chunks, the last of them shorter"
    hidden, head, targets, weight = inputs()
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


def test_a_frozen_head_costs_nothing_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = [ms.Tensor(each) for each in inputs()]
    loss, (dhidden, _) = ms.value_and_grad(HeadLoss(), (0, 1))(*tensors)
    frozen = HeadLoss()
    frozen.trains_head = False
    monkeypatch.setattr(cross_entropy, "_matmul_tn", None)  # what makes the gradient of the head, and that alone
    frozen_loss, frozen_dhidden = ms.value_and_grad(frozen, 0)(*tensors)
    assert frozen_loss.asnumpy().tobytes() == loss.asnumpy().tobytes()
    assert frozen_dhidden.asnumpy().tobytes() == dhidden.asnumpy().tobytes()
    compiled_loss, compiled_dhidden = ms.jit(ms.value_and_grad(frozen, 0))(*tensors)
    np.testing.assert_allclose(compiled_loss.asnumpy(), loss.asnumpy(), rtol=1e-6)
    np.testing.assert_allclose(compiled_dhidden.asnumpy(), dhidden.asnumpy(), atol=1e-6)


@pytest.mark.parametrize("is_tied", [False, True])
def test_a_model_makes_gradients_of_its_head_where_it_trains_it(is_tied: bool) -> None:
    model = build_golden_model(tie_word_embeddings=is_tied)
    for groups, trains_head in (({"llm"}, True), ({"mlp", "vision"}, False)):
        freeze(model, groups)
        model.loss_and_gradients()
        assert model.head_loss.trains_head == trains_head


def test_adapters_train_the_head_where_they_stand_beside_it() -> None:
    for targets, trains_head in (("q_proj", False), ("q_proj,lm_head", True)):
        model = build_golden_model()
        add_adapters(model, targets, base_model="", r=2, alpha=2, dropout=0.0, seed=0)
        model.loss_and_gradients()
        assert model.head_loss.trains_head == trains_head


PEAKS = """
import sys
import mindspore as ms, numpy as np
from train.models import cross_entropy
from train.models.cross_entropy import HeadLoss
cross_entropy.CHUNK_TOKENS = 512
def peak(num_chunks):
    tokens, words, channels = 512 * num_chunks, 20_000, 8
    inputs = np.ones((tokens, channels), np.float32), np.ones((words, channels), np.float32)
    tensors = [ms.Tensor(each) for each in (*inputs, np.ones(tokens, np.int32), np.ones(tokens, np.float32))]
    ms.jit(ms.value_and_grad(HeadLoss(), (0, 1)))(*tensors)[0].asnumpy()
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) * 1024
few, many = peak(4), peak(12)
print((many - few) / (4 * 512 * 20_000))
"""


def test_memory_does_not_grow_with_the_number_of_chunks() -> None:
    """Of whatever does not wait for the chunk before, one array a chunk is kept: one-hot targets alone would be 8."""
    done = subprocess.run([sys.executable, "-c", PEAKS], cwd=ROOT, capture_output=True, text=True, check=True)
    grown = float(done.stdout.splitlines()[-1])  # in arrays of the size of a chunk's logits
    assert grown < 4
