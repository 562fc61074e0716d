"""Media in base64 are read from where they stand in their annotations, whatever those look like, or rejected."""

from __future__ import annotations

import base64
import json
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from preprocess.errors import FatalError, Reason, SampleError
from preprocess.media.store import check_unchanged, describe, open_medium, reveal, stamp_of
from preprocess.media.values import inline
from preprocess.media.values.inline import InlineMedium, payload_of
from preprocess.read.annotations import make_index, open_annotations
from preprocess.sample import MediaSource
from tests.preprocess.workshop import Workshop, talk

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
JPEG = b"\xff\xd8\xff\xe0" + b"\xff\xff\xfe" * 40  # many slashes
TEXTS = {each: base64.b64encode(each).decode() for each in (PNG, JPEG)}


def uri(content: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{TEXTS[content]}"


RECORDS: list[Any] = [
    {"image": "a.png"},
    {"image": uri(PNG), "more": ["图", {"deep": TEXTS[JPEG]}]},
    {"images": [uri(JPEG), uri(PNG), "b.png"], "messages": [{"content": [{"image_url": {"url": uri(JPEG, "")}}]}]},
    {"images": [uri(JPEG)]},
]


def as_lines(records: list[Any]) -> str:
    return "\n".join(json.dumps(record, ensure_ascii=False) for record in records)


def as_array(records: list[Any]) -> str:
    return "\ufeff" + json.dumps(records, ensure_ascii=False, indent=1)


def escaped_slashes(records: list[Any]) -> str:
    return as_lines(records).replace("/", "\\/")


def escaped_signs(records: list[Any]) -> str:
    return as_lines(records).replace("=", "\\u003d")


def contents(value: Any) -> Any:
    """With bytes for the media in it."""
    if isinstance(value, dict):
        return {key: contents(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return list(map(contents, value))
    source = reveal(value)
    if not isinstance(source, MediaSource):
        return source
    with open_medium(source) as file:
        return file.read()


EXPECTED = [
    {"image": "a.png"},
    {"image": PNG, "more": ["图", {"deep": JPEG}]},
    {"images": [JPEG, PNG, "b.png"], "messages": [{"content": [{"image_url": {"url": JPEG}}]}]},
    {"images": [JPEG]},
]


@pytest.mark.parametrize("write", [as_lines, as_array, escaped_slashes, escaped_signs])
@pytest.mark.parametrize("is_indexed", [False, True])
def test_media_are_placed_in_json(tmp_path: Path, write: Callable[[list[Any]], str], is_indexed: bool) -> None:
    path = tmp_path / "a.json"
    path.write_text(write([*RECORDS, *[{"n": "0"}] * 200, *RECORDS]), encoding="utf-8")
    file = open_annotations(path, make_index(path) if is_indexed else None)
    records = list(file)
    assert contents(records[:4]) == contents(records[-4:]) == EXPECTED
    assert isinstance(records[1]["image"], InlineMedium)
    assert uri(PNG) not in repr(records)
    start = file.checkpoint(203)
    assert (start == 128) is is_indexed
    assert contents(list(file.read_from(start))[-4:]) == EXPECTED


def test_media_in_json_in_a_text_are_placed(tmp_path: Path) -> None:
    inner = [{"type": "image", "image": uri(JPEG)}, {"text": "[x] 图"}]
    records = [{"messages": json.dumps(inner)}, {"messages": json.dumps([{"text": ";base64,"}])}, {"x": "[;base64,"}]
    path = tmp_path / "a.jsonl"
    for text in (as_lines(records), escaped_slashes(records)):
        path.write_text(text, encoding="utf-8")
        first, *others = list(open_annotations(path))
        assert contents(first) == {"messages": [{"type": "image", "image": JPEG}, inner[1]]}
        assert others == records[1:]  # no media: as they are


def test_media_in_csv_are_placed(tmp_path: Path) -> None:
    cells = [TEXTS[PNG], '"' + json.dumps([{"image": uri(JPEG)}]).replace('"', '""') + '"']
    (tmp_path / "a.csv").write_text(f'text,image,messages\n"two\nlines",{",".join(cells)}\n,b.png,\n')
    first, second = list(open_annotations(tmp_path / "a.csv"))
    assert contents(first) == {"text": "two\nlines", "image": PNG, "messages": [{"image": JPEG}]}
    assert second == {"text": None, "image": "b.png", "messages": None}


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"image": TEXTS[PNG]}, {"image": PNG}),
        ({"images": ["a.png", TEXTS[JPEG]]}, {"images": ["a.png", JPEG]}),
        ([{"n": "0"}, {"image": TEXTS[JPEG]}], [{"n": "0"}, {"image": JPEG}]),
    ],
)
def test_bare_base64_is_found_without_any_uri(tmp_path: Path, record: Any, expected: Any) -> None:
    path = tmp_path / "a.jsonl"
    for text in (as_lines([record, {}]), escaped_slashes([record, {}]), as_array([record, {}])):
        path.write_text(text)
        assert contents(list(open_annotations(path))) == [expected, {}]


def test_base64_in_lines_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    for text in (
        "\n".join(textwrap.wrap(TEXTS[PNG], 76)),
        "data:;base64," + "\r\n".join(textwrap.wrap(TEXTS[PNG], 60)),
    ):
        path.write_text(json.dumps({"image": text}))
        assert contents(list(open_annotations(path))) == [{"image": PNG}]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a.png",
        "/9j/a.png",
        "/9j/" + "a" * 59,  # too short
        "/9j/" + "a" * 80 + "/b.png",
        "/9j/" + "folder/" * 20 + "图",
        "iVBORw0KGgo is how a PNG begins in base64, and this is a text that says so",
        "data:image/png,%89PNG",
        "data:image/png;base64",
        "x data:image/png;base64,iVBORw0KGgo=",
    ],
)
def test_other_texts_are_no_media(text: str) -> None:
    assert payload_of(text) is None


@pytest.mark.parametrize(
    ("text", "reason", "expected"),
    [
        ("data:image/png;base64,", Reason.UNDECODABLE, "it is empty"),
        ("data:image/png;base64,a", Reason.UNDECODABLE, "it is no base64"),
        ("data:image/png;base64,aGk=aGk=", Reason.UNDECODABLE, "it is no base64"),
        ("data:image/png;base64,é", Reason.UNDECODABLE, "it is no base64"),
        ("/9j/" + "a" * 81, Reason.UNDECODABLE, "it is no base64"),
        (f"data:;base64,{'a' * 200}", Reason.UNSUPPORTED_LOCATION, "200 characters, at most 100; write it to a file"),
    ],
)
def test_what_can_not_be_read_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, reason: Reason, expected: str
) -> None:
    monkeypatch.setattr(inline, "MOST_BYTES", 100)
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"image": text}))
    [record] = list(open_annotations(path))
    with pytest.raises(SampleError) as raised:
        reveal(record["image"])
    assert raised.value.reason == reason
    assert expected in raised.value.detail


def test_characters_that_are_escaped_in_another_way_are_a_reject(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(as_lines([{"image": uri(PNG)}]).replace(TEXTS[PNG][0], f"\\u{ord(TEXTS[PNG][0]):04x}"))
    [record] = list(open_annotations(path))
    with pytest.raises(SampleError, match="escaped in an unknown way"):
        reveal(record["image"])


def test_a_source_is_the_medium_that_was_measured_or_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(as_lines([{"image": uri(PNG)}]))
    [record] = list(open_annotations(path))
    source = reveal(record["image"])
    assert describe(source) == f"{path} (base64 at byte 33)"
    stamp = stamp_of(source)
    check_unchanged(source, stamp, "d:0")
    path.write_text(as_lines([{"image": uri(PNG)}]).replace("iVBOR", "iVBOX"))
    with pytest.raises(FatalError, match="the annotation file changed; run again with --overwrite"):
        open_medium(source)
    path.write_text("")
    with pytest.raises(FatalError, match="the annotation file changed"):
        open_medium(source)
    with pytest.raises(FatalError, match="when it was planned"):
        check_unchanged(source, stamp, "d:0")
    path.unlink()
    with pytest.raises(FatalError, match="No such file"):
        open_medium(source)


def test_a_run_with_media_in_its_annotations_is_that_with_files(workshop: Workshop) -> None:
    names = [workshop.image("a.png", (56, 84)), workshop.image("b.png", (84, 84), "blue")]
    texts = {name: base64.b64encode((workshop.media / name).read_bytes()).decode() for name in names}
    files = [talk("<image><image>", images=[*names]), talk("<image>", image=names[1]), talk()]
    held = [
        talk("<image><image>", images=[f"data:image/png;base64,{texts[name]}" for name in names]),
        talk("<image>", image=texts[names[1]]),
        talk(),
    ]
    packs = []
    for suffix, records in ((".jsonl", files), (".json", held), (".jsonl", held)):
        workshop.dataset(records, suffix=suffix)
        outcome = workshop.run("--packing=none", out=f"{len(packs)}")
        assert outcome.code == 0, outcome.out
        packs.append([(pack.input_ids.tolist(), pack.image_patches.tobytes()) for pack in outcome.packs])
    assert packs[0] == packs[1] == packs[2]
    plan = sum(path.stat().st_size for path in (outcome.folder / "plan" / "samples").iterdir())
    assert texts[names[0]].encode() not in (outcome.folder / "plan" / "samples" / "part-000000.arrow").read_bytes()
    assert plan < 20_000
    reused = workshop.run("--packing=none", f"--reuse={outcome.folder}", out="again")
    assert "reused 3 of 3 images" in reused.out
