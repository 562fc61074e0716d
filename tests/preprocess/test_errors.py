"""The vocabulary of rejects is fixed, and an error survives the way out of a worker process."""

from __future__ import annotations

import pickle

import pytest

from preprocess.errors import AnnotationError, ConfigError, FatalError, Reason, SampleError


def test_the_vocabulary_is_that_of_the_format() -> None:
    """Users filter ledgers by these words."""
    assert {reason.value for reason in Reason} == {
        *("bad_json", "unknown_keys", "no_turns", "role_order", "tag_count", "misplaced_tag", "missing_file"),
        *("undecodable", "aspect_ratio", "decompression_bomb", "no_frames_or_rate", "too_few_frames"),
        *("crash", "timeout", "too_long", "too_many_patches", "nothing_to_learn", "path_outside"),
        *("ambiguous_boxes", "unsupported", "ambiguous_path", "unsupported_location"),
    }


def test_a_sample_error_survives_pickling() -> None:
    error = SampleError(Reason.UNDECODABLE, "a.png: broken")
    again = pickle.loads(pickle.dumps(error))
    assert (again.reason, again.detail, str(again)) == (
        Reason.UNDECODABLE,
        "a.png: broken",
        "undecodable: a.png: broken",
    )


@pytest.mark.parametrize("kind", [ConfigError, AnnotationError])
def test_what_stops_a_run_is_no_sample_error(kind: type[FatalError]) -> None:
    assert issubclass(kind, FatalError)
    assert not issubclass(kind, SampleError)
    assert not issubclass(SampleError, FatalError)
