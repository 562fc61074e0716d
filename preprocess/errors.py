"""What can go wrong, and how far it reaches.

    SampleError(reason, detail)   one sample can't be used: it goes to the reject ledger, everything else goes on
    FatalError                    the run can't go on; nothing is published
    ├── ConfigError               wrong flag, file or value: exit 2, nothing was written
    └── AnnotationError           an annotation file that can't be read as a whole: exit 2

Anything else is a bug and ends the run with its traceback; in a worker process, as a WorkerBug.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path


class Reason(StrEnum):
    """The fixed vocabulary of the reject ledger."""

    BAD_JSON = "bad_json"  # a record that does not parse, or has values of the wrong type
    UNKNOWN_KEYS = "unknown_keys"  # a near miss of a known key
    UNSUPPORTED = "unsupported"  # a record asks for what is not done here
    NO_TURNS = "no_turns"
    ROLE_ORDER = "role_order"
    TAG_COUNT = "tag_count"  # <image>/<video> tags unequal to the media given
    MISPLACED_TAG = "misplaced_tag"  # a media tag in an answer or a system turn
    MISSING_FILE = "missing_file"
    UNDECODABLE = "undecodable"
    AMBIGUOUS_BOXES = "ambiguous_boxes"  # which pixels a box means can't be told
    ASPECT_RATIO = "aspect_ratio"
    DECOMPRESSION_BOMB = "decompression_bomb"
    NO_FRAMES_OR_RATE = "no_frames_or_rate"
    TOO_FEW_FRAMES = "too_few_frames"  # fewer decodable than the header promised
    CRASH = "crash"
    TIMEOUT = "timeout"
    TOO_LONG = "too_long"
    TOO_MANY_PATCHES = "too_many_patches"
    NOTHING_TO_LEARN = "nothing_to_learn"
    PATH_OUTSIDE = "path_outside"
    AMBIGUOUS_PATH = "ambiguous_path"  # it fits several members of archives, or several files but for their case
    UNSUPPORTED_LOCATION = "unsupported_location"  # a URL, or another place that is not read


class SampleError(Exception):
    """This sample can't be used. `detail` names the file or value and says what is wrong with it."""

    def __init__(self, reason: Reason, detail: str, medium: str | None = None) -> None:
        super().__init__(reason, detail)  # both as args: it is pickled on its way out of a worker
        self.reason = reason
        self.detail = detail
        self.medium = medium  # which of the sample's media is at fault, as messages call it; None where none is

    def __str__(self) -> str:
        return f"{self.reason.value}: {self.detail}"


class FatalError(Exception):
    """The run can't go on; the message says what to do."""


class ConfigError(FatalError):
    pass


class AnnotationError(FatalError):
    pass


class WorkerBug(Exception):
    """A worker process met an exception that is our fault; the message is its traceback."""


def disk_error(error: OSError) -> str:
    """What to say where the output can't be written, or the program's own files can't be read."""
    return f"{error}; mend that, or make room, and run the same command again: what is finished is kept"


def damaged(path: Path, error: Exception) -> FatalError:
    """Of a file that was whole when we wrote it."""
    return FatalError(f"{path} is damaged ({error}); remove the folder of that run, and run again")


class PlanMismatch(AssertionError):
    """Encoding gave other counts than measuring: a bug, so the run stops."""
