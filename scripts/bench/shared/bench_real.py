"""Real photographs, for benchmarks: those that the wheels of scikit-image and scikit-learn hold (extra `bench`).

| photograph | of | licence |
| --- | --- | --- |
| astronaut.png, 512x512 | NASA | public domain |
| chelsea.png, 451x300 | Stefan van der Walt | CC0 |
| coffee.png, 600x400 | Rachel Michetti | CC0 |
| hubble_deep_field.jpg, 1000x872 | NASA | public domain |
| ihc.png, 512x512 | Center for Microscopy And Molecular Imaging | no known copyright restrictions |
| retina.jpg, 1411x1411 | Mikael Häggström | CC0 |
| rocket.jpg, 640x427 | SpaceX | public domain |
| china.jpg, 640x427 | danielbuechele | CC BY 2.0 |
| flower.jpg, 640x427 | vultilion | CC BY 2.0 |

The two packages say so beside the files (`skimage.data`, `sklearn/datasets/images/README.txt`). Nothing is downloaded,
and nothing of the packages is imported.
"""

from __future__ import annotations

import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

from PIL import Image

PHOTOGRAPHS = {
    "skimage": [f"data/{name}" for name in ("astronaut.png", "chelsea.png", "coffee.png", "hubble_deep_field.jpg")]
    + [f"data/{name}" for name in ("ihc.png", "retina.jpg", "rocket.jpg")],
    "sklearn": ["datasets/images/china.jpg", "datasets/images/flower.jpg"],
}


def photographs() -> list[Path]:
    """Ends the program, saying what to do, where a package is not there."""
    found = []
    for package, names in PHOTOGRAPHS.items():
        spec = find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            sys.exit(f"error: {package}, whose photographs this reads, is missing: pip install -e '.[bench]'")
        found += [Path(spec.submodule_search_locations[0]) / name for name in names]
    return found


def resample_photographs(folder: Path, number: int, size: tuple[int, int]) -> list[str]:
    """Names of so many JPEG files (quality 90) in `folder`: the photographs, cut to the shape and resampled to it."""
    chosen = photographs()
    names = [f"{copy:05d}.jpg" for copy in range(number)]
    for copy, name in enumerate(names):
        if copy >= len(chosen):
            shutil.copyfile(folder / names[copy % len(chosen)], folder / name)
            continue
        with Image.open(chosen[copy]) as photograph:
            scale = min(photograph.width / size[0], photograph.height / size[1])
            width, height = scale * size[0], scale * size[1]
            left, top = (photograph.width - width) / 2, (photograph.height - height) / 2
            box = (left, top, left + width, top + height)
            rgb = photograph.convert("RGB").resize(size, Image.Resampling.LANCZOS, box=box)
            rgb.save(folder / name, quality=90)
    return names
