"""Which software is held to determine bytes, and which to determine patches."""

from __future__ import annotations

from preprocess.plan.versions import versions, versions_of_patches


def test_patches_depend_on_decoders_but_not_on_the_text_or_the_file_format() -> None:
    now = versions()
    assert all(value for name, value in now.items() if name != "pillow_heif")  # an extra
    assert now.keys() - versions_of_patches({**now, "mindspore": "2.7"}).keys() == {"tokenizers", "pyarrow"}
    assert "mindspore" not in versions_of_patches({**now, "mindspore": "2.7"})
