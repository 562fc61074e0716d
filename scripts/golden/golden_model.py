"""Golden values for the model, from PyTorch and transformers: tests/golden/model.npz.

Loss and the gradient of every parameter for four samples (text, image, images, video), and for one of them with tied
embeddings; the windows and rotary positions of the vision tower for grids of the real model's geometry. Needs the extra
`oracle`. Run it where that is installed: `python scripts/golden/golden_model.py`.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from golden_files import origin, write_arrays
from golden_model_case import (
    CONFIG,
    FRAMES,
    IMAGE_MEAN,
    IMAGE_STD,
    PATCH,
    Sample,
    digest,
    make_samples,
    make_weights,
)
from transformers import (
    PreTrainedModel,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)

TIED_SAMPLE = "image"
WINDOW_GRIDS = [(1, 4, 6), (1, 8, 8), (1, 10, 18), (2, 16, 6), (1, 2, 2), (1, 2, 34), (3, 22, 12)]


def main() -> None:
    arrays: dict[str, np.ndarray] = {}
    model = build_model(CONFIG)
    samples = make_samples()
    for name, sample in samples.items():
        arrays.update(run(model, sample, prefix=f"{name}/"))
    tied = build_model({**CONFIG, "tie_word_embeddings": True})
    arrays.update(run(tied, samples[TIED_SAMPLE], prefix="tied/"))
    arrays.update(lay_out_windows())
    source = origin(
        "Qwen2_5_VLForConditionalGeneration: eager attention, float32, position_ids passed", "torch", "transformers"
    )
    write_arrays("model.npz", source, arrays)


CLASSES: dict[str, tuple[type, type]] = {
    "qwen2_vl": (Qwen2VLConfig, Qwen2VLForConditionalGeneration),
    "qwen2_5_vl": (Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration),
    "qwen3_vl": (Qwen3VLConfig, Qwen3VLForConditionalGeneration),
}


def build_model(config: dict[str, Any]) -> PreTrainedModel:
    config_class, model_class = CLASSES[config["model_type"]]
    model = model_class(config_class(**copy.deepcopy(config), attn_implementation="eager"))
    parameters = parameters_on_disk(model)
    weights = make_weights({name: tuple(value.shape) for name, value in parameters.items()})
    with torch.no_grad():
        for name, value in parameters.items():
            value.copy_(torch.from_numpy(weights[name]))
    is_tied = model.lm_head.weight is model.get_input_embeddings().weight
    kernels = {each._attn_implementation for each in (model.config, model.config.vision_config)}
    if is_tied != config["tie_word_embeddings"] or kernels != {"eager"}:
        raise SystemExit("error: transformers didn't build the model that was asked for")
    return model.float().eval()


def parameters_on_disk(model: PreTrainedModel) -> dict[str, torch.nn.Parameter]:
    """By the names of published checkpoints: `model.visual.*` and `model.language_model.*` in memory are `visual.*` and
    `model.*` there, but not in those of Qwen3-VL."""
    is_nested = model.config.model_type == "qwen3_vl"
    return {name if is_nested else name_on_disk(name): value for name, value in model.named_parameters()}


def name_on_disk(name: str) -> str:
    return name.replace("model.visual.", "visual.").replace("model.language_model.", "model.")


def run(model: PreTrainedModel, sample: Sample, prefix: str) -> dict[str, np.ndarray]:
    """loss (mean over supervised tokens), and gradient/NAME of every parameter that has one."""
    model.zero_grad(set_to_none=True)
    labels = torch.from_numpy(sample.labels).long()[None]
    loss = model(**model_inputs(sample), labels=labels).loss
    loss.backward()
    parameters = parameters_on_disk(model)
    weights = digest({name: value.detach().numpy() for name, value in parameters.items()})
    gradients = {
        f"{prefix}gradient/{name}": value.grad.numpy().copy()
        for name, value in parameters.items()
        if value.grad is not None and value.grad.any()
    }
    print(f"{prefix} loss {loss.item():.6f}, {len(gradients)} of {len(parameters)} parameters with a gradient")
    return {f"{prefix}loss": loss.detach().numpy(), f"{prefix}weights": np.array(weights), **gradients}


def model_inputs(sample: Sample) -> dict[str, Any]:
    """The arguments of `Qwen2_5_VLForConditionalGeneration.forward` for one sample, positions included."""
    ids = torch.from_numpy(sample.input_ids).long()[None]
    inputs: dict[str, Any] = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "position_ids": torch.from_numpy(sample.position_ids).long()[:, None],
        "use_cache": False,
    }
    if len(sample.image_grid_thw):
        inputs["pixel_values"] = torch.from_numpy(pixel_values(sample.image_patches, frames=1))
        inputs["image_grid_thw"] = torch.from_numpy(sample.image_grid_thw).long()
    if len(sample.video_grid_thw):
        inputs["pixel_values_videos"] = torch.from_numpy(pixel_values(sample.video_patches, frames=FRAMES))
        inputs["video_grid_thw"] = torch.from_numpy(sample.video_grid_thw).long()
    return inputs


def pixel_values(patches: np.ndarray, frames: int) -> np.ndarray:
    """Stored uint8 patches (N, 3 * frames * side * side) as transformers wants them: normalised, two frames each."""
    pixels = patches.reshape(-1, 3, frames, PATCH, PATCH).astype(np.float32) / np.float32(255)
    per_channel = (1, 3, 1, 1, 1)
    pixels -= np.array(IMAGE_MEAN, np.float32).reshape(per_channel)
    pixels /= np.array(IMAGE_STD, np.float32).reshape(per_channel)
    return np.repeat(pixels, FRAMES // frames, axis=2).reshape(len(patches), -1)


def lay_out_windows() -> dict[str, np.ndarray]:
    """WINDOW_GRIDS as one batch: order of merged cells, ends of windows, row and column of each stored patch."""
    config = copy.deepcopy(CONFIG)
    config["vision_config"] |= {"patch_size": 14, "window_size": 112}
    visual = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(**config)).visual
    grids = torch.tensor(WINDOW_GRIDS)
    window_index, window_ends = visual.get_window_index(grids)
    angles = visual.rot_pos_emb(grids)
    frequencies = visual.rotary_pos_emb.inv_freq
    positions = angles[:, [0, len(frequencies)]] / frequencies[0]
    return {
        "windows/grid_thw": grids.numpy().astype(np.int32),
        "windows/index": window_index.numpy().astype(np.int32),
        "windows/ends": np.unique(window_ends).astype(np.int32),
        "windows/positions": np.rint(positions.numpy()).astype(np.int32),
    }


if __name__ == "__main__":
    main()
