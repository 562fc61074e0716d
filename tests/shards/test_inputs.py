"""The file format, and the version of what writes it, are the only inputs that a conversion changes."""

from __future__ import annotations

from importlib.metadata import version

from shards.inputs import with_format, without_format

ARROW = {"config": {"seed": 1, "format": "arrow"}, "versions": {"pillow": "12"}}


def test_mindspore_is_an_input_of_mindrecord_alone() -> None:
    mindrecord = with_format(ARROW, "mindrecord")
    assert mindrecord["versions"] == {"pillow": "12", "mindspore": version("mindspore")}
    assert with_format(mindrecord, "arrow") == ARROW
    assert without_format(mindrecord) == without_format(ARROW)


def test_pyarrow_is_named_again_where_its_zstd_determines_bytes() -> None:
    compressed = with_format(with_format(ARROW, "mindrecord"), "arrow_zstd")
    assert compressed["config"]["format"] == "arrow_zstd"
    assert compressed["versions"] == {"pillow": "12", "zstd_of_pyarrow": version("pyarrow")}
    assert with_format(compressed, "arrow") == ARROW
    assert without_format(compressed) == without_format(ARROW)


def test_inputs_without_versions_get_none() -> None:
    assert with_format({"config": {}}, "mindrecord") == {"config": {"format": "mindrecord"}}
