"""Sizes after smart_resize of transformers 4.57.1, or the word `error`: grids.json."""

from __future__ import annotations

import numpy as np
from golden_files import origin, write_json
from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

FACTOR = 28
CELL = FACTOR * FACTOR
PUBLISHED = (4 * CELL, 16384 * CELL)
SMALL = (CELL, 16 * CELL)

ODD = (  # height, width, min_pixels, max_pixels
    (100, 20000, 3136, 12544),  # exceeds max_pixels after the clamp
    (20000, 100, 3136, 12544),
    (100, 20000, *PUBLISHED),  # aspect ratio 200: allowed
    (1, 200, *SMALL),
    (200, 1, *SMALL),
    (1, 201, *SMALL),  # over 200
    (300, 1, *SMALL),
    (99, 20000, *PUBLISHED),
    (13, 500, *PUBLISHED),  # the thin side rounds to 0
    (14, 500, *PUBLISHED),  # half a cell rounds to 0, the even number
    (42, 500, *PUBLISHED),  # one and a half rounds to 2
    (70, 500, *PUBLISHED),  # two and a half rounds to 2
    (10, 1990, CELL, CELL),
    (83, 59, CELL, 6 * CELL),  # as large as allowed once rounded: neither limit applies
    (59, 83, 6 * CELL, 9 * CELL),
    (1, 1, *PUBLISHED),
    (1, 1, 1, 1),
    (28, 28, CELL, CELL),
    (29, 29, CELL, CELL),
    (2089, 1080, 3136, 576 * CELL),
    (1080, 1920, 3136, 576 * CELL),
    (65500, 65500, *PUBLISHED),
)


def main() -> None:
    rng = np.random.default_rng(3)
    table = [list(row) for row in ODD]
    for _ in range(400):
        height, width = np.exp(rng.uniform(0, np.log(6000), 2)).astype(int).tolist()
        min_cells, max_cells = sorted(np.exp(rng.uniform(0, np.log(2000), 2)).astype(int).tolist())
        table.append([height, width, min_cells * CELL, max_cells * CELL + int(rng.integers(0, CELL))])
    record = {
        "origin": origin("smart_resize of models/qwen2_vl/image_processing_qwen2_vl.py", "transformers"),
        "factor": FACTOR,
        "columns": ["height", "width", "min_pixels", "max_pixels", "resized_height or error", "resized_width"],
        "rows": [row + resized(*row) for row in table],
    }
    write_json("grids.json", record)


def resized(height: int, width: int, min_pixels: int, max_pixels: int) -> list[int | str]:
    try:
        return list(smart_resize(height, width, FACTOR, min_pixels, max_pixels))
    except ValueError:
        return ["error"]


if __name__ == "__main__":
    main()
