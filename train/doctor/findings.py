"""What a check found."""

from __future__ import annotations

from dataclasses import dataclass

OK, SKIPPED, FAILED = "ok", "skipped", "FAILED"


@dataclass(frozen=True, kw_only=True)
class Finding:
    outcome: str  # OK, SKIPPED or FAILED
    what: str
    detail: str  # what was measured, why it was skipped, or what is wrong

    def to_line(self) -> str:
        return f"{self.outcome:8} {self.what}: {self.detail}"


def ok(what: str, detail: str) -> Finding:
    return Finding(outcome=OK, what=what, detail=detail)


def skipped(what: str, why: str) -> Finding:
    return Finding(outcome=SKIPPED, what=what, detail=why)


def failed(what: str, detail: str) -> Finding:
    return Finding(outcome=FAILED, what=what, detail=detail)


def within(what: str, error: float, limit: float, detail: str) -> Finding:
    """OK where `error` is at most `limit`: not so for one that is not a number."""
    if error <= limit:
        return ok(what, f"{detail}; differs by {error:.1e}")
    return failed(what, f"{detail}; differs by {error:.1e}, more than {limit:g}")
