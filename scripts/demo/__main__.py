"""`python scripts/demo OUT_DIR`: make the demo data and the tiny model, a few hundred kilobytes, in a second or two."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from demo_annotations import FILES
from demo_build import ForeignFolderError, build
from demo_model import FAMILIES


def main() -> int:
    parser = argparse.ArgumentParser(prog="python scripts/demo", description=__doc__)
    parser.add_argument("out_dir", type=Path, help="a new or empty folder, or one that already holds this demo")
    parser.add_argument(
        "--family",
        choices=FAMILIES,
        default=next(iter(FAMILIES)),
        help="model_type of the model (default: %(default)s)",
    )
    arguments = parser.parse_args()
    try:
        demo, reused = build(arguments.out_dir, arguments.family)
    except ForeignFolderError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{'Reused' if reused else 'Made'} the demo in {demo.root} ({demo.num_bytes / 1e6:.1f} MB)")
    print(f"  media/        {demo.num_images} pictures, {demo.num_clips} clips")
    print(f"  annotations/  {demo.num_records} records in {len(FILES)} datasets, {demo.num_flawed} flawed on purpose")
    print(f"  model/        a tiny {FAMILIES[demo.family].NAME} with random weights")
    print(f"  run.yaml      python -m preprocess run --config {demo.config}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
