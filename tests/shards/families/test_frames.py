"""Stored patches, written down a second time."""

from __future__ import annotations

import pytest

from shards.families.frames import stored_order


@pytest.mark.parametrize(("height", "width", "merge"), [(2, 2, 2), (4, 6, 2), (2, 8, 2), (6, 3, 3), (1, 5, 1)])
def test_patches_are_stored_token_by_token(height: int, width: int, merge: int) -> None:
    frame = stored_order(height, width, merge)
    assert frame.order.tolist() == list(range(height * width))
    assert [tuple(position) for position in frame.positions] == [
        (token_row + row, token_column + column)
        for token_row in range(0, height, merge)
        for token_column in range(0, width, merge)
        for row in range(merge)
        for column in range(merge)
    ]
