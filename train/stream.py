"""Reading packs ahead."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Generic, TypeVar

Item = TypeVar("Item")
Loaded = TypeVar("Loaded")


class ReadAhead(Generic[Item, Loaded]):
    """Iterates over `load(item)` for each item, in order, computed up to `depth` items ahead in one thread.

    An exception of `load` comes out where its item would have. A context manager: leaving it stops the thread.
    `seconds_waited` is the time that the consumer spent waiting for results, so far.
    """

    def __init__(self, load: Callable[[Item], Loaded], items: Iterable[Item], *, depth: int) -> None:
        self.seconds_waited = 0.0
        self._load = load
        self._items = iter(items)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="read-ahead")
        self._pending: deque[Future[Loaded]] = deque()
        for item in islice(self._items, depth):
            self._submit(item)

    def __iter__(self) -> Iterator[Loaded]:
        return self

    def __next__(self) -> Loaded:
        if not self._pending:
            raise StopIteration
        begin = time.perf_counter()
        loaded = self._pending.popleft().result()
        self.seconds_waited += time.perf_counter() - begin
        for item in islice(self._items, 1):
            self._submit(item)
        return loaded

    def __enter__(self) -> ReadAhead[Item, Loaded]:
        return self

    def __exit__(self, *exception: object) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _submit(self, item: Item) -> None:
        self._pending.append(self._thread.submit(self._load, item))
