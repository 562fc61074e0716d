"""Two thousand broken inputs: nothing good may be lost, nothing bad may pass, nothing may end in a traceback.

    python scripts/bench/proofs/fuzz.py [--quick]

Broken media and records stand among good ones, and every bad one is bad by construction: one run of the command over
all of them; its output must hold no traceback. Then fuzz_folders.py damages what that run wrote, the model and more.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1] / "shared"))

from bench_photos import ROOT, write_model_folder, write_photo
from demo_clips import write_clip

ANSWER = "Shapes with soft edges."
Record = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of everything")
    each = 30 if parser.parse_args().quick else 300
    with tempfile.TemporaryDirectory(prefix="bench-fuzz-") as name:
        folder = Path(name)
        dice = random.Random(0)
        expected = {"media": broken_media(folder, each, dice)}
        expected["array"] = write_records(folder / "array.json", each // 2, BAD_IN_MEANING, dice)
        expected["lines"] = write_records(folder / "lines.jsonl", each // 2, BAD_IN_MEANING + BAD_IN_SYNTAX, dice)
        (folder / "datasets.yaml").write_text(
            "media: {annotation_path: media.json, data_path: media}\n"
            "array: {annotation_path: array.json, data_path: media}\n"
            "lines: {annotation_path: lines.jsonl, data_path: media}\n"
        )
        write_model_folder(folder / "model", [ANSWER])
        output = run(folder)
        wrong = check(folder, expected, output)
        wrong |= damage_folders(folder, 140 if each == 30 else 1400)
    sys.exit(wrong)


def broken_media(folder: Path, count: int, dice: random.Random) -> set[int]:
    """media.json: a record for each broken file, between those of whole ones. Returns the indices that are bad."""
    media = folder / "media"
    media.mkdir()
    write_photo(media / "good.jpg", (320, 240), seed=0)
    write_clip(media / "good.mp4", size=(64, 48), fps=10, num_frames=20, gop=10, b_frames=0)
    sources = {".jpg": (media / "good.jpg").read_bytes(), ".mp4": (media / "good.mp4").read_bytes()}
    records: list[Record] = []
    bad: set[int] = set()
    for number in range(count):
        records.append(talk("good.jpg"))
        suffix = ".mp4" if number // len(DAMAGES) % 3 == 2 else ".jpg"  # each damage under both names
        damage = DAMAGES[number % len(DAMAGES)]
        name = f"bad-{number}{suffix}"
        (media / name).write_bytes(damage(sources[suffix], dice))
        bad.add(len(records))
        records.append(talk(name))
    (folder / "media.json").write_text(json.dumps(records))
    return bad


def talk(medium: str, **changes: Any) -> Record:
    kind = "video" if medium.endswith(".mp4") else "image"
    turns = [{"from": "human", "value": f"<{kind}>What is this?"}, {"from": "gpt", "value": ANSWER}]
    return {kind: medium, "conversations": turns, **changes}


# --- damage to files -------------------------------------------------------------------------------------------------


def truncate(data: bytes, dice: random.Random) -> bytes:
    return data[: dice.randrange(len(data) // 10, len(data) // 2)]


def flip_bits_of_header(data: bytes, dice: random.Random) -> bytes:
    return bytes(byte ^ (dice.randrange(256) | 1) for byte in data[:64]) + data[64:]


def other_content(data: bytes, dice: random.Random) -> bytes:
    """A text under the name of a picture or video."""
    return dice.choice((b"not what the name says\n", b"<html></html>", b"PK\x03\x04")) * 50


def huge_dimensions(data: bytes, dice: random.Random) -> bytes:
    """A PNG header that promises more pixels than anyone wants to decode."""
    side = dice.randrange(40_000, 60_000)
    header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))


def playlist(data: bytes, dice: random.Random) -> bytes:
    """Lists of other files, which FFmpeg would open: a text is no medium, whatever its name."""
    return dice.choice(
        (
            b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n../media/good.mp4\n#EXT-X-ENDLIST\n",
            b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nhttp://127.0.0.1:9/list.m3u8\n",
            b"ffconcat version 1.0\nfile good.mp4\n",
            b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
            b"<?xml version='1.0'?><MPD><BaseURL>good.mp4</BaseURL></MPD>",
        )
    )


def postscript(data: bytes, dice: random.Random) -> bytes:
    """A program, which Pillow would give to Ghostscript."""
    side = dice.randrange(1, 500)
    return b"%%!PS-Adobe-3.0 EPSF-3.0\n%%%%BoundingBox: 0 0 %d %d\n%%%%EndComments\n/x 1 def\nshowpage\n" % (side, side)


def tiny_image(data: bytes, dice: random.Random) -> bytes:
    """Formats that Pillow knows by their first bytes, and that have no pixels."""
    starts = (
        b"BUFR",
        b"GRIB\0\0\0\1",
        b"\x89HDF\r\n\x1a\n",
        b"\xd7\xcd\xc6\x9a\0\0",
        b"\1\0\0\0",
        b"P6 0 0 255\n",
        b"GIF89a",
    )
    return dice.choice(starts) + bytes(dice.randrange(64))


def nothing(data: bytes, dice: random.Random) -> bytes:
    return b""


DAMAGES: list[Callable[[bytes, random.Random], bytes]] = [
    truncate,
    flip_bits_of_header,
    other_content,
    huge_dimensions,
    playlist,
    postscript,
    tiny_image,
    nothing,
]

# --- damage to records -----------------------------------------------------------------------------------------------

HUMAN, GPT = {"from": "human", "value": "Hello?"}, {"from": "gpt", "value": ANSWER}
BAD_IN_MEANING: list[Any] = [
    None,
    7,
    "a text",
    True,
    [],
    {},
    [[1]],
    {"conversations": []},
    {"conversations": None},
    {"conversations": {"from": "human"}},
    {"conversations": [HUMAN]},
    {"conversations": [GPT]},
    {"conversations": [HUMAN, HUMAN, GPT]},
    {"conversations": [HUMAN, GPT, HUMAN]},
    {"conversations": [HUMAN, {"from": "gpt", "value": ""}]},
    {"conversations": [HUMAN, {"from": "gpt", "value": 3}]},
    {"conversations": [HUMAN, {"from": "robot", "value": "hi"}]},
    {"conversations": [HUMAN, {"from": "gpt", "value": "<image>"}], "image": "good.jpg"},
    {"conversations": [HUMAN, GPT], "image": "good.jpg"},
    {"conversations": [{"from": "human", "value": "<image>?"}, GPT]},
    {"conversations": [{"from": "human", "value": "<image>?"}, GPT], "image": "missing.jpg"},
    {"conversations": [{"from": "human", "value": "<image>?"}, GPT], "image": "../out.jpg"},
    {"conversations": [{"from": "human", "value": "<image>?"}, GPT], "image": "/etc/passwd"},
    {"conversations": [{"from": "human", "value": "<image>?"}, GPT], "image": {"path": "good.jpg"}},
    {"conversations": [{"from": "human", "value": "<image>?"}, GPT], "imgae": "good.jpg"},
    {"conversations": [HUMAN, GPT], "messages": [HUMAN, GPT]},
    {"conversations": [HUMAN, {"from": "gpt", "value": "half a pair: \ud83d"}]},
    {"conversations": [HUMAN, {"from": "gpt", "value": "long " * 20_000}]},
]
BAD_IN_SYNTAX = [
    b'{"conversations": [',
    b"{'single': 'quotes'}",
    b"\xff\xfe broken",
    b"nonsense",
    b"[1, 2",
    b'{"a":1}}',
]


def write_records(path: Path, count: int, choices: list[Any], dice: random.Random) -> set[int]:
    """Bad records between good ones, every kind at least once if `count` allows it. Returns the indices of bad ones."""
    lines: list[bytes] = []
    bad: set[int] = set()
    for number in range(count):
        lines.append(json.dumps(talk("good.jpg")).encode())
        choice = choices[number] if number < len(choices) else dice.choice(choices)
        bad.add(len(lines))
        lines.append(choice if isinstance(choice, bytes) else json.dumps(choice).encode())
    is_array = path.suffix == ".json"
    path.write_bytes(b"[" + b",\n".join(lines) + b"]" if is_array else b"\n".join(lines) + b"\n")
    return bad


# --- the run ---------------------------------------------------------------------------------------------------------


def run(folder: Path) -> str:
    shutil.rmtree(folder / "out", ignore_errors=True)
    command = [sys.executable, "-m", "preprocess", "run", "--model", folder / "model", "--output_dir", folder / "out"]
    command += ["--datasets", folder / "datasets.yaml", "--dataset_use", "media,array,lines", "--max_reject_share", "1"]
    done = subprocess.run([str(word) for word in command], cwd=ROOT, capture_output=True, text=True)
    output = done.stdout + done.stderr
    if done.returncode:
        raise SystemExit(f"exit code {done.returncode}:\n{output}")
    return output


def check(folder: Path, expected: dict[str, set[int]], output: str) -> bool:
    from shards import open_shards

    ledger = [json.loads(line) for line in (folder / "out" / "rejects.jsonl").read_text().splitlines()]
    written = [key for pack in open_shards(folder / "out") for key in pack.sample_keys]
    num_bad = sum(map(len, expected.values()))
    wrong = []
    for dataset, bad in expected.items():
        rejected = {entry["index"] for entry in ledger if entry["dataset"] == dataset}
        kept = {int(key.split(":")[1].split(".")[0]) for key in written if key.startswith(f"{dataset}:")}
        wrong += [f"{dataset}:{index} is bad and passed" for index in sorted(bad - rejected)]
        wrong += [f"{dataset}:{index} is good and was rejected" for index in sorted(rejected - bad)]
        wrong += [
            f"{dataset}:{index} is neither written nor in the ledger"
            for index in range(2 * len(bad))
            if index not in kept | rejected
        ]
    reasons: dict[str, int] = {}
    for entry in ledger:
        reasons[entry["reason"]] = reasons.get(entry["reason"], 0) + 1
    print(f"{'reason':22}{'rejected':>9}")
    for reason, number in sorted(reasons.items()):
        print(f"{reason:22}{number:9}")
    if "Traceback" in output:
        wrong.append("the output holds a traceback")
    print("\n".join(wrong) or "nothing good was lost, nothing bad passed")
    rejected = {(entry["dataset"], entry["index"]) for entry in ledger}
    print(json.dumps({"bad": num_bad, "good": num_bad, "written": len(written), "rejected": len(rejected)}))
    return bool(wrong)


def damage_folders(folder: Path, count: int) -> bool:
    """In a process of its own, whose memory and opened files are watched. True where it finds something."""
    script = Path(__file__).with_name("fuzz_folders.py")
    command = [sys.executable, script, folder / "out", folder / "model", count, 0]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([str(word) for word in command], env=environment, capture_output=True, text=True)
    print(done.stdout, end="")
    if done.returncode:
        print(done.stderr)
    return bool(done.returncode) or "finding" in done.stdout


if __name__ == "__main__":
    main()
