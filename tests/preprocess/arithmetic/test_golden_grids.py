"""Sizes after smart_resize equal those of transformers, errors included."""

from __future__ import annotations

from preprocess.arithmetic.geometry import PixelLimits, smart_resize
from preprocess.errors import Reason, SampleError
from tests.preprocess.golden import read_golden

GRIDS = read_golden("grids.json")
ROWS: list[tuple[int, int, int, int, list[int | str]]] = [(*row[:4], row[4:]) for row in GRIDS["rows"]]


def resized(height: int, width: int, min_pixels: int, max_pixels: int) -> list[int | str]:
    try:
        limits = PixelLimits(min_pixels=min_pixels, max_pixels=max_pixels)
        return list(smart_resize(height, width, GRIDS["factor"], limits))
    except SampleError as error:
        assert error.reason is Reason.ASPECT_RATIO
        return ["error"]


def test_every_size_equals_the_reference() -> None:
    different = [(*row, ours) for *row, expected in ROWS if (ours := resized(*row)) != expected]
    assert not different


def test_the_table_has_every_branch_and_the_odd_cases() -> None:
    assert (100, 20000, 3136, 12544, [28, 1568]) in ROWS, "over max_pixels, as the reference has it"
    assert [expected for height, width, *_, expected in ROWS if max(height, width) / min(height, width) > 200] == [
        ["error"]
    ] * sum(expected == ["error"] for *_, expected in ROWS)
    assert any(
        max(height, width) == 200 * min(height, width) and expected != ["error"] for height, width, *_, expected in ROWS
    )
    kept = [row for row in ROWS if row[4] != ["error"]]
    areas = [(round(height / 28) * round(width / 28) * 784, low, high) for height, width, low, high, _ in kept]
    assert sum(area > high for area, _, high in areas) > 20
    assert sum(0 < area < low for area, low, _ in areas) > 20
    assert sum(area == 0 for area, _, _ in areas) > 5, "a thin side that rounds to 0"
    assert sum(low <= area <= high for area, low, high in areas) > 20
    assert any(side % 28 == 14 and round(side / 28) % 2 == 0 for row in kept for side in row[:2]), "half to even"
