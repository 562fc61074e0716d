"""One compiled model for all tests of the model: compiling takes longer than everything else they do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.train.golden_case import (
    PACK_LENGTH,
    CompiledModel,
    build_golden_model,
    make_samples,
    pack_samples,
    shape_for,
)
from train.models.attention import MIN_CHUNK


@pytest.fixture(scope="session")
def compiled() -> CompiledModel:
    """The model of the golden values, with room for every pack of their samples, and attention in several chunks."""
    samples = list(make_samples().values())
    tight = shape_for([pack_samples(samples), pack_samples(samples[-1:] * 2)])
    assert tight.pack_length == PACK_LENGTH < MIN_CHUNK
    return CompiledModel(
        build_golden_model(),
        replace(tight, pack_length=MIN_CHUNK + 100, patches=MIN_CHUNK + 200, label_tokens=100, temporal_slices=12),
    )
