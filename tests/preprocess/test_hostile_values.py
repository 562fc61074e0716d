"""Values that want what is not theirs: each is one reject, and nothing outside of data_path is opened."""

from __future__ import annotations

import base64
import json
import os
import struct
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.preprocess.workshop import Workshop, talk

LONG = 10_000_000
_watched: list[str] = []  # folders; empty: nothing is watched
_opened: list[str] = []


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if _watched and event in ("open", "os.listdir", "os.scandir") and isinstance(arguments[0], str | bytes):
        path = os.path.realpath(os.fsdecode(arguments[0]))
        if any(path == folder or path.startswith(f"{folder}/") for folder in _watched):
            _opened.append(path)


sys.addaudithook(_watch)


@pytest.fixture
def outside(workshop: Workshop) -> Iterator[Path]:
    """A folder beside the media with a good image in it, which nobody may open; a link leads there."""
    folder = workshop.root / "outside"
    folder.mkdir()
    workshop.image("secret.png")
    (workshop.media / "secret.png").rename(folder / "secret.png")
    os.symlink(folder, workshop.media / "link")
    os.symlink(folder / "secret.png", workshop.media / "link.png")
    os.mkfifo(workshop.media / "pipe.png")
    (workshop.media / "list.png").write_text(f"#EXTM3U\n{folder}/secret.png\n")
    _watched.append(str(folder))
    yield folder
    _watched.clear()
    _opened.clear()


def bomb() -> str:
    """The header of a PNG of 100,000 x 100,000 pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    chunks = (header, b"IDAT" + zlib.compress(b"\0" * 100), b"IEND")
    parts = (struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks)
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"".join(parts)).decode()


def uri(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def hostile(outside: Path) -> list[tuple[Any, str]]:
    return [
        ("../outside/secret.png", "path_outside"),
        (f"{outside}/secret.png", "path_outside"),
        ("a/../../outside/secret.png", "path_outside"),
        ("..%2Foutside%2fsecret.png", "path_outside"),
        ("%2e%2e/outside/secret.png", "path_outside"),
        ("%252e%252e%252foutside%252fsecret.png", "missing_file"),
        ("..\\outside\\secret.png", "path_outside"),
        ("..%5coutside%5csecret.png", "missing_file"),
        (f"file://{outside}/secret.png", "path_outside"),
        (f"file://localhost{outside}/secret.png", "path_outside"),
        (f"file:///..{outside}/secret.png", "path_outside"),
        ("file://server/outside/secret.png", "unsupported_location"),
        ("link/secret.png", "path_outside"),
        ("link.png", "path_outside"),
        ("LINK/SECRET.PNG", "path_outside missing_file"),
        ("\u2025/outside/secret.png", "missing_file"),  # two dots, to some
        ("..\uff0foutside\uff0fsecret.png", "missing_file"),  # a slash, to some
        ("$HOME/secret.png", "missing_file"),
        ("~/secret.png", "missing_file"),
        ("http://169.254.169.254/secret.png", "unsupported_location"),
        ("https://x.org/" + "a" * LONG, "unsupported_location"),
        ("s3://bucket/secret.png", "unsupported_location"),
        (f"archive:{outside}/secret.png", "missing_file"),
        (f"inline:{outside}/secret.png", "missing_file"),
        ("a\0.png", "missing_file"),
        ("\ud800.png", "missing_file"),
        ("x" * 300 + ".png", "missing_file"),
        ("x" * LONG, "missing_file"),
        ("é" * 2_000_000, "missing_file"),
        (".", "missing_file undecodable"),
        ("pipe.png", "missing_file"),
        ("list.png", "undecodable"),
        (uri(b"<html>"), "undecodable"),
        (uri(f"#EXTM3U\n{outside}/secret.png\n".encode()), "undecodable"),
        ("data:image/png;base64,%2e%2e", "undecodable"),
        ("data:image/png;base64," + "A" * (LONG + 1), "undecodable"),
        (f"data:image/svg+xml,<svg><image href='{outside}/secret.png'/></svg>", "unsupported_location"),
        (bomb(), "decompression_bomb"),
        ("/9j/" + "A" * LONG, "undecodable"),
        (5, "bad_json"),
        (True, "bad_json"),
        ({"path": f"{outside}/secret.png"}, "bad_json"),
        ([["../outside/secret.png"]], "bad_json"),
    ]


@pytest.mark.parametrize("options", [{}, {"path_case": "ignore"}], ids=str)
def test_each_is_a_reject_and_nothing_outside_is_opened(
    workshop: Workshop, outside: Path, options: dict[str, str]
) -> None:
    values = hostile(outside)
    assert len(values) >= 20
    workshop.dataset([*(talk("<image>", image=value) for value, _ in values), talk()], follow_links=False, **options)
    outcome = workshop.run("--max_reject_share=1")
    assert outcome.code == 0
    assert outcome.keys == [f"d:{len(values)}"]
    rejects = {reject["index"]: reject for reject in outcome.rejects}
    for index, (value, reasons) in enumerate(values):
        assert rejects[index]["reason"] in reasons.split(), (str(value)[:100], rejects[index])
        assert len(rejects[index]["detail"]) <= 300
    assert _opened == []
    assert (outcome.folder / "rejects.jsonl").stat().st_size < 30_000
    assert len(outcome.out) < 10_000


def test_the_watch_sees_what_is_opened(workshop: Workshop, outside: Path) -> None:
    workshop.dataset([talk("<image>", image="link/secret.png")])
    assert workshop.run().code == 0
    assert f"{outside}/secret.png" in _opened


@pytest.mark.parametrize("name", ["/dev/zero", "/proc/self/mem", "/proc/self/environ", "/dev/stdin", "/sys/kernel"])
def test_absolute_paths_of_no_plain_files_are_rejects(workshop: Workshop, name: str) -> None:
    workshop.dataset([talk("<image>", image=f"file://{name}"), talk("<image>", image=name)], data_path=None)
    outcome = workshop.run("--max_reject_share=1")
    assert [reject["reason"] for reject in outcome.rejects] == ["missing_file"] * 2


def test_a_hundred_media_in_base64_that_are_none_take_no_room(workshop: Workshop) -> None:
    broken = base64.b64encode(b"\xff\xd8\xff\xe0" + bytes(800_000)).decode()
    records = [talk("<image>", image=text) for text in (broken, f"data:image/jpeg;base64,{broken}")] * 50
    (workshop.root / "d.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    workshop.register("d", workshop.root / "d.jsonl")
    outcome = workshop.run("--max_reject_share=1")
    assert len(outcome.rejects) == 100
    written = sum(path.stat().st_size for path in outcome.folder.rglob("*") if path.is_file())
    assert written < 200_000
    assert len(outcome.out) < 5_000


@pytest.mark.parametrize("options", [{"follow_links": False}, {"follow_links": False, "path_case": "ignore"}], ids=str)
def test_no_video_nor_folder_of_frames_outside_is_looked_at(
    workshop: Workshop, outside: Path, options: dict[str, Any]
) -> None:
    values = [value for value, _ in hostile(outside) if isinstance(value, str) and len(value) < 1000]
    folders = ["../outside", str(outside), f"file://{outside}", "..%2foutside", "link", "LINK", "..", "/", "~", "$HOME"]
    videos = [*values, *folders, [folders[0]], [f"{outside}/secret.png"], ["link/secret.png"] * 4]
    workshop.dataset([*(talk("<video>", video=value) for value in videos), talk()], **options)
    outcome = workshop.run("--max_reject_share=1")
    assert outcome.keys == [f"d:{len(videos)}"]
    assert _opened == []
