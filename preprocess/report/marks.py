"""The boxes and points that a text names, to be drawn on its pictures."""

from __future__ import annotations

from collections.abc import Sequence

from preprocess.arithmetic.boxes import boxes_in
from preprocess.arithmetic.geometry import Grid
from preprocess.arithmetic.grids import box_sides
from shards import ModelConstants
from shards.look.page import FindMarks, Mark


def marks_of(constants: ModelConstants) -> FindMarks:
    """For texts as the model learns them: coordinates in the unit of its family. What they don't meet is cut."""

    def find(text: str, grids: Sequence[Grid]) -> list[Mark]:
        marks = []
        for box in boxes_in(text, len(grids)):
            height, width = box_sides(grids[box.image], constants)
            xs = [min(max(x / width, 0.0), 1.0) for x in box.numbers[0::2]]
            ys = [min(max(y / height, 0.0), 1.0) for y in box.numbers[1::2]]
            marks.append(
                Mark(
                    image=box.image,
                    left=min(xs),
                    top=min(ys),
                    right=max(xs),
                    bottom=max(ys),
                    label=box.label,
                )
            )
        return marks

    return find
