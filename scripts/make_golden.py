"""`python scripts/make_golden.py --reference DIR --template FILE --qwen3_template FILE`: make what tests compare with.

They come from outside: PyTorch, transformers 4.57.1 and QwenLM's fine-tuning scripts, none of which the project runs
on. It needs the extra `oracle` and `av` and `pyarrow` (for the demo's code); the results stand in tests/golden, each
with its origin and versions. QwenLM's scripts are not part of this repository: DIR is their folder
qwen-vl-finetune/qwenvl/data, of which data_qwen.py and rope2d.py are read. The files hold the chat_template
of Qwen2.5-Instruct and that of Qwen3-VL-Instruct.

| part | values |
| --- | --- |
| pictures | small pictures of every kind, committed, because encoders may differ between machines |
| images | their pixels as the reference image processor sees them |
| videos | patches of frames, likewise |
| grids | sizes after smart_resize |
| chat | token ids and labels |
| tools | conversations with tools as the template renders them |
| rope | 3D positions |
| families, families_pixels | the same of Qwen2-VL and Qwen3-VL, where they differ from Qwen2.5-VL |
| model, optimizer, bfloat16 | of the training side |
| training | fifty steps, of the whole model and of a LoRA adapter, which PEFT saved |
| families_models | loss, gradients and fifty steps of Qwen2-VL and Qwen3-VL |
| certificate | what scripts/certify/reference.py makes of a few samples |
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "golden"
# fmt: off
PARTS = (
    "pictures", "images", "videos", "grids", "chat", "tools", "rope", "families", "families_pixels",
    "model", "optimizer", "bfloat16", "training", "families_models", "certificate",
)
# fmt: on
NEEDS = {  # option -> the parts that need it
    "reference": {"chat", "rope", "families"},
    "template": {"tools"},
    "qwen3_template": {"families"},
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python scripts/make_golden.py", description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=PARTS, action="append", help="make this part alone; may be repeated")
    parser.add_argument("--reference", type=Path, help="folder with QwenLM's data_qwen.py and rope2d.py")
    parser.add_argument("--template", type=Path, help="file with the chat_template of Qwen2.5-Instruct")
    parser.add_argument("--qwen3_template", type=Path, help="file with the chat_template of Qwen3-VL-Instruct")
    arguments = parser.parse_args()
    parts = arguments.only or PARTS
    for name, needing in NEEDS.items():
        if needing & set(parts) and not getattr(arguments, name):
            parser.error(f"{' and '.join(sorted(needing))} need --{name}")
    for part in parts:
        needed = [name for name, needing in NEEDS.items() if part in needing]
        options = [word for name in needed for word in (f"--{name}", getattr(arguments, name))]
        done = subprocess.run([sys.executable, FOLDER / f"golden_{part}.py", *options], check=False)
        if done.returncode:
            print(f"error: part {part} failed", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
