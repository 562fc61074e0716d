"""What is compiled as a whole: once, at the `--jit_level` of the run, and kept for the next start.

MindSpore keeps compiled graphs in files (`keeping_graphs`), and asks nothing but how many were compiled before: whoever
names the folder must see to it that other graphs have another one (`train.graph_cache`). Of a graph that comes from a
file, it finds the parameters by name, in the `parameters_dict` of the cell that was compiled; one that is not there is
made anew, with other values, and nothing is said (2.7.0). So a `Graph` must name all that it reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import mindspore as ms
from mindspore import nn

_level = "O0"  # what `ms.jit` takes where nothing is said


def set_jit_level(level: str) -> None:
    """Of the graphs that this process compiles from now on."""
    global _level
    _level = level


def compiled(construct: Callable[..., Any]) -> Callable[..., Any]:
    """`ms.jit` for the `construct` of a `Graph`; the level is the one that is set when it runs."""
    by_level: dict[str, Callable[..., Any]] = {}

    @wraps(construct)
    def run(self: Graph, *tensors: ms.Tensor) -> Any:
        if not self.is_traced:
            return construct(self, *tensors)
        if _level not in by_level:
            by_level[_level] = ms.jit(construct, jit_level=_level)
        return by_level[_level](self, *tensors)

    return run


class Graph(nn.Cell):
    """A cell whose `construct` is `compiled`, unless it calls what can't be traced."""

    def __init__(self, *, is_traced: bool = True) -> None:
        super().__init__(auto_prefix=False)
        self.is_traced = is_traced
        self._also_read: dict[str, ms.Parameter] = {}

    def reads(self, parameters: Iterable[ms.Parameter]) -> None:
        """Name what the graph reads or writes besides the cell's own parameters, each with a name of its own."""
        self._also_read |= {each.name: each for each in parameters}

    def parameters_dict(self, recurse: bool = True) -> dict[str, ms.Parameter]:
        return {**super().parameters_dict(recurse), **self._also_read}


@contextmanager
def keeping_graphs(folder: Path | None) -> Iterator[None]:
    """Take what is compiled inside from `folder`, where it is there; otherwise keep it there. None: neither."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        ms.set_context(enable_compile_cache=True, compile_cache_path=str(folder))
    try:
        yield
    finally:
        if folder is not None:
            ms.set_context(enable_compile_cache=False)
