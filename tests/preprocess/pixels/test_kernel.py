"""The C library equals Pillow in every value, with each set of loops that the processor has."""

from __future__ import annotations

import ctypes
import mmap
import shutil

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from preprocess.pixels.check import trials
from preprocess.pixels.engine import resize_by
from preprocess.pixels.kernel import LOOPS, Axis, Kernel, library_path, load, wanted_loops
from preprocess.pixels.passes import by_pillow

SIDES = st.one_of(st.integers(1, 8), st.integers(1, 300))
PAGE = mmap.PAGESIZE


def test_the_library_is_built_where_there_is_a_compiler() -> None:
    if shutil.which("gcc") or shutil.which("cc"):
        assert library_path().exists(), "run: python setup.py build_ext --inplace"


@settings(derandomize=True, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.tuples(SIDES, SIDES), st.tuples(SIDES, SIDES), st.sampled_from([0, 3, 4]), st.integers(0, 99), st.booleans())
@example((990, 2), (56, 28), 4, 0, False)  # columns first from Pillow 12.2 on
@example((140, 90), (28, 84), 3, 0, True)  # columns first in Pillow 13
@example((1, 1), (1, 1), 0, 0, True)
@example((1, 65_500), (28, 56), 4, 0, True)
@example((65_500, 1), (1, 28), 0, 0, True)
def test_every_value_is_pillows(
    kernel: Kernel, source: tuple[int, int], size: tuple[int, int], channels: int, seed: int, is_grainy: bool
) -> None:
    shape = (*source, channels) if channels else source
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    if is_grainy:
        pixels = np.where(pixels < 128, np.uint8(0), np.uint8(255))
    planes = resize_by(kernel, pixels, size)
    if planes is not None:
        np.testing.assert_array_equal(planes, by_pillow(pixels, size))


@pytest.mark.parametrize("channels", [0, 3, 4])
def test_any_ratio_of_widths_is_pillows(kernel: Kernel, channels: int) -> None:
    """Loops that take several output pixels at a time do so up to some ratio."""
    rng = np.random.default_rng(channels)
    for width in (*range(85, 700, 13), *range(250, 300, 2), *range(490, 560, 2)):
        pixels = rng.integers(0, 256, (9, width, channels) if channels else (9, width), dtype=np.uint8)
        planes = resize_by(kernel, pixels, (9, 84))
        if planes is not None:
            np.testing.assert_array_equal(planes, by_pillow(pixels, (9, 84)), str(width))


def test_most_sizes_are_left_to_the_library(kernel: Kernel) -> None:
    assert sum(resize_by(kernel, pixels, size) is None for pixels, size in trials(100, seed=0, largest=200)) <= 2


def test_grey_images_are_resized_once(kernel: Kernel) -> None:
    planes = resize_by(kernel, np.zeros((50, 60), np.uint8), (28, 28))
    assert planes is not None
    assert planes[0] is planes[1] is planes[2]


@pytest.mark.parametrize(("size_in", "size_out"), [(2400, 812), (3, 1000), (812, 2400), (100, 99)])
def test_weights_are_those_that_pillow_uses(kernel: Kernel, size_in: int, size_out: int) -> None:
    """Pillow sums integers of 32 bits with the same weights, so an image of impulses shows them."""
    axis = kernel.axis(size_in, size_out)
    first, weights = axis.arrays
    ours = np.zeros((size_out, size_in), np.int32)
    for row, start, values in zip(ours, first, weights, strict=True):
        row[start : start + axis.taps] = values
    impulses = np.eye(size_in, dtype=np.int32) << 22
    theirs = Image.fromarray(impulses).resize((size_out, size_in), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(ours, np.asarray(theirs).T)


def test_weights_in_the_middle_of_two_integers_are_left_to_pillow(kernel: Kernel) -> None:
    """One in some hundred sizes has a weight that is an odd multiple of 2**-23, but for 2e-14 of it."""
    assert not kernel.axis(2371, 28).is_certain
    assert kernel.axis(2372, 28).is_certain
    assert resize_by(kernel, np.zeros((28, 2371), np.uint8), (28, 28)) is None


@pytest.mark.parametrize("channels", [0, 3, 4])
@pytest.mark.parametrize(
    ("source", "size"),
    [((5, 7), (28, 28)), ((64, 3), (28, 28)), ((28, 31), (28, 28)), ((80, 95), (56, 28)), ((8, 310), (28, 56))],
)
def test_nothing_is_read_behind_the_last_pixel(
    kernel: Kernel, channels: int, source: tuple[int, int], size: tuple[int, int]
) -> None:
    """The pixels end where a page begins that can't be read; reading it would end the process."""
    shape = (*source, channels) if channels else source
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    num_pages = -(-pixels.nbytes // PAGE)
    with mmap.mmap(-1, (num_pages + 1) * PAGE) as memory:
        guarded = at_the_end(memory, num_pages * PAGE, pixels)
        libc, address = ctypes.CDLL(None), guarded.ctypes.data + guarded.nbytes
        assert libc.mprotect(ctypes.c_void_p(address), PAGE, 0) == 0
        planes = resize_by(kernel, guarded, size)
        assert libc.mprotect(ctypes.c_void_p(address), PAGE, mmap.PROT_READ | mmap.PROT_WRITE) == 0
        del guarded
    np.testing.assert_array_equal(planes, by_pillow(pixels, size))


def at_the_end(memory: mmap.mmap, end: int, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    moved = np.frombuffer(memory, np.uint8, pixels.nbytes, end - pixels.nbytes).reshape(pixels.shape)
    moved[:] = pixels
    return moved


def test_both_sides_know_the_same_structures(kernel: Kernel) -> None:
    """A wrong field would be read as a size or a pointer; so the size of an axis stands in its own fields."""
    axis = kernel.axis(90, 28)
    assert isinstance(axis, Axis)
    assert (axis.size_in, axis.size_out, axis.taps) == (90, 28, axis.arrays[1].shape[1])


def test_each_kernel_keeps_its_loops(kernel: Kernel) -> None:
    others = [other for name in LOOPS if isinstance(other := load(name), Kernel) and name != kernel.loops]
    assert kernel.address not in {other.address for other in others}
    assert kernel.library.pixels_name(kernel.address).decode() == kernel.loops


def test_loops_of_another_processor_are_not_there() -> None:
    assert isinstance(load("none such"), str)


def test_no_wish_means_the_fastest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QWEN_VL_PIXELS", "")
    assert wanted_loops() is None
