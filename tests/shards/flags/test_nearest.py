"""The nearest name is one that shares most letters, if it shares many."""

from __future__ import annotations

import pytest

from shards.flags.nearest import nearest_name

KNOWN = ("learning_rate", "vision_tower_lr", "seed", "3")


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("learnin_rate", "learning_rate"),
        ("vision_lr", "vision_tower_lr"),
        ("sede", "seed"),
        ("colour", None),
        ("", None),
        (3, "3"),
        (None, None),
    ],
)
def test_the_nearest_name_is_found(name: object, nearest: str | None) -> None:
    assert nearest_name(name, KNOWN) == nearest
    assert nearest_name(name, iter(KNOWN)) == nearest
    assert nearest_name(name, ()) is None
