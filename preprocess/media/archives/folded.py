"""Members whose names differ from what is written in case, or in how accents are composed: `values/names.py` says how.

What is asked for is rare, so it is found by a table that each process makes when it is first asked: about 3 us and 16
bytes a member.
"""

from __future__ import annotations

from bisect import bisect_left
from functools import lru_cache

import numpy as np

from preprocess.media.archives.index import ArchiveIndex
from preprocess.media.archives.listing import key_of
from preprocess.media.values.names import folded


class FoldedNames:
    """The names of an archive's members, in the order of their hashes once they are folded."""

    def __init__(self, index: ArchiveIndex, ignore_case: bool) -> None:
        self._index = index
        self._ignore_case = ignore_case
        keys = np.fromiter((self._key(index.name(place)) for place in range(len(index))), np.uint64, len(index))
        order = np.argsort(keys, kind="stable")
        self._keys, self._places = memoryview(keys[order].data), memoryview(order.data)

    def find(self, written: str) -> list[str]:
        """Each name once."""
        wanted, key, found = folded(written, self._ignore_case), self._key(written), []
        place = bisect_left(self._keys, key)
        while place < len(self._keys) and self._keys[place] == key:
            name = self._index.name(self._places[place])
            if folded(name, self._ignore_case) == wanted:
                found.append(name)
            place += 1
        return list(dict.fromkeys(found))

    def _key(self, name: str) -> int:
        return key_of(folded(name, self._ignore_case).encode("utf-8", "surrogateescape"))


folded_names = lru_cache(maxsize=32)(FoldedNames)
