"""Pixels as Hugging Face's processor makes them, and with the specification's choices applied before it.

| choice | what the processor's usual callers do | what the specification does |
| --- | --- | --- |
| exif | nothing | turns the image as its EXIF orientation says |
| transparency | drops the alpha channel | lays the image on white |
| grey_16 | clips 16 bits at 255 | takes the high bits, by the range of the values |
| lenient | refuses files without their end | `decoder: lenient` reads them |
| pillow_resize | resizes with torchvision (where asked; all videos of Qwen3-VL) | resizes with Pillow's filter |
| frame_choice | other frames, by its own count or rule | the frames of the plan |
| frame_list | has no list of frames | takes pictures as frames |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageFile, ImageOps
from transformers import logging
from transformers.image_utils import ChannelDimension
from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor, smart_resize
from transformers.models.qwen2_vl.image_processing_qwen2_vl_fast import Qwen2VLImageProcessorFast

ORIENTATION = 0x0112
SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I;16N", "I")
logging.set_verbosity_error()  # it warns that videos have a processor of their own now


class UnreadableMedium(Exception):
    """The reference has nothing to compare with."""


@dataclass(frozen=True, kw_only=True)
class Made:
    choices: list[str]
    levels: np.ndarray  # uint8 (patches, 3 * tp * p * p): the processor's values, as the pixels they are of
    grid_thw: tuple[int, int, int]
    float_error: float  # how far its values are from those of the pixels, normalised as by its own slow class
    seconds: float | None = None  # per temporal patch, of a video
    indices: tuple[int, ...] = ()  # of a video's frames
    fps: float = 0.0


class MediaReference:
    def __init__(self, task: dict[str, Any]) -> None:
        self._numbers = task["processor"]
        self._family = task["model_type"]
        self._against = task["against"]
        self._rules = task["rules"]
        ramp = np.repeat(np.arange(256, dtype=np.uint8)[:, None, None], 3, axis=2)
        slow = self._processor(Qwen2VLImageProcessor, {})
        rescaled = slow.rescale(ramp, slow.rescale_factor, input_data_format=ChannelDimension.LAST)
        normalised = slow.normalize(rescaled, slow.image_mean, slow.image_std, input_data_format=ChannelDimension.LAST)
        self._values = np.asarray(normalised, np.float32)[:, 0].T  # (3, 256)

    @property
    def values(self) -> np.ndarray:
        """float32 (3, 256): what each pixel becomes in each channel."""
        return self._values

    def image(self, image: dict[str, Any]) -> list[Made]:
        """Raises UnreadableMedium."""
        made: list[Made] = []
        for choices, pixels in pictures(image["path"], self._rules):
            made += self._images(choices, pixels, image["limits"])
        return without_repeats(made, image["path"])

    def _images(self, choices: list[str], pixels: Image.Image, limits: dict[str, int]) -> list[Made]:
        # Said, not guessed: the processor takes an image 1 or 3 pixels high for channels first.
        options: dict[str, Any] = {"input_data_format": ChannelDimension.LAST, "return_tensors": "np"}
        slow = self._processor(Qwen2VLImageProcessor, limits).preprocess(pixels, **options)
        made = [self._made(choices, slow["pixel_values"], slow["image_grid_thw"])]
        if self._against == "torchvision":
            fast = self._processor(Qwen2VLImageProcessorFast, limits)(images=pixels, return_tensors="pt")
            exact = self._made([*choices, "pillow_resize"], slow["pixel_values"], slow["image_grid_thw"])
            made = [self._made(choices, fast["pixel_values"].numpy(), fast["image_grid_thw"].numpy()), exact]
        return made

    def video(self, video: dict[str, Any]) -> list[Made]:
        """Raises UnreadableMedium."""
        plan = video["plan"]
        chosen = tuple(plan["frame_indices"])
        if video["frames"]:
            frames = [pictures(path, self._rules)[-1][1] for path in video["frames"]]
            seen = [(["frame_list"], chosen, plan["fps"], plan["seconds"], np.stack([np.asarray(f) for f in frames]))]
        else:
            seen = self._decoded(video, plan, chosen)
        made = []
        for choices, indices, fps, seconds, frames_ in seen:
            for more, values, grid in self._frames(frames_, video["limits"]):
                one = self._made([*choices, *more], values, grid)
                made.append(Made(**{**vars(one), "seconds": seconds, "indices": indices, "fps": fps}))
        return without_repeats(made, video["path"])

    def _decoded(self, video: dict[str, Any], plan: dict[str, Any], chosen: tuple[int, ...]) -> list[Any]:
        """As `video_decord` of the fine-tuning scripts, then the frames of the plan where those are others."""
        import decord

        try:
            reader = decord.VideoReader(video["path"], num_threads=1)
            count, fps = len(reader), reader.get_avg_fps()
            wanted = round(count / fps / self._rules["base_interval"])
            wanted = min(max(wanted, self._rules["video_min_frames"]), self._rules["video_max_frames"])
            indices = tuple(np.unique(np.linspace(0, count - 1, wanted, dtype=int)).tolist())
            frames = reader.get_batch(list(indices)).asnumpy()
        except decord.DECORDError as error:
            raise UnreadableMedium(f"{video['path']}: {error}") from None
        temporal = self._numbers["temporal_patch_size"]
        seen = [([], indices, fps, temporal / (len(indices) / (count / fps)), frames)]
        is_asked = plan["has_settings"] or self._rules["video_sampling"] != "interval"
        if is_asked or (count, fps) != (plan["num_frames"], plan["fps"]):
            frames = reader.get_batch(list(chosen)).asnumpy()
            seen.append((["frame_choice"], chosen, plan["fps"], plan["seconds"], frames))
        return seen

    def _frames(self, frames: np.ndarray, limits: dict[str, Any]) -> list[tuple[list[str], np.ndarray, Any]]:
        """(choices, pixel values, grid) of frames (F, H, W, 3)."""
        if self._family.startswith("qwen3"):
            return self._frames_of_qwen3(frames, limits)
        processor = self._processor(Qwen2VLImageProcessor, limits)
        result = processor.preprocess(images=None, videos=frames, return_tensors="np")
        return [([], result["pixel_values_videos"], result["video_grid_thw"])]

    def _frames_of_qwen3(self, frames: np.ndarray, limits: dict[str, Any]) -> list[tuple[list[str], np.ndarray, Any]]:
        """By torchvision, with which its processor resizes; then by Pillow, rows first, to the size of that rule."""
        from transformers.models.qwen3_vl.video_processing_qwen3_vl import Qwen3VLVideoProcessor
        from transformers.models.qwen3_vl.video_processing_qwen3_vl import smart_resize as over_all_frames

        count, height, width = frames.shape[:3]
        least, most = limits["min_pixels"], limits["max_pixels"]
        factor = self._numbers["patch_size"] * self._numbers["merge_size"]
        if limits["over_all_frames"]:
            size = over_all_frames(max(count, 2), height, width, factor=factor, min_pixels=least, max_pixels=most)
        else:
            size = smart_resize(height, width, factor, least, most)
        by_pillow = [
            Image.fromarray(each)
            .resize((size[1], height), Image.Resampling.BICUBIC)
            .resize((size[1], size[0]), Image.Resampling.BICUBIC)
            for each in frames
        ]
        as_it_is = {"min_pixels": 1, "max_pixels": size[0] * size[1]}
        result = self._processor(Qwen2VLImageProcessor, as_it_is).preprocess(
            images=None, videos=np.stack([np.asarray(each) for each in by_pillow]), return_tensors="np"
        )
        made = [(["pillow_resize"], result["pixel_values_videos"], result["video_grid_thw"])]
        if limits["over_all_frames"] and count > 1:
            processor = Qwen3VLVideoProcessor(size={"shortest_edge": least, "longest_edge": most})
            result = processor.preprocess(
                [frames.transpose(0, 3, 1, 2)], do_sample_frames=False, return_metadata=False, return_tensors="pt"
            )
            made.insert(0, ([], np.asarray(result["pixel_values_videos"]), np.asarray(result["video_grid_thw"])))
        return made

    def _processor(self, kind: Any, limits: dict[str, Any]) -> Any:
        return kind(**self._numbers, **{name: limits[name] for name in ("min_pixels", "max_pixels") if name in limits})

    def _made(self, choices: list[str], values: np.ndarray, grids: Any) -> Made:
        """The pixels that the processor's values are of."""
        by_channel = values.reshape(len(values), 3, -1)
        mean, std = (np.array(self._numbers[name])[:, None] for name in ("image_mean", "image_std"))
        levels = np.clip(np.rint((by_channel * std + mean) * 255), 0, 255).astype(np.uint8)
        again = np.stack([self._values[channel][levels[:, channel]] for channel in range(3)], axis=1)
        error = float(np.abs(again - by_channel).max(initial=0))
        t, h, w = np.asarray(grids)[0].tolist()
        return Made(choices=choices, levels=levels.reshape(values.shape), grid_thw=(t, h, w), float_error=error)


def pictures(path: str, rules: dict[str, Any]) -> list[tuple[list[str], Image.Image]]:
    """(choices, RGB) by the usual way, and by that of the specification where it differs. Raises UnreadableMedium."""
    found: list[tuple[list[str], Image.Image]] = []
    try:
        with Image.open(path) as image:
            found.append(([], image.convert("RGB")))
        with Image.open(path) as image:
            choices, chosen = as_specified(image, rules["grey_16"])
    except (OSError, ValueError, SyntaxError) as error:
        if rules["decoder"] != "lenient":
            raise UnreadableMedium(f"{path}: {error}") from None
        ImageFile.LOAD_TRUNCATED_IMAGES = True
        try:
            with Image.open(path) as image:
                choices, chosen = as_specified(image, rules["grey_16"])
            choices.append("lenient")
        except (OSError, ValueError, SyntaxError) as again:
            raise UnreadableMedium(f"{path}: {again}") from None
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = False
    return [*found, (choices, chosen)] if choices else found


def as_specified(image: Image.Image, grey_16: str) -> tuple[list[str], Image.Image]:
    choices: list[str] = []
    if image.getexif().get(ORIENTATION, 1) in range(2, 9):
        image = ImageOps.exif_transpose(image)
        choices.append("exif")
    if image.mode in SIXTEEN_BITS:
        values = np.asarray(image).astype(np.int64)
        largest = values.max()
        shift = 8 if grey_16 == "high_byte" or largest > 4095 else 4 if largest > 255 else 0
        image = Image.fromarray(np.minimum(values >> shift, 255).astype(np.uint8))
        choices.append("grey_16")
    if image.has_transparency_data:
        colours = np.asarray(image.convert("RGBA")).astype(np.int64)
        alpha = colours[..., 3:]
        # Rounded twice, as Pillow's own compositing is.
        sums = colours[..., :3] * alpha + 255 * (255 - alpha) + 128
        image = Image.fromarray(((sums >> 8) + sums >> 8).astype(np.uint8))
        choices.append("transparency")
    return choices, image.convert("RGB")


def without_repeats(made: Sequence[Made], path: str) -> list[Made]:
    """Alternatives that are others than all before them: a choice that changes nothing is none."""
    if not made:
        raise UnreadableMedium(path)
    kept: list[Made] = []
    for each in made:
        if not any(is_same(each, before) for before in kept):
            kept.append(each)
    return kept


def is_same(one: Made, other: Made) -> bool:
    return (one.grid_thw, one.seconds, one.indices) == (
        other.grid_thw,
        other.seconds,
        other.indices,
    ) and np.array_equal(one.levels, other.levels)
