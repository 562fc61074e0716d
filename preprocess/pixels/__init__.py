"""Pixels: Pillow's bicubic filter, several times faster than Pillow and equal to it to the bit.

    JPEG file --jpeg--> pixels as stored
    pixels, image or video frame --resize--> colour planes, or patches in the merger's order

`resize.py` is what others call. It hands the pixels to a C library (`resize.c`, `loops.h`), which `kernel.py` loads,
or to Pillow: where the library was not built, where the processor has no instructions for it, where the variable
QWEN_VL_PIXELS=pillow says so, and where a look at a few small images at the start (`engine.py`) finds a single byte
that differs. Bytes are the same in every case, so none of this is part of the fingerprint; Pillow's version is, since
it is Pillow's arithmetic that is done here. `pixels_line()` says in one line what resizes
and why, `slower_line()` the same in the summary of a run that could be faster; `check_pixels()`, which is `python -m
preprocess doctor`, proves at length that bytes are the same on this machine, and measures both.

Why Pillow's results can be had exactly, and what decides them: the top of `resize.c`.
"""

from preprocess.pixels.check import PixelCheck, check_pixels, pixels_line, slower_line
from preprocess.pixels.jpeg import decode_jpeg, jpeg_content, jpeg_warning
from preprocess.pixels.resize import resize, resize_to_patches, resize_video, turn_and_resize_to_patches

__all__ = [
    "PixelCheck",
    "check_pixels",
    "decode_jpeg",
    "jpeg_content",
    "jpeg_warning",
    "pixels_line",
    "resize",
    "resize_to_patches",
    "resize_video",
    "slower_line",
    "turn_and_resize_to_patches",
]
