"""What a text may mean beside what it says, and what is no place on the disk."""

from __future__ import annotations

import pytest

from preprocess.errors import Reason, SampleError
from preprocess.media.values.spellings import spellings_of

COMPOSED, DECOMPOSED = "caf\u00e9.jpg", "cafe\u0301.jpg"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("images/a b+c.jpg", ["images/a b+c.jpg"]),
        ("a%20b.jpg", ["a%20b.jpg", "a b.jpg"]),
        ("100%.jpg", ["100%.jpg"]),
        ("a%zz.jpg", ["a%zz.jpg"]),
        ("%ff.jpg", ["%ff.jpg"]),
        ("a%2520b.jpg", ["a%2520b.jpg", "a%20b.jpg"]),
        ("images\\a.jpg", ["images\\a.jpg", "images/a.jpg"]),
        ("x\\a%20b.jpg", ["x\\a%20b.jpg", "x/a%20b.jpg", "x\\a b.jpg", "x/a b.jpg"]),
        (COMPOSED, [COMPOSED, DECOMPOSED]),
        (DECOMPOSED, [DECOMPOSED, COMPOSED]),
        ("caf%C3%A9.jpg", ["caf%C3%A9.jpg", COMPOSED, DECOMPOSED]),
        ("图.jpg", ["图.jpg"]),
        ("file:///data/a%20b.jpg", ["/data/a b.jpg"]),
        ("file:/data/a.jpg", ["/data/a.jpg"]),
        ("FILE://localhost/data/a.jpg", ["/data/a.jpg"]),
        ("C:\\images\\a.jpg", ["C:\\images\\a.jpg", "C:/images/a.jpg"]),
        ("a:b.jpg", ["a:b.jpg"]),
        ("data:b.jpg", ["data:b.jpg"]),
        ("file:b.jpg", ["file:b.jpg"]),
        ("$HOME/~/a.jpg", ["$HOME/~/a.jpg"]),  # of data, nothing is replaced
    ],
)
def test_spellings_in_their_order(written: str, expected: list[str]) -> None:
    assert list(spellings_of(written)) == expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("http://x.org/a.jpg", "is not on this machine; download it first"),
        ("HTTPS://x.org/a.jpg", "is not on this machine; download it first"),
        ("ftp://x.org/a.jpg", "is not on this machine; download it first"),
        ("s3://bucket/a.jpg", "say where it lies with data_path"),
        ("file://server/share/a.jpg", "is on the machine 'server'"),
        ("data:image/svg+xml,%3Csvg/%3E", "of data: URIs, those in base64 are read"),
        (
            "data:image/png;base64,iVBORw0KGgo=",
            "media in base64 are read from JSON and CSV; in Parquet, write {bytes, path}",
        ),
        ("/9j/" + "A" * 2_000_000, "media in base64 are read from JSON and CSV"),
    ],
)
def test_what_is_elsewhere_is_refused(written: str, expected: str) -> None:
    with pytest.raises(SampleError) as raised:
        spellings_of(written)
    assert raised.value.reason == Reason.UNSUPPORTED_LOCATION
    assert expected in raised.value.detail
