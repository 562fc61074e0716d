"""Random numbers that are a function of what they are for: the same with every version of NumPy, on every machine."""

from __future__ import annotations

import hashlib

import numpy as np


def stream(purpose: str, seed: int, name: str = "") -> np.random.RandomState:
    """The stream of a run's `seed` for one purpose, and for one `name` where a purpose has several.

    RandomState, because its streams are frozen for ever (NEP 19); those of `default_rng` may change with NumPy.
    """
    digest = hashlib.sha256(f"{purpose}/{seed}/{name}".encode()).digest()
    return np.random.RandomState(np.frombuffer(digest, "<u4"))
