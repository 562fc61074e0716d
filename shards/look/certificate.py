"""The certificate of a dataset: certificate.json and certificate.html beside the manifest.

It has two halves, of data (`python -m preprocess certify`) and of the model (`python -m train certify`). Whoever writes
one keeps the other, if that is of the same manifest.

| field of a half | says |
| --- | --- |
| num_unexplained | differences that no choice of the specification explains: 0, or the certificate is none |
| rows | how many of what were compared, of how many something differs by choice, of how many unexplained |
| versions | of both sides |
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from shards.files.atomic import write_atomically
from shards.files.names import CERTIFICATE_NAME, CERTIFICATE_PAGE_NAME
from shards.look.page import render
from shards.look.readable import counted
from shards.manifest import Manifest

Half = Literal["data", "model"]
_MOST_LINES = 10  # of differences, on a terminal
CHOICES = {  # what a certificate calls the specification's choices -> in words
    "exif": "images are turned as their EXIF orientation says",
    "transparency": "transparent images are laid on white",
    "grey_16": "grey of 16 bits is taken by the range of its values",
    "png_chunks": "large texts and profiles of PNG files are skipped",
    "lenient": "decoder: lenient reads files without their end",
    "pillow_resize": "resized with Pillow's filter, not torchvision's",
    "video_decoding": "the decoder's frames are up to 2 of 255 off",
    "fused_normalisation": "torchvision's processor rescales and normalises in one step",
    "frame_choice": "the frames of the plan, by its count, or as the record asks for",
    "from_the_start": "frames are those of decoding from the start, where seeking gives others",
    "frame_list": "pictures taken as the frames of a video",
    "header_encoding": "header and content of a turn are encoded apart, as generation sees them",
    "special_as_text": "special tokens in texts are text",
    "labels": "answers left out of training, or the newline after them",
    "seconds_per_grid": "a video's seconds are kept, where transformers casts them to an integer",
    "tools": "tools are spelled as in Qwen2.5; the reference got them so",
    "boxes": "coordinates follow the resized image; the reference got them so",
}


def write_certificate(folder: Path, manifest: Manifest, half: Half, section: dict[str, Any]) -> dict[str, Any]:
    """Put one half into the certificate of the dataset in `folder`; the whole of it. Raises OSError."""
    path = folder / CERTIFICATE_NAME
    certificate: dict[str, Any] = {"fingerprint": manifest.fingerprint, "model": None, "data": None}
    if path.is_file():
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            before = {}
        if before.get("fingerprint") == manifest.fingerprint:
            certificate |= before
    certificate[half] = section
    write_atomically(path, json.dumps(certificate, indent=1) + "\n")
    page = render("certificate.html", folder=str(folder), certificate=certificate, choices=CHOICES)
    write_atomically(folder / CERTIFICATE_PAGE_NAME, page)
    return certificate


def table(section: dict[str, Any]) -> list[str]:
    """A half of a certificate for the terminal."""
    wide = max(24, *(len(row["what"]) + 2 for row in section["rows"]))
    lines = [f"{'':{wide}}{'compared':>10}{'equal':>10}{'by choice':>11}{'unexplained':>13}"]
    for row in section["rows"]:
        equal = row["total"] - row["explained"] - row["unexplained"]
        numbers = f"{row['total']:>10,}{equal:>10,}{row['explained']:>11,}{row['unexplained']:>13,}"
        lines.append(f"{row['what']:{wide}}{numbers}")
    for name, number in section.get("choices", {}).items():
        lines.append(f"  {name}: {counted(number, 'sample')}: {CHOICES[name]}")
    bad = [each for each in section.get("differences", []) if not each["choices"]]
    for each in bad[:_MOST_LINES]:
        lines.append(f"  UNEXPLAINED {each['key']} {each['part']}, {each['what']}: {each['detail']}")
    if len(bad) > _MOST_LINES:
        lines.append(f"  and {len(bad) - _MOST_LINES:,} more")
    return lines
