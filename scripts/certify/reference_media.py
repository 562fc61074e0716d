"""Pixels as Hugging Face's processor makes them, and with the specification's choices applied before it.

| choice | what the processor's usual callers do | what the specification does |
| --- | --- | --- |
| exif | nothing | turns the image as its EXIF orientation says |
| transparency | drops the alpha channel | lays the image on white |
| grey_16 | clips 16 bits at 255 | takes the high bits, by the range of the values |
| png_chunks | refuses PNG files with large texts or profiles | skips these |
| lenient | refuses files without their end | `decoder: lenient` reads them |
| pillow_resize | resizes with torchvision (where asked; all videos of Qwen3-VL) | resizes with Pillow's filter |
| frame_choice | other frames, by its own count or rule | the frames of the plan |
| from_the_start | seeks for frames, and gets others in some files | takes those of decoding from the start |
| frame_list | has no list of frames | takes pictures as frames |
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import reference_torchvision  # noqa: F401  # before transformers
from PIL import Image, ImageFile, PngImagePlugin
from transformers import logging
from transformers.image_utils import ChannelDimension
from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor, smart_resize

ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I;16N", "I")
Image.MAX_IMAGE_PIXELS = None  # what is too large was refused before
with suppress(ImportError):
    from pillow_heif import register_heif_opener

    register_heif_opener()
logging.set_verbosity_error()  # it warns that videos have a processor of their own now


class UnreadableMedium(Exception):
    """The reference has nothing to compare with."""

    part = ""  # which medium of its sample


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
            from transformers.models.qwen2_vl.image_processing_qwen2_vl_fast import Qwen2VLImageProcessorFast

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
        """As `video_decord` of the fine-tuning scripts; then the frames of the plan, by seeking and from the start."""
        import decord

        path, temporal = video["path"], self._numbers["temporal_patch_size"]
        seen: list[Any] = []
        indices = chosen
        choices = ["frame_choice"]
        with suppress(decord.DECORDError):
            reader = decord.VideoReader(path, num_threads=1)
            count, fps = len(reader), reader.get_avg_fps()
            indices = self._sampled(count, fps)
            seconds = temporal / (len(indices) / (count / fps))
            seen.append(([], indices, fps, seconds, reader.get_batch(list(indices)).asnumpy()))
            if not plan["has_settings"] and (count, fps) == (plan["num_frames"], plan["fps"]):
                choices = []
            else:
                frames = reader.get_batch(list(chosen)).asnumpy()
                seen.append((choices, chosen, plan["fps"], plan["seconds"], frames))
        if choices:
            indices, seconds, fps = chosen, plan["seconds"], plan["fps"]
        for decode in (by_decord, by_pyav):
            try:
                frames = decode(path, indices)
            except (decord.DECORDError, OSError, ValueError):
                continue
            is_known = any(each[1] == indices and np.array_equal(each[4], frames) for each in seen)
            seen.append(([*choices, "from_the_start"], indices, fps, seconds, frames))
            if is_known:
                break
        if not seen:
            raise UnreadableMedium(f"{path}: neither decord nor PyAV decodes its frames")
        return seen

    def _sampled(self, count: int, fps: float) -> tuple[int, ...]:
        """As the scripts choose frames, or Qwen3-VL's processor."""
        rules = self._rules
        least, most = rules["video_min_frames"], rules["video_max_frames"]
        if rules["video_sampling"] == "qwen3":
            from transformers.models.qwen3_vl.video_processing_qwen3_vl import Qwen3VLVideoProcessor
            from transformers.video_utils import VideoMetadata

            processor = Qwen3VLVideoProcessor(fps=rules["video_rate"], min_frames=least, max_frames=most)
            return tuple(processor.sample_frames(VideoMetadata(total_num_frames=count, fps=fps)).tolist())
        wanted = min(max(round(count / fps / rules["base_interval"]), least), most)
        return tuple(np.unique(np.linspace(0, count - 1, wanted, dtype=int)).tolist())

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


def by_decord(path: str, indices: Sequence[int]) -> np.ndarray:
    """Frames by their numbers, decoded from the start: seeking gives others in some files."""
    import decord

    reader = decord.VideoReader(path, num_threads=1)
    frames = (reader.next() for _ in range(max(indices) + 1))
    return np.stack([frame.asnumpy() for number, frame in enumerate(frames) if number in indices])


def by_pyav(path: str, indices: Sequence[int]) -> np.ndarray:
    """The same for files that decord gives up on."""
    import av

    found: list[np.ndarray] = []
    with av.open(path) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number in indices:
                turns = round(frame.rotation / 90) % 4  # counterclockwise, as np.rot90 turns
                found.append(np.rot90(frame.to_ndarray(format="rgb24"), turns))
            if number >= max(indices):
                break
    if len(found) < len(indices):
        raise ValueError(f"{path} has fewer frames")
    return np.stack(found)


def pictures(path: str, rules: dict[str, Any]) -> list[tuple[list[str], Image.Image]]:
    """(choices, RGB) by the usual way, and by that of the specification where it differs. Raises UnreadableMedium."""
    found: list[tuple[list[str], Image.Image]] = []
    ways: list[tuple[list[str], Any]] = [([], nullcontext), (["png_chunks"], any_chunks)]
    ways += [(["lenient"], without_end)] if rules["decoder"] == "lenient" else []
    for number, (names, way) in enumerate(ways):
        try:
            with way():
                if not number:
                    with Image.open(path) as image:
                        found.append(([], image.convert("RGB")))
                with Image.open(path) as image:
                    choices, chosen = as_specified(image, rules["grey_16"])
        except Exception as error:  # Pillow's plugins raise a dozen kinds
            if number == len(ways) - 1:
                raise UnreadableMedium(f"{path}: {error}") from None
            continue
        choices = [*names, *choices]
        return [*found, (choices, chosen)] if choices else found
    raise AssertionError("the last way returns or raises")


@contextmanager
def any_chunks() -> Iterator[None]:
    before = PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY
    PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = 1 << 30
    try:
        yield
    finally:
        PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY = before


@contextmanager
def without_end() -> Iterator[None]:
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = False


def as_specified(image: Image.Image, grey_16: str) -> tuple[list[str], Image.Image]:
    choices: list[str] = []
    image.load()
    turn = TURNS.get(orientation_of(image))
    if turn is not None:
        image = image.transpose(turn)
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


def orientation_of(image: Image.Image) -> Any:
    """1 where the EXIF can't be read. (`ImageOps.exif_transpose` fails where any of its fields is broken.)"""
    try:
        return image.getexif().get(ORIENTATION, 1)
    except Exception:  # of half a dozen kinds
        return 1


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
