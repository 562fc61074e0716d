"""What doctor says, and that its exit code tells a machine whose bytes differ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import PIL
import pytest

from preprocess.cli import commands, doctor
from preprocess.pixels import PixelCheck
from tests.preprocess.workshop import Workshop, talk

EQUAL = PixelCheck(line="who resizes", trials=500, values=2_000, different=0, pillow_ms=30.0, kernel_ms=3.0)


def says(found: PixelCheck) -> Callable[[], PixelCheck]:
    return lambda: found


def test_doctor_proves_the_bytes_and_names_speeds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(commands, "check_pixels", says(EQUAL))
    assert commands.main(["doctor"]) == 0
    printed = capsys.readouterr().out
    assert f"pillow {PIL.__version__}" in printed
    assert "who resizes\n0 of 2,000 values differ" in printed
    assert "30.0 ms by Pillow, in 3.0 ms by the C library (10.0 times as fast)" in printed


def test_bytes_that_differ_make_the_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(commands, "check_pixels", says(replace(EQUAL, different=7)))
    assert commands.main(["doctor"]) == 1
    assert "7 of 2,000 values differ" in capsys.readouterr().out


def test_without_the_library_nothing_is_compared() -> None:
    lines = doctor.pixels_lines(replace(EQUAL, trials=0, values=0, kernel_ms=None))
    assert lines[1].startswith("nothing to compare")


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_PACKAGES", ("numpy", "no-such-package"))
    assert "no-such-package (not installed)" in doctor.versions_lines()[1]


def test_doctor_takes_no_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.main(["doctor", "out"]) == 2
    assert "usage: python -m preprocess doctor" in capsys.readouterr().err


def test_a_run_says_where_pixels_take_the_slower_way(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    workshop.dataset([talk()])
    monkeypatch.setattr(commands, "slower_line", lambda: None)
    quick = workshop.run()
    monkeypatch.setattr(commands, "slower_line", lambda: "slowly, since there is no compiler")
    slow = workshop.run("--overwrite=true")
    assert (quick.code, slow.code) == (0, 0)
    assert "slowly" not in quick.out
    assert slow.out.endswith("slowly, since there is no compiler\n")
