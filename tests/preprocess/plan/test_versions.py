"""Which software is held to determine bytes, and which to determine patches."""

from __future__ import annotations

import platform

import pytest

from preprocess.plan.versions import versions, versions_of_patches


def test_patches_depend_on_decoders_but_not_on_the_text_or_the_file_format() -> None:
    now = versions()
    assert all(value for name, value in now.items() if name != "pillow_heif")  # an extra
    assert now.keys() - versions_of_patches({**now, "mindspore": "2.7"}).keys() == {"tokenizers", "pyarrow"}
    assert "mindspore" not in versions_of_patches({**now, "mindspore": "2.7"})


def test_patches_depend_on_the_kind_of_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    here = versions()
    monkeypatch.setattr(platform, "machine", lambda: "aarch64" if here["machine"] != "aarch64" else "x86_64")
    assert versions_of_patches(versions()) != versions_of_patches(here)
