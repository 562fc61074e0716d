"""`python scripts/make_golden.py --reference DIR --template FILE`: make the values that tests compare with.

They come from outside: PyTorch, transformers 4.57.1 and QwenLM's fine-tuning scripts, none of which the project runs
on. It needs the extra `oracle` and `av` and `pyarrow` (for the demo's code); the results stand in tests/golden, each
with its origin and versions. QwenLM's scripts are not part of this repository: DIR is their folder
qwen-vl-finetune/qwenvl/data, of which data_qwen.py and rope2d.py are read. FILE holds the chat_template of
tokenizer_config.json of Qwen2.5-Instruct.

| part | values |
| --- | --- |
| pictures | small pictures of every kind, committed, because encoders may differ between machines |
| images | their pixels as the reference image processor sees them |
| videos | patches of frames, likewise |
| grids | sizes after smart_resize |
| chat | token ids and labels |
| tools | conversations with tools as the template renders them |
| rope | 3D positions |
| model, optimizer, bfloat16 | of the training side |
| training | fifty steps, of the whole model and of a LoRA adapter, which PEFT saved |
| families | loss, gradients and fifty steps of Qwen2-VL and Qwen3-VL |
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "golden"
PARTS = (
    *("pictures", "images", "videos", "grids", "chat", "tools", "rope"),
    *("model", "optimizer", "bfloat16", "training", "families"),
)
NEED_REFERENCE = {"chat", "rope"}
NEED_TEMPLATE = {"tools"}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python scripts/make_golden.py", description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=PARTS, action="append", help="make this part alone; may be repeated")
    parser.add_argument("--reference", type=Path, help="folder with QwenLM's data_qwen.py and rope2d.py")
    parser.add_argument("--template", type=Path, help="file with the chat_template of Qwen2.5-Instruct")
    arguments = parser.parse_args()
    parts = arguments.only or PARTS
    if NEED_REFERENCE & set(parts) and not arguments.reference:
        parser.error(f"{' and '.join(sorted(NEED_REFERENCE))} need --reference")
    if NEED_TEMPLATE & set(parts) and not arguments.template:
        parser.error(f"{' and '.join(sorted(NEED_TEMPLATE))} need --template")
    for part in parts:
        options = ["--reference", arguments.reference] if part in NEED_REFERENCE else []
        options += ["--template", arguments.template] if part in NEED_TEMPLATE else []
        done = subprocess.run([sys.executable, FOLDER / f"golden_{part}.py", *options], check=False)
        if done.returncode:
            print(f"error: part {part} failed", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
