"""`reference_model.py FOLDER`: losses of packs by transformers in PyTorch, for `python -m train certify`.

FOLDER/task.json names the model and the packs (FOLDER/NAME.npz); FOLDER/result.json gets, for each pack, the sum of the
loss of each of its samples. Samples of a pack are kept apart by the mask of the language model. Imports nothing of
this project. Where the model has no weights, they are drawn from a fixed seed and written to its folder.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import reference_torchvision  # noqa: F401  # before transformers
import torch
from safetensors.torch import save_file
from transformers import (
    AutoConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLForConditionalGeneration,
    Qwen3VLForConditionalGeneration,
)

CLASSES = {
    "qwen2_vl": Qwen2VLForConditionalGeneration,
    "qwen2_5_vl": Qwen2_5_VLForConditionalGeneration,
    "qwen3_vl": Qwen3VLForConditionalGeneration,
}
IGNORE = -100


def main() -> None:
    folder = Path(sys.argv[1])
    task = json.loads((folder / "task.json").read_text(encoding="utf-8"))
    model = load(task)
    losses = {}
    for name in task["packs"]:
        with np.load(folder / f"{name}.npz") as file, torch.no_grad():
            losses[name] = losses_of(model, dict(file), task)
    result = {"losses": losses, "versions": {name: version(name) for name in ("transformers", "torch", "numpy")}}
    (folder / "result.json").write_text(json.dumps(result) + "\n", encoding="utf-8")


def load(task: dict[str, Any]) -> Any:
    kind, folder = CLASSES[task["model_type"]], Path(task["model"])
    if not task["draws_weights"]:
        return kind.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    model = kind(AutoConfig.from_pretrained(folder, attn_implementation="eager")).float().eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            if name.endswith("bias"):
                weight.copy_(0.2 * noise)
            elif "norm" in name or "ln_q" in name:
                weight.copy_(1 + 0.2 * noise)
            elif "embed" in name and weight.ndim == 2:
                weight.copy_(0.5 * noise)
            else:
                weight.copy_(noise / weight[0].numel() ** 0.5)
    weights = {name: weight.detach().contiguous() for name, weight in model.named_parameters()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return model


def losses_of(model: Any, pack: dict[str, np.ndarray], task: dict[str, Any]) -> list[float]:
    ids = torch.from_numpy(pack["input_ids"]).long()
    labels = torch.from_numpy(pack["labels"]).long()
    lengths = torch.from_numpy(np.diff(pack["cu_seqlens"])).long()
    samples = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
    sees = (samples[:, None] == samples[None]).tril()
    mask = torch.zeros(sees.shape).masked_fill(~sees, torch.finfo(torch.float32).min)
    inputs: dict[str, Any] = {}
    for kind, values in (("image", "pixel_values"), ("video", "pixel_values_videos")):
        if len(pack[f"{kind}_grid_thw"]):
            inputs[f"{kind}_grid_thw"] = torch.from_numpy(pack[f"{kind}_grid_thw"]).long()
            inputs[values] = pixel_values(pack[f"{kind}_patches"], task, frames=1 if kind == "image" else None)
    hidden = model.model(
        input_ids=ids[None],
        attention_mask=mask[None, None],
        position_ids=torch.from_numpy(pack["position_ids"]).long()[:, None],
        use_cache=False,
        **inputs,
    ).last_hidden_state[0]
    places = torch.nonzero(labels[1:] != IGNORE)[:, 0]
    logits = model.lm_head(hidden[places]).float()
    losses = torch.nn.functional.cross_entropy(logits, labels[places + 1], reduction="none").double()
    return [float(losses[samples[places] == number].sum()) for number in range(len(lengths))]


def pixel_values(patches: np.ndarray, task: dict[str, Any], frames: int | None) -> torch.Tensor:
    """Stored uint8 patches as transformers wants them: normalised, an image as equal frames."""
    all_frames = task["temporal_patch_size"]
    pixels = patches.reshape(len(patches), 3, frames or all_frames, -1).astype(np.float32) / np.float32(255)
    for name, change in (("image_mean", np.subtract), ("image_std", np.divide)):
        pixels = change(pixels, np.array(task[name], np.float32)[:, None, None])
    return torch.from_numpy(np.repeat(pixels, all_frames // pixels.shape[2], axis=2).reshape(len(patches), -1))


if __name__ == "__main__":
    main()
