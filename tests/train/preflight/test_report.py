"""The guard of the kernel's segments."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.train.preflight.test_memory import SHAPE
from train.preflight.report import MAX_SEGMENTS, segments_flaw


@pytest.mark.parametrize(("name", "what"), [("segments", "samples"), ("temporal_slices", "frames")])
def test_segments_beyond_the_kernels_limit_are_refused(name: str, what: str) -> None:
    """Padding is one more."""
    assert segments_flaw(replace(SHAPE, **{name: MAX_SEGMENTS - 1})) is None
    flaw = segments_flaw(replace(SHAPE, **{name: MAX_SEGMENTS}))
    assert flaw is not None
    assert f"up to {MAX_SEGMENTS + 1} {what}" in flaw and "pack_length" in flaw
