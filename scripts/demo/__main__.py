"""`python scripts/demo OUT_DIR`: make the demo data and the tiny model, a few hundred kilobytes, in a second or two."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from demo_annotations import FILES
from demo_build import ForeignFolderError, build


def main() -> int:
    parser = argparse.ArgumentParser(prog="python scripts/demo", description=__doc__)
    parser.add_argument("out_dir", type=Path, help="a new or empty folder, or one that already holds this demo")
    out_dir: Path = parser.parse_args().out_dir
    try:
        demo, reused = build(out_dir)
    except ForeignFolderError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{'Reused' if reused else 'Made'} the demo in {demo.root} ({demo.num_bytes / 1e6:.1f} MB)")
    print(f"  media/        {demo.num_images} pictures, {demo.num_clips} clips")
    print(f"  annotations/  {demo.num_records} records in {len(FILES)} datasets, {demo.num_flawed} flawed on purpose")
    print("  model/        a tiny Qwen2.5-VL with random weights")
    print(f"  run.yaml      python -m preprocess run --config {demo.config}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
