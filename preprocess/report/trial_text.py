"""A `Trial` in lines: for a terminal, and above its page."""

from __future__ import annotations

from collections.abc import Iterator

from preprocess.media.store import describe
from preprocess.report.terminal import note_in_words
from preprocess.report.trial import Trial
from preprocess.sample import MeasuredImage, MeasuredVideo, Turn
from shards import ModelConstants
from shards.files.text import visible
from shards.look.show import Marks, transcript
from shards.look.transcript import Transcriber
from shards.segments import cut_segments

_MOST_KEYS, _LONGEST_KEY = 20, 40
_MOST_TURNS = 12


def trial_lines(trial: Trial, constants: ModelConstants) -> list[tuple[str, str]]:
    """(what, the words for it) of everything but the text that the model reads."""
    lines = [("form", trial.form or "none was recognised"), ("keys", _named(trial.keys))]
    if trial.read is not None:
        if trial.read.ignored_keys:
            lines.append(("ignored", _named(tuple(dict.fromkeys(trial.read.ignored_keys)))))
        lines += [("note", note_in_words(note, 1)) for note in trial.read.notes]
        turns = trial.read.sample.turns
        lines += [(turn.role, _turn_words(turn)) for turn in turns[:_MOST_TURNS]]
        if len(turns) > _MOST_TURNS:
            lines.append(("", f"and {len(turns) - _MOST_TURNS:,} more turns"))
    measured = trial.measured
    if measured is not None:
        lines += [(f"image {n}", _image_words(image, constants)) for n, image in enumerate(measured.images)]
        lines += [(f"video {n}", _video_words(video, constants)) for n, video in enumerate(measured.videos)]
        lines.append(
            (
                "in all",
                f"{measured.num_tokens:,} tokens, {measured.num_label_tokens:,} of them supervised; "
                f"{measured.num_patches:,} patches",
            )
        )
    elif trial.read is not None:
        sample = trial.read.sample
        lines += [(f"image {number}", describe(source)) for number, source in enumerate(sample.images)]
        lines += [(f"video {number}", describe(source)) for number, source in enumerate(sample.videos)]
    if trial.error is not None:
        lines.append(("reject", f"{trial.error.reason.value}: {trial.error.detail}"))
    return lines


def trial_text(trial: Trial, constants: ModelConstants, transcriber: Transcriber, marks: Marks) -> str:
    """Everything, with the text that the model reads as `shards show` shows it."""
    lines = [visible(trial.key)]
    lines += [f"  {what:<10} {visible(words)}" for what, words in trial_lines(trial, constants)]
    if trial.pack is not None:
        lines.append(f"  what the model reads; {marks.supervised[0]}supervised{marks.supervised[1]}")
        for segment in cut_segments(trial.pack, constants):
            lines += transcript(transcriber.pieces(trial.pack, segment), marks)
    return "\n".join(lines)


def _named(keys: tuple[str, ...]) -> str:
    shown = [key if len(key) <= _LONGEST_KEY else f"{key[:_LONGEST_KEY]}..." for key in keys[:_MOST_KEYS]]
    return (
        ", ".join([*shown, *([f"and {len(keys) - _MOST_KEYS:,} others"] if len(keys) > _MOST_KEYS else [])]) or "none"
    )


def _turn_words(turn: Turn) -> str:
    is_answer = turn.role in ("assistant", "call")
    learned = "" if not is_answer else ", learned" if turn.is_trained else ", not learned"
    return f"{len(turn.text):,} characters{learned}"


def _image_words(image: MeasuredImage, constants: ModelConstants) -> str:
    return f"{describe(image.source)}: {image.height:,} x {image.width:,} pixels (height x width), " + "".join(
        _resized(image.grid_thw, constants)
    )


def _video_words(video: MeasuredVideo, constants: ModelConstants) -> str:
    sampled = len(video.frame_indices)
    return (
        f"{describe(video.source)}: {video.num_frames:,} frames of {video.height:,} x {video.width:,} pixels at "
        f"{video.fps:g} a second, {video.num_frames / video.fps:.1f} s; {sampled:,} sampled, "
        + "".join(_resized(video.grid_thw, constants))
    )


def _resized(grid_thw: tuple[int, int, int], constants: ModelConstants) -> Iterator[str]:
    t, h, w = grid_thw
    yield f"resized to {h * constants.patch_size:,} x {w * constants.patch_size:,}, "
    yield f"grid {t} x {h} x {w} -> {constants.num_visual_tokens(t * h * w):,} tokens"
