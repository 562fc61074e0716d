"""Pixels: Pillow's bicubic filter, several times faster than Pillow and equal to it to the bit.

    JPEG, PNG, WebP file --direct--> pixels as stored    (`jpeg.py`, `png.py`, `webp.py`)
    pixels, image or video frame --resize--> colour planes, or patches in the merger's order

`resize.py` is what others call. It hands the pixels to a C library (`resize.c`, `loops.h`), which `kernel.py` loads,
or to Pillow: where the library was not built, where the processor has no instructions for it, where the variable
QWEN_VL_PIXELS=pillow says so, and where a look at a few small images at the start (`engine.py`) finds a single byte
that differs. Bytes are the same in every case, so none of this is part of the fingerprint; Pillow's version is, since
it is Pillow's arithmetic that is done here.

`direct.py` takes plain files of three formats from Pillow, which has opened them by then and judged their headers:
they are decoded into memory that is used again (`buffer.py`), without Pillow's copies. A few small files at the start
must have Pillow's pixels there, too, and whatever is odd or wrong is left to Pillow, which alone decides what is a
reject.

| format | module | by | why it is faster |
| --- | --- | --- | --- |
| JPEG | `jpeg.py` | simplejpeg's libjpeg-turbo | no copies |
| PNG | `png.py` | zlib-ng, or zlib; `unfilter.c` | a better inflate; rows are unfiltered while they are in the cache |
| WebP | `webp.py` | Pillow's own libwebp, its plain decoder | Pillow takes each for an animation |

`pixels_line()` says in one line what resizes and decodes and why, `slower_line()` the same in the summary of a run that
could be faster; `check_pixels()`, which is `python -m preprocess doctor`, proves at length that bytes are the same on
this machine, and measures both.

Why Pillow's results can be had exactly, and what decides them: the top of `resize.c`.
"""

from preprocess.pixels.check import PixelCheck, check_pixels, pixels_line, slower_line
from preprocess.pixels.direct import DirectFile, choose_decoders, decode_directly, direct_file
from preprocess.pixels.jpeg import jpeg_warning
from preprocess.pixels.resize import resize, resize_to_patches, resize_video, turn_and_resize_to_patches

__all__ = [
    "DirectFile",
    "PixelCheck",
    "check_pixels",
    "choose_decoders",
    "decode_directly",
    "direct_file",
    "jpeg_warning",
    "pixels_line",
    "resize",
    "resize_to_patches",
    "resize_video",
    "slower_line",
    "turn_and_resize_to_patches",
]
