"""A training step as a user of PyTorch writes it, in an environment of its own and without our code.

`bench_step_pytorch.py MODEL PACK THREADS`; PACK is an .npz of `bench_step_sides.write_pack`. The segments of the pack
are kept apart by a mask, attention is sdpa, gradients are clipped, and AdamW is the fused one, the Trainer's default.
Answers as `bench_step_here.py` does.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[2] / "certify"))

import numpy as np
import torch
import transformers
from reference_model import pixel_values
from transformers import Qwen2_5_VLForConditionalGeneration


def main() -> None:
    folder, pack_path, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    with np.load(pack_path) as file:
        pack = dict(file)
    task = json.loads(pack.pop("task").item())
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="sdpa"
    ).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=task["learning_rate"], weight_decay=task["weight_decay"], fused=True
    )
    inputs = inputs_of(pack, task)
    parts = ("torch", torch), ("transformers", transformers)
    print(
        json.dumps(
            {
                "versions": ", ".join(f"{name} {module.__version__}" for name, module in parts),
                "num_parameters": sum(each.numel() for each in model.parameters()),
            }
        ),
        flush=True,
    )
    for _ in sys.stdin:
        start = time.perf_counter()
        loss = model(**inputs, use_cache=False).loss
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), task["max_grad_norm"])
        optimizer.step()
        optimizer.zero_grad()
        answer = {"loss": loss.item(), "grad_norm": float(norm), "seconds": time.perf_counter() - start}
        print(json.dumps(answer), flush=True)


def inputs_of(pack: dict[str, np.ndarray], task: dict[str, Any]) -> dict[str, torch.Tensor]:
    lengths = torch.from_numpy(np.diff(pack["cu_seqlens"])).long()
    samples = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
    sees = (samples[:, None] == samples[None]).tril()
    mask = torch.zeros(sees.shape).masked_fill(~sees, torch.finfo(torch.float32).min)
    inputs = {
        "input_ids": torch.from_numpy(pack["input_ids"]).long()[None],
        "labels": torch.from_numpy(pack["labels"]).long()[None],
        "position_ids": torch.from_numpy(pack["position_ids"]).long()[:, None],
        "attention_mask": mask[None, None],
    }
    for kind, values, frames in (("image", "pixel_values", 1), ("video", "pixel_values_videos", None)):
        if len(pack[f"{kind}_grid_thw"]):
            inputs[f"{kind}_grid_thw"] = torch.from_numpy(pack[f"{kind}_grid_thw"]).long()
            inputs[values] = pixel_values(pack[f"{kind}_patches"], task, frames=frames)
    return inputs


if __name__ == "__main__":
    main()
