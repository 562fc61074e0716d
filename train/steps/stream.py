"""Reading ahead."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Item = TypeVar("Item")

_END = object()


class ReadAhead(Generic[Item]):
    """Iterates over `items`, which one thread makes, in order and up to `depth` ahead.

    An exception comes out in its place: after the items before it. A context manager: leaving it stops the thread.
    `seconds_waited` is the time that the consumer spent waiting for items, so far.
    """

    def __init__(self, items: Iterable[Item], *, depth: int) -> None:
        self.seconds_waited = 0.0
        self._items = iter(items)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="read-ahead")
        self._pending: deque[Future[Item]] = deque()
        for _ in range(depth):
            self._request()

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        next_item = self._pending.popleft()
        self._request()  # after the end, too: the answer is the end again
        begin = time.perf_counter()
        item = next_item.result()
        self.seconds_waited += time.perf_counter() - begin
        if item is _END:
            raise StopIteration
        return item

    def __enter__(self) -> ReadAhead[Item]:
        return self

    def __exit__(self, *exception: object) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _request(self) -> None:
        self._pending.append(self._thread.submit(next, self._items, _END))  # type: ignore[arg-type]
