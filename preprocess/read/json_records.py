"""JSON arrays and JSON Lines as streams of raw records."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from preprocess.errors import AnnotationError, Reason, SampleError

_BOM = "\ufeff"
_NESTED_TOO_DEEPLY = object()
_BRACKET_OR_STRING = re.compile(r'[\[\]{}]|"[^"\\]*(?:\\.[^"\\]*)*"|"', re.DOTALL)
_SPACE = re.compile(r"[ \t\n\r]*")


# Numbers mean nothing to us: as floats, integers of any length parse.
_DECODER = json.JSONDecoder(parse_int=float)
_WINDOW_BYTES = 1 << 20
_MOST_LEVELS = 100  # of lists and objects in each other; pickling a record takes ever more of the stack with them
_LONGEST_CUT = 16  # characters that the start of a number, word or escape may have, and then some


class JsonArray:
    """Read twice: once to see that all of it parses, then record by record."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._num_records = sum(1 for _ in self)

    def __len__(self) -> int:
        return self._num_records

    def __iter__(self) -> Iterator[Any]:
        advice = "mend it, or convert it to JSON Lines, where only the bad record is lost"
        with open(self._path, "rb") as file:
            window = _Window(file)
            try:
                for number, record in enumerate(window.array_items()):
                    where = f"{self._path} record {number}"
                    if record is _NESTED_TOO_DEEPLY:
                        yield _too_deep(where)
                    else:
                        yield record if window.num_opened <= _MOST_LEVELS else _shallow(record, where)
            except UnicodeDecodeError as error:
                raise AnnotationError(f"{self._path}: not UTF-8 at byte {window.offset_of(error)}; {advice}") from None
            except json.JSONDecodeError as error:
                offset = window.offset_of(error)
                if window.starts_with_object:
                    advice = "if it has a record on each line, it is JSON Lines: rename it to .jsonl"
                raise AnnotationError(f"{self._path}: {error.msg} at byte {offset}; {advice}") from None


class _Window:
    """The stretch of a JSON array that holds the record to be parsed; it moves on through the file.

    Not `ijson` (3.6.0): its parser in C refuses NaN and byte order marks, takes half a surrogate pair for "?", and
    crashes on an integer of 5,000 digits; its parser in Python is 25 times slower than this.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._decode = codecs.getincrementaldecoder("utf-8")().decode
        self._text = ""
        self._position = 0  # in _text
        self._bytes_before = 0  # of the file, before _text
        self._bytes_read = 0
        self._at_end = False
        self.num_opened = 0  # brackets in the text of the value that came last
        self.starts_with_object = False  # where an array should

    def offset_of(self, error: UnicodeDecodeError | json.JSONDecodeError) -> int:
        """The byte of the file that an error, just raised, is about."""
        if isinstance(error, UnicodeDecodeError):
            return self._bytes_read - len(error.object) + error.start
        return self._bytes_before + len(self._text[: error.pos].encode("utf-8"))

    def array_items(self) -> Iterator[Any]:
        """The values of the array, parsed one by one; _NESTED_TOO_DEEPLY where the parser's stack is too small.

        Raises UnicodeDecodeError, JSONDecodeError.
        """
        self._read_on()
        self._position = len(_BOM) if self._text.startswith(_BOM) else 0
        self.starts_with_object = self._next() == "{"
        self._take("[", "An array of records should start")
        if self._next() != "]":
            yield self._value()
            while self._next() == ",":
                self._position += 1
                yield self._value()
        self._take("]", "Expecting ',' delimiter")
        if self._next():
            raise json.JSONDecodeError("Extra data", self._text, self._position)

    def _value(self) -> Any:
        """The next value. What the end of the window cuts off is parsed again after more was read."""
        self._next()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._position)
                if self._at_end or len(self._text) - end > _LONGEST_CUT:  # nearer, it might be half of a number
                    self.num_opened = sum(self._text.count(bracket, self._position, end) for bracket in "[{")
                    self._position = end
                    return value
            except json.JSONDecodeError as error:
                if self._at_end or not self._may_be_cut_off(error.pos):
                    raise
            except RecursionError:
                closed = _end_of_brackets(self._text, self._position)
                if closed is not None:
                    self._position = closed
                    return _NESTED_TOO_DEEPLY
                if self._at_end:
                    raise json.JSONDecodeError("Expecting the end of what opens", self._text, self._position) from None
            self._read_on()

    def _may_be_cut_off(self, position: int) -> bool:
        """Whether an error there may be gone once more was read: the end is near, or a string has no end."""
        if len(self._text) - position <= _LONGEST_CUT:
            return True
        if self._text[position] != '"':
            return False
        try:
            _DECODER.raw_decode(self._text, position)
        except json.JSONDecodeError:
            return True
        return False

    def _take(self, mark: str, otherwise: str) -> None:
        if self._next() != mark:
            raise json.JSONDecodeError(otherwise, self._text, self._position)
        self._position += 1

    def _next(self) -> str:
        """Move to the next character that is not space; it, or "" at the end of the file."""
        while True:
            match = _SPACE.match(self._text, self._position)
            assert match is not None
            self._position = match.end()
            if self._position < len(self._text) or self._at_end:
                return self._text[self._position : self._position + 1]
            self._read_on()

    def _read_on(self) -> None:
        """Drop what is done with and read at least as much as is left: long records are parsed a few times only."""
        wanted = max(_WINDOW_BYTES, len(self._text) - self._position)
        content = self._file.read(wanted)
        self._bytes_read += len(content)
        self._at_end = len(content) < wanted
        self._bytes_before += len(self._text[: self._position].encode("utf-8"))
        self._text = self._text[self._position :] + self._decode(content, self._at_end)
        self._position = 0


def _end_of_brackets(text: str, start: int) -> int | None:
    """Where the brackets that open at `start` are closed; None where the text ends before. Of any depth."""
    level = 0
    for match in _BRACKET_OR_STRING.finditer(text, start):
        mark = match[0]
        if mark == '"':  # which nothing closes
            return None
        level += (mark in "[{") - (mark in "]}")
        if not level:
            return match.end()
    return None


class JsonLines:
    """Blank lines do not count as records."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with open(path, "rb") as file:
            self._num_records = sum(1 for line in file if line.strip())

    def __len__(self) -> int:
        return self._num_records

    def __iter__(self) -> Iterator[Any]:
        with open(self._path, "rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield self._parse(line, number)

    def _parse(self, line: bytes, number: int) -> Any:
        where = f"{self._path} line {number}"
        try:
            record = _DECODER.decode(line.decode("utf-8").removeprefix(_BOM))
            return record if line.count(b"[") + line.count(b"{") <= _MOST_LEVELS else _shallow(record, where)
        except UnicodeDecodeError as error:
            return SampleError(Reason.BAD_JSON, f"{where}: not UTF-8 at byte {error.start}")
        except json.JSONDecodeError as error:
            return SampleError(Reason.BAD_JSON, f"{where}: {error.msg} at character {error.pos}")
        except RecursionError:
            return _too_deep(where)


def _shallow(record: Any, where: str) -> Any:
    """The record, or the SampleError that says that it is nested too deeply."""
    level = [record]
    for _ in range(_MOST_LEVELS + 1):
        level = [inner for value in level for inner in _inside(value)]
        if not level:
            return record
    return _too_deep(where)


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _too_deep(where: str) -> SampleError:
    return SampleError(Reason.BAD_JSON, f"{where}: nested more than {_MOST_LEVELS} levels deep")
