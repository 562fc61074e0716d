"""What the executors know of a stage: how to load it, and how to do a job or one item (a sample) of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

Signal = Callable[[], None]  # a sign of life: an item is taken up


class LoadedStage(Protocol):
    """A stage in a process of its own, with whatever it had to load."""

    def do_item(self, item: Any) -> Any:
        """The dangerous part, on one sample. Raises SampleError."""
        ...

    def do_job(self, job: Any, do_item: Callable[[Any], Any], before_item: Signal) -> Any:
        """A whole job; `do_item` is the method above, or the same in another process."""
        ...


class Stage(Protocol):
    """What crosses to worker processes: picklable, a few kilobytes, and equal to its copies."""

    def load(self) -> LoadedStage: ...
