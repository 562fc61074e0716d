"""The C library with each set of loops that this processor has."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from preprocess.pixels.engine import engine
from preprocess.pixels.kernel import LOOPS, Kernel, load

KERNELS = [kernel for kernel in map(load, LOOPS) if isinstance(kernel, Kernel)]
NO_KERNEL = pytest.mark.skipif(not KERNELS, reason=str(load()))


@pytest.fixture(params=[kernel.loops for kernel in KERNELS] or [pytest.param("", marks=NO_KERNEL)])
def kernel(request: pytest.FixtureRequest) -> Kernel:
    loaded = load(request.param)
    assert isinstance(loaded, Kernel)
    return loaded


@pytest.fixture
def fresh_engine() -> Iterator[None]:
    """The choice is made again in the test, and again after it."""
    engine.cache_clear()
    yield
    engine.cache_clear()
