"""`python scripts/make_golden.py --reference DIR`: make the values that tests compare our arithmetic with.

They come from outside: PyTorch, transformers 4.57.1 and QwenLM's fine-tuning scripts, none of which the project runs
on. It needs the extra `oracle` and `av` and `pyarrow` (for the demo's code); the results stand in tests/golden, each
with its origin and versions. QwenLM's scripts are not part of this repository: DIR is their folder
qwen-vl-finetune/qwenvl/data, of which data_qwen.py and rope2d.py are read.

| part | values |
| --- | --- |
| pictures | small pictures of every kind, committed, because encoders may differ between machines |
| images | their pixels as the reference image processor sees them |
| videos | patches of frames, likewise |
| grids | sizes after smart_resize |
| chat | token ids and labels |
| rope | 3D positions |
| model, optimizer, bfloat16 | of the training side |
| training | fifty steps, of the whole model and of a LoRA adapter, which PEFT saved |
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "golden"
PARTS = ("pictures", "images", "videos", "grids", "chat", "rope", "model", "optimizer", "bfloat16", "training")
NEED_REFERENCE = {"chat", "rope"}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python scripts/make_golden.py", description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=PARTS, action="append", help="make this part alone; may be repeated")
    parser.add_argument("--reference", type=Path, help="folder with QwenLM's data_qwen.py and rope2d.py")
    arguments = parser.parse_args()
    parts = arguments.only or PARTS
    if NEED_REFERENCE & set(parts) and not arguments.reference:
        parser.error(f"{' and '.join(sorted(NEED_REFERENCE))} need --reference")
    for part in parts:
        options = ["--reference", arguments.reference] if part in NEED_REFERENCE else []
        done = subprocess.run([sys.executable, FOLDER / f"golden_{part}.py", *options], check=False)
        if done.returncode:
            print(f"error: part {part} failed", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
