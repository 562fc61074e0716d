"""To be imported before transformers: lets torchvision load beside a torch that it was not built for.

An index may offer a torch for CPUs and a torchvision for CUDA, whose compiled operators do not load then, and without
whose declarations the package raises. What is compared with (resizing, normalising) is written in torch alone, so the
two operators that it asks for are declared, and computed by nobody.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import torch

DECLARED = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


def declare_operators() -> torch.library.Library | None:
    """None where torchvision is not there, or loads by itself. What is declared lasts as long as the library."""
    found = find_spec("torchvision")
    if found is None or not found.submodule_search_locations:
        return None
    try:
        for path in Path(found.submodule_search_locations[0]).glob("_C*.so"):
            torch.ops.load_library(path)
    except OSError:
        library = torch.library.Library("torchvision", "DEF")
        for each in DECLARED:
            library.define(each)
        return library
    return None


LIBRARY = declare_operators()
