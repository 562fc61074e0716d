"""Every reject reason, through a whole run: the bad record is named in the ledger, the others are written.

Crash and timeout of a decoder are in test_executor.py.
"""

from __future__ import annotations

import json
import os
import struct
import wave
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from demo_clips import cut_file, write_clip
from PIL import Image

from preprocess.errors import Reason
from tests.preprocess.workshop import Outcome, Workshop, published, talk


@dataclass(frozen=True)
class Case:
    """A record that must be rejected, written as a line of JSON where it is text."""

    reason: Reason
    make: Callable[[Workshop], Any]
    detail: tuple[str, ...]
    flags: tuple[str, ...] = ()
    boxes: str | None = None  # as the registry says
    planned: bool = True  # False: headers don't tell, the sample is lost while decoding


# --- media that are wrong ------------------------------------------------------------------------------------------


def corrupt_jpeg(workshop: Workshop) -> Any:
    (workshop.media / "corrupt.jpg").write_bytes(b"\xff\xd8\xff\xe0 this is no picture")
    return talk("<image>", image="corrupt.jpg")


def truncated_jpeg(workshop: Workshop) -> Any:
    return talk("<image>", image=workshop.truncated_image())


def zero_byte_image(workshop: Workshop) -> Any:
    (workshop.media / "empty.png").touch()
    return talk("<image>", image="empty.png")


def zero_byte_video(workshop: Workshop) -> Any:
    (workshop.media / "empty.mp4").touch()
    return talk("<video>", video="empty.mp4")


def text_as_video(workshop: Workshop) -> Any:
    (workshop.media / "notes.mp4").write_text("no video at all\n" * 100)
    return talk("<video>", video="notes.mp4")


def thin_image(workshop: Workshop) -> Any:
    return talk("<image>", image=workshop.image("thin.png", (1, 300)))


def bomb(workshop: Workshop) -> Any:
    """A PNG of 68 bytes whose header claims 400 megapixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(b""))
    (workshop.media / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + data + chunk(b"IEND", b""))
    return talk("<image>", image="bomb.png")


def sound_only(workshop: Workshop) -> Any:
    with wave.open(str(workshop.media / "sound.mp4"), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(8000))
    return talk("<video>", video="sound.mp4")


def video_cut_short(workshop: Workshop) -> Any:
    write_clip(workshop.media / "whole.mp4", size=(112, 84), fps=10, num_frames=40, faststart=True)
    cut_file(workshop.media / "whole.mp4", workshop.media / "cut.mp4", keep=0.6)
    return talk("<video>", video="cut.mp4")


def file_outside(workshop: Workshop) -> Any:
    Image.new("RGB", (56, 56)).save(workshop.root / "secret.png")
    return talk("<image>", image="../secret.png")


def ends_with_the_user(_: Workshop) -> Any:
    turns = [{"from": ("human", "gpt")[n % 2], "value": f"turn {n}"} for n in range(11)]
    system = {"from": "system", "value": "Be brief."}
    return {"conversations": [system, *turns]}


CASES = {
    "a line that is no JSON": Case(
        Reason.BAD_JSON, lambda w: '{"conversations": [', ("d.jsonl line 2", "Expecting value at character 20")
    ),
    "a value of the wrong type": Case(
        Reason.BAD_JSON, lambda w: talk(image={"a": 1}), ("each image must be a path; one is an object",)
    ),
    "limits of a single image": Case(
        Reason.UNSUPPORTED,
        lambda w: {
            "messages": [
                {"role": "user", "content": [{"type": "image", "image": w.image(), "resized_width": 784}]},
                {"role": "assistant", "content": "A picture."},
            ]
        },
        ("resized_width", "turn 0"),
    ),
    "a misspelled key": Case(Reason.UNKNOWN_KEYS, lambda w: talk(imgae="a.png"), ("'imgae'", "'image'")),
    "no turns": Case(Reason.NO_TURNS, lambda w: {"conversations": []}, ("neither `conversations` nor `messages`",)),
    "12 turns that end with the user": Case(
        Reason.ROLE_ORDER, ends_with_the_user, ("the last of 12 turns is the user's",)
    ),
    "a tag too many": Case(
        Reason.TAG_COUNT, lambda w: talk("<image><image>", image=w.image()), ("2 <image> tags for 1 images",)
    ),
    "a tag in an answer": Case(
        Reason.MISPLACED_TAG, lambda w: talk("Hi", "<image>", image=w.image()), ("turn 1 is assistant's",)
    ),
    "a missing image": Case(
        Reason.MISSING_FILE, lambda w: talk("<image>", image="b/missing.png"), ("/media/b/missing.png: No such file",)
    ),
    "a missing video": Case(
        Reason.MISSING_FILE, lambda w: talk("<video>", video="missing.mp4"), ("/media/missing.mp4: No such file",)
    ),
    "a folder as an image": Case(
        Reason.MISSING_FILE, lambda w: talk("<image>", image="."), ("/media is not a regular file",)
    ),
    "a corrupt image": Case(Reason.UNDECODABLE, corrupt_jpeg, ("/media/corrupt.jpg: ",)),
    "a truncated image": Case(
        Reason.UNDECODABLE, truncated_jpeg, ("/media/truncated.jpg: ", "truncated"), planned=False
    ),
    "an empty image": Case(Reason.UNDECODABLE, zero_byte_image, ("/media/empty.png: ",)),
    "an empty video": Case(Reason.UNDECODABLE, zero_byte_video, ("/media/empty.mp4: ",)),
    "text as a video": Case(Reason.UNDECODABLE, text_as_video, ("/media/notes.mp4: ",)),
    "a thin image": Case(Reason.ASPECT_RATIO, thin_image, ("/media/thin.png: 1x300 pixels", "more than 200 times")),
    "a decompression bomb": Case(Reason.DECOMPRESSION_BOMB, bomb, ("/media/bomb.png: ", "400000000 pixels")),
    "a video without frames": Case(Reason.NO_FRAMES_OR_RATE, sound_only, ("/media/sound.mp4: no video stream",)),
    "a video cut short": Case(
        Reason.TOO_FEW_FRAMES,
        video_cut_short,
        ("/media/cut.mp4: frame 39 is promised, but only", "video_tail: clamp"),
        planned=False,
    ),
    "a long text": Case(Reason.TOO_LONG, lambda w: talk("long " * 400), ("tokens, pack_length is 256", "raise it")),
    "too many patches": Case(
        Reason.TOO_MANY_PATCHES,
        lambda w: talk("<image>", image=w.image(size=(112, 112))),
        ("64 patches, pack_patches is 24",),
        flags=("--pack_patches=24",),
    ),
    "an empty answer": Case(Reason.NOTHING_TO_LEARN, lambda w: talk(answer=""), ("every answer is empty",)),
    "a box of two images": Case(
        Reason.AMBIGUOUS_BOXES,
        lambda w: talk("<image><image>", '{"bbox_2d": [1, 2, 3, 4]}', images=[w.image(), w.image("b.png")]),
        ("turn 1", '"bbox_2d" needs one image_index, from 0 to 1; it has 0'),
        boxes="original",
    ),
    "a medium on the web": Case(
        Reason.UNSUPPORTED_LOCATION,
        lambda w: talk("<image>", image="https://x.org/a.png"),
        ("'https://x.org/a.png' is not on this machine; download it first",),
    ),
    "a path outside": Case(
        Reason.PATH_OUTSIDE, file_outside, ("'../secret.png' leaves data_path", "/media; move the file")
    ),
    "an absolute path outside": Case(
        Reason.PATH_OUTSIDE, lambda w: talk("<image>", image="/etc/passwd"), ("'/etc/passwd' leaves data_path",)
    ),
}


def run_with(workshop: Workshop, bad: Any, *flags: str, boxes: str | None = None) -> Outcome:
    good = talk("<image> What is this?", image=workshop.image("good.png"))
    workshop.dataset([good])
    path = workshop.root / "d.jsonl"
    line = path.read_text()
    workshop.dataset([bad], boxes=boxes)
    path.write_text(line + (bad + "\n" if isinstance(bad, str) else path.read_text()) + line)
    return workshop.run("--max_reject_share=0.5", *flags)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_bad_record_is_rejected_and_the_others_are_written(workshop: Workshop, case: Case) -> None:
    outcome = run_with(workshop, case.make(workshop), *case.flags, boxes=case.boxes)
    assert outcome.code == 0, outcome.err
    [reject] = outcome.rejects
    assert [key for key in reject if key != "text"] == ["dataset", "index", "reason", "detail"]
    assert (reject["dataset"], reject["index"], reject["reason"]) == ("d", 1, case.reason.value)
    for part in case.detail:
        assert part in reject["detail"]
    assert outcome.keys == ["d:0", "d:2"]
    assert outcome.manifest.datasets["d"].rejects == {case.reason.value: 1}
    assert outcome.plan.rejects == ({"d": {case.reason.value: 1}} if case.planned else {})
    assert f"rejects: 1 of 3 samples (33.3%): {case.reason.value} 1" in outcome.out.splitlines()


def test_every_reason_of_the_vocabulary_has_its_case() -> None:
    decoder_process, archives = {Reason.CRASH, Reason.TIMEOUT}, {Reason.AMBIGUOUS_PATH}
    assert {case.reason for case in CASES.values()} == set(Reason) - decoder_process - archives


def test_the_good_samples_are_as_if_the_bad_one_were_not_there(workshop: Workshop) -> None:
    outcome = run_with(workshop, talk("<image>", image="missing.png"))
    [pack] = outcome.packs
    [alone] = workshop.run("--max_reject_share=1", "--dataset_use=d", out="alone").packs
    np.testing.assert_array_equal(pack.input_ids, alone.input_ids)
    one, two = np.split(pack.input_ids, pack.cu_seqlens[1:-1])
    np.testing.assert_array_equal(one, two)


def test_a_run_with_many_rejects_finishes_with_exit_code_1(workshop: Workshop) -> None:
    outcome = run_with(workshop, talk("<image>", image="missing.png"), "--max_reject_share=0.3")
    assert outcome.code == 1
    assert outcome.error == (
        "preprocess: 33.3% of the samples were rejected, more than max_reject_share (30.0%); mend them and "
        "begin in a new folder, or raise it if "
        "that is acceptable"
    )
    assert outcome.keys == ["d:0", "d:2"]


def test_the_default_share_is_a_tenth(workshop: Workshop) -> None:
    workshop.dataset([talk()] * 9 + [talk(answer="")])
    assert workshop.run().code == 0
    workshop.dataset([talk()] * 9 + [talk(answer="")] * 2)
    assert workshop.run(out="more").code == 1


def test_a_repeated_sample_is_rejected_once(workshop: Workshop) -> None:
    workshop.dataset([talk(), truncated_jpeg(workshop)])
    outcome = workshop.run("--dataset_use=d%300", "--max_reject_share=1")
    assert [(reject["index"], reject["reason"]) for reject in outcome.rejects] == [(1, "undecodable")]
    assert outcome.keys == ["d:0", "d:0#1", "d:0#2"]
    assert "differs from the plan: 3 samples" in outcome.out


def test_rejects_stand_in_the_order_of_the_annotations(workshop: Workshop) -> None:
    lost_late, lost_early = truncated_jpeg(workshop), talk(answer="")
    pack = [talk(), lost_late, lost_early]
    workshop.dataset([lost_early, lost_late, pack, lost_early, talk(), lost_late], name="b")
    workshop.dataset([lost_late, lost_early, talk()], name="a")
    outcome = workshop.run("--max_reject_share=1")
    places = [(reject["dataset"], reject["index"], reject.get("member")) for reject in outcome.rejects]
    assert places == [
        *[("b", 0, None), ("b", 1, None), ("b", 2, 1), ("b", 2, 2), ("b", 3, None), ("b", 5, None)],
        *[("a", 0, None), ("a", 1, None)],
    ]
    assert outcome.manifest.datasets["b"].rejects == {"nothing_to_learn": 3, "undecodable": 3}
    assert outcome.keys == ["a:2", "b:2.0", "b:4"]


# --- runs in which nothing is left ---------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".parquet"])
def test_an_annotation_file_without_records(workshop: Workshop, suffix: str) -> None:
    workshop.dataset([], suffix=suffix)
    outcome = workshop.run()
    assert outcome.code == 1
    assert "no sample is left" in outcome.error
    assert outcome.rejects == []
    assert not (outcome.folder / "manifest.json").exists()


def test_a_run_in_which_every_sample_is_rejected_by_the_plan(workshop: Workshop) -> None:
    workshop.dataset([talk(answer=""), talk("<image>")])
    outcome = workshop.run()
    assert outcome.code == 1
    assert outcome.error == f"preprocess: no sample is left; {outcome.folder}/rejects.jsonl says why"
    assert [reject["reason"] for reject in outcome.rejects] == ["nothing_to_learn", "tag_count"]
    assert not (outcome.folder / "manifest.json").exists()


def test_a_run_in_which_no_sample_can_be_decoded(workshop: Workshop) -> None:
    workshop.dataset([truncated_jpeg(workshop)] * 2)
    outcome = workshop.run()
    assert outcome.plan.num_packs == 1
    assert outcome.code == 1
    assert "no sample is left" in outcome.error
    assert [reject["reason"] for reject in outcome.rejects] == ["undecodable"] * 2
    assert not list(outcome.folder.glob("*.arrow"))
    assert not (outcome.folder / "manifest.json").exists()


def test_a_plan_in_which_nothing_is_left_says_so(workshop: Workshop) -> None:
    workshop.dataset([talk(answer="")])
    outcome = workshop.command("plan", *workshop.flags())
    assert outcome.code == 1
    assert "no sample is left" in outcome.error


# --- odd input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("record", [None, "text", 5, 2**70, True, [], {}, [[talk()]], [None], ["x"]])
def test_a_record_of_another_kind_is_a_reject(workshop: Workshop, record: Any) -> None:
    workshop.dataset([talk(), record], suffix=".json")
    outcome = workshop.run("--max_reject_share=1")
    assert outcome.code == 0
    [reject] = outcome.rejects
    assert reject["index"] == 1
    assert reject["reason"] in {"bad_json", "no_turns"}
    assert outcome.keys == ["d:0"]


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_a_record_nested_too_deeply_for_a_worker_is_a_reject_with_and_without_one(
    workshop: Workshop, suffix: str
) -> None:
    path = workshop.root / f"d{suffix}"
    texts = [json.dumps(talk()), json.dumps(talk())[:-1] + f', "deep": {"[" * 900}{"]" * 900}}}']
    path.write_text(f"[{', '.join(texts)}]" if suffix == ".json" else "\n".join(texts))
    workshop.register("d", path)
    alone, with_worker = (workshop.run(f"--workers={n}", "--max_reject_share=1", out=f"out{n}") for n in (0, 1))
    assert alone.keys == ["d:0"]
    assert [(reject["index"], reject["reason"]) for reject in alone.rejects] == [(1, "bad_json")]
    assert published(alone.folder) == published(with_worker.folder)


def test_half_a_surrogate_pair_anywhere_reaches_the_ledger(workshop: Workshop) -> None:
    bad = "\udce9\ud800"  # the other way round they would be one character
    workshop.dataset(
        [
            talk(bad),
            talk(answer=bad),
            talk("<image>", image=f"{bad}.png"),
            talk("<video>", video=f"{bad}.mp4"),
            {"conversations": [{"from": bad, "value": "Hi"}]},
            talk(**{bad: bad}),  # a key that is ignored
            talk(**{"image\ud800": 1}),
        ]
    )
    outcome = workshop.run("--max_reject_share=1")
    assert outcome.code == 0, outcome.err
    reasons = ["bad_json", "bad_json", "missing_file", "missing_file", "role_order", "unknown_keys"]
    assert [reject["reason"] for reject in outcome.rejects] == reasons
    assert outcome.keys == ["d:5"]
    assert "ignored keys: \\udce9\\ud800 (1)" in outcome.out.splitlines()


def test_a_file_name_that_is_not_utf_8_is_a_reject_even_where_the_file_exists(workshop: Workshop) -> None:
    workshop.image("a.png")
    name = b"caf\xe9.png"
    (workshop.media / "a.png").rename(Path(str(workshop.media)) / name.decode("utf-8", "surrogateescape"))
    workshop.dataset([talk(), talk("<image>", image="caf\udce9.png")])
    outcome = workshop.run("--max_reject_share=1")
    [reject] = outcome.rejects
    assert reject["reason"] == "missing_file"
    assert "'caf\\udce9.png' is not UTF-8; rename the file or folder" in reject["detail"]


def test_unicode_and_spaces_in_all_names(workshop: Workshop) -> None:
    image = workshop.image("数据 集/é\u200d😀 \n.png")
    workshop.dataset([talk("<image>", image=image), talk("<image>", image="缺.png")], name="名前 1")
    outcome = workshop.run("--max_reject_share=1")
    assert outcome.code == 0
    assert outcome.keys == ["名前 1:0"]
    assert outcome.packs[0].sample_keys == ("名前 1:0",)
    assert "缺.png" in outcome.rejects[0]["detail"]


def test_a_failing_disk_stops_the_run_and_rejects_nothing(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    workshop.dataset([talk(), talk("<image>", image=workshop.image())])
    real_open = os.open

    def failing_open(path: Any, *arguments: Any, **options: Any) -> Any:
        if str(path).endswith("a.png"):
            raise OSError(5, "Input/output error", str(path))
        return real_open(path, *arguments, **options)

    monkeypatch.setattr(os, "open", failing_open)
    outcome = workshop.run("--max_reject_share=1")
    assert outcome.code == 1
    assert outcome.error.startswith("preprocess: stopped: ")
    assert "a.png" in outcome.error
    assert "the disk or machine failed, not this sample: mend it and run again" in outcome.error
    assert not list(outcome.folder.rglob("rejects.jsonl"))
    assert not (outcome.folder / "manifest.json").exists()
    monkeypatch.undo()
    mended = workshop.run("--max_reject_share=1")
    assert (mended.code, mended.rejects, mended.keys) == (0, [], ["d:0", "d:1"])


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_goes_away_after_the_plan_stops_the_run_and_is_no_reject(workshop: Workshop, workers: int) -> None:
    workshop.dataset([talk(), talk("<image>", image=workshop.image())])
    finished = workshop.run(f"--workers={workers}")
    written = published(finished.folder)
    for name in ("manifest.json", "shard-000000.arrow", "plan/done/shard-000000.json"):
        (finished.folder / name).unlink()
    image = workshop.media / "a.png"
    image.rename(image.with_suffix(".elsewhere"))
    stopped = workshop.run(f"--workers={workers}", "--max_reject_share=1")
    assert stopped.code == 1
    assert stopped.error.startswith(f"preprocess: stopped: d:1: {image}: No such file or directory; it was ")
    assert not (stopped.folder / "manifest.json").exists()
    image.with_suffix(".elsewhere").rename(image)
    assert workshop.run(f"--workers={workers}").code == 0
    assert published(finished.folder) == written
