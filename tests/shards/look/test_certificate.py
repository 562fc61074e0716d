"""Two halves, written by two programs, are one certificate of one manifest."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shards import Manifest
from shards.look.certificate import table, write_certificate
from tests.shards.datasets import make_manifest

ROWS = [{"what": "images", "total": 5, "explained": 1, "unexplained": 2}]
SECTION: dict[str, Any] = {
    "num_samples": 3,
    "num_tokens": 1234,
    "num_values": 5678,
    "rows": ROWS,
    "choices": {"exif": 1},
    "num_unexplained": 2,
    "differences": [
        {"key": "d:0", "part": "image 0", "what": "pixels", "choices": ["exif"], "detail": "turned"},
        {"key": "d:<1>", "part": "image 0", "what": "pixels", "choices": [], "detail": "1 value"},
    ],
    "pictures": [],
    "template": "the model folder's",
    "versions": {"this project": {"numpy": "1"}, "reference": {"torch": "2"}},
    "against": "pil",
    "draw": 0,
}
MODEL: dict[str, Any] = {
    "what": "A tiny model of the family.",
    "rows": ROWS,
    "num_unexplained": 0,
    "largest": [{"what": "packed against separate", "value": 1e-7, "bound": 1e-5}],
    "versions": {"this project": {"mindspore": "2"}},
}


@pytest.fixture
def manifest() -> Manifest:
    return make_manifest()


def test_each_half_keeps_the_other(tmp_path: Path, manifest: Manifest) -> None:
    write_certificate(tmp_path, manifest, "data", SECTION)
    whole = write_certificate(tmp_path, manifest, "model", MODEL)
    assert (whole["data"], whole["model"]) == (SECTION, MODEL)
    assert json.loads((tmp_path / "certificate.json").read_text(encoding="utf-8")) == whole
    page = (tmp_path / "certificate.html").read_text(encoding="utf-8")
    assert "2 unexplained differences" in page
    assert "No unexplained difference" in page
    assert "d:&lt;1&gt;" in page


def test_what_was_found_of_another_manifest_is_dropped(tmp_path: Path, manifest: Manifest) -> None:
    write_certificate(tmp_path, manifest, "data", SECTION)
    other = replace(manifest, fingerprint="0" * 64)
    assert write_certificate(tmp_path, other, "model", MODEL)["data"] is None


def test_a_damaged_certificate_is_written_anew(tmp_path: Path, manifest: Manifest) -> None:
    (tmp_path / "certificate.json").write_text("{", encoding="utf-8")
    assert write_certificate(tmp_path, manifest, "data", SECTION)["data"] == SECTION


def test_the_table_names_choices_and_what_is_unexplained() -> None:
    lines = table(SECTION)
    assert lines[1].split() == ["images", "5", "2", "1", "2"]
    assert lines[2].startswith("  exif: 1 sample: ")
    assert lines[3] == "  UNEXPLAINED d:<1> image 0, pixels: 1 value"
    assert len(lines) == 4
