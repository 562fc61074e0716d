"""Keys that a record has beside those that mean something: misspellings are refused, others counted."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from preprocess.errors import Reason, SampleError
from preprocess.read.forms.qwen import KNOWN_KEYS
from shards.files.text import shortened

_LONGEST_NAMED = 100  # characters
MOST_KEYS = 1_000  # of a record; each costs a tenth of a millisecond
_LONG_WORD = 8  # letters; a known key as long as this may be misspelled twice


def refuse_near_misses(record: dict[str, Any]) -> None:
    """Raises SampleError, also where there are more keys than could be looked at in reasonable time."""
    if len(record) > MOST_KEYS:
        raise SampleError(
            Reason.BAD_JSON, f"a record has {len(record):,} keys, more than {MOST_KEYS:,}; is it a sample at all?"
        )
    for key in record:
        known = near_miss(key)
        if known:
            raise SampleError(Reason.UNKNOWN_KEYS, f"key {key!r} is a near miss of {known!r}; rename it")


@lru_cache(maxsize=1024)
def near_miss(key: str) -> str | None:
    """The known key that `key` is a misspelling of, if it is one: one error apart, or two in a long word."""
    if key in KNOWN_KEYS or len(key) > 2 * _LONG_WORD:
        return None
    nearest = min(KNOWN_KEYS, key=lambda known: edit_distance(key.lower(), known))
    return nearest if edit_distance(key.lower(), nearest) <= 1 + (len(nearest) >= _LONG_WORD) else None


def edit_distance(a: str, b: str) -> int:
    """Insertions, deletions, substitutions and swaps of neighbours between two words (optimal string alignment)."""
    rows = [list(range(len(b) + 1))]
    for i, left in enumerate(a, start=1):
        row = [i]
        for j, right in enumerate(b, start=1):
            row.append(min(rows[-1][j] + 1, row[-1] + 1, rows[-1][j - 1] + (left != right)))
            if i > 1 and j > 1 and left == b[j - 2] and a[i - 2] == right:
                row[-1] = min(row[-1], rows[-2][j - 2] + 1)
        rows.append(row)
    return rows[-1][-1]


def ignored_keys(record: Any) -> tuple[str, ...]:
    """Keys that mean nothing to us (`id`, `source`, ...): counted, so that the run can name them. Long ones are cut."""
    if not isinstance(record, dict):
        return ()
    return tuple(shortened(key, _LONGEST_NAMED) for key in record if key not in KNOWN_KEYS)
