"""Who resizes: the library where it equals Pillow, else Pillow, and the summary says why."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import preprocess.pixels.engine
import preprocess.pixels.kernel
from preprocess.errors import ConfigError
from preprocess.pixels.check import check_pixels, pixels_line, slower_line
from preprocess.pixels.engine import engine, first_difference
from preprocess.pixels.kernel import VARIABLE, Kernel
from preprocess.pixels.passes import by_pillow
from preprocess.pixels.resize import resize

pytestmark = pytest.mark.usefixtures("fresh_engine")
IMAGE = Image.effect_noise((300, 200), 90).convert("RGB")
SIZE = (56, 84)


def test_the_environment_may_ask_for_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "pillow")
    assert engine().kernel is None
    assert f"{VARIABLE}=pillow" in pixels_line()
    assert slower_line() == pixels_line()
    np.testing.assert_array_equal(resize(IMAGE, SIZE), by_pillow(IMAGE, SIZE))


def test_the_environment_may_ask_for_loops(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, kernel.loops)
    assert engine().kernel == kernel
    assert kernel.loops in pixels_line()


@pytest.mark.parametrize("value", ["Pillow", "sse9"])
def test_an_unknown_wish_is_an_error(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, value)
    with pytest.raises(ConfigError, match=f"{VARIABLE}={value}: it may be pillow, avx512-vbmi"):
        engine()


def test_a_wish_for_what_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(preprocess.pixels.kernel, "library_path", lambda: tmp_path / "none.so")
    monkeypatch.setenv(VARIABLE, "avx2")
    with pytest.raises(ConfigError, match="QWEN_VL_PIXELS=avx2: the C library was not built"):
        engine()


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "was not built"), (b"of another machine", "can't be loaded")], ids=["none", "broken"]
)
def test_without_a_library_pillow_resizes(
    content: bytes | None, reason: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "library.so"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(preprocess.pixels.kernel, "library_path", lambda: path)
    assert reason in pixels_line()
    assert "takes several times as long" in pixels_line()
    np.testing.assert_array_equal(resize(IMAGE, SIZE), by_pillow(IMAGE, SIZE))
    checked = check_pixels(3)
    assert (checked.trials, checked.kernel_ms) == (0, None)


def test_a_library_that_differs_is_not_used(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, kernel.loops)
    monkeypatch.setattr(preprocess.pixels.engine, "is_columns_first", lambda source, size: source[0] < 60)
    assert engine().kernel is None
    assert "its bytes differ from Pillow's (" in pixels_line()
    np.testing.assert_array_equal(resize(IMAGE, SIZE), by_pillow(IMAGE, SIZE))


@pytest.mark.parametrize("order", ["never", "12.2", "13"])
def test_the_look_at_the_start_tells_the_versions_of_pillow_apart(
    kernel: Kernel, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = {"never": "12.1.0", "12.2": "12.2.0", "13": "13.0.0"}
    import PIL

    installed = PIL.__version__
    release = tuple(map(int, installed.split(".")[:2]))
    same = "13" if release >= (13, 0) else "12.2" if release >= (12, 2) else "never"
    assert not first_difference(kernel)
    monkeypatch.setattr(PIL, "__version__", versions[order])
    assert bool(first_difference(kernel)) == (order != same)


def test_a_check_compares_and_measures(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, kernel.loops)
    found = check_pixels(20)
    assert (found.trials, found.different) == (20, 0)
    assert found.values > 100_000
    assert found.kernel_ms is not None
    assert 0 < found.kernel_ms < found.pillow_ms


def test_a_check_finds_a_difference(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, kernel.loops)
    assert engine().kernel is not None
    monkeypatch.setattr(preprocess.pixels.engine, "is_columns_first", lambda source, size: True)
    assert check_pixels(20).different > 0
