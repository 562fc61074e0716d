"""JSON arrays and JSON Lines as streams of raw records."""

from __future__ import annotations

import codecs
import json
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from preprocess.errors import AnnotationError, Reason, SampleError
from preprocess.media.values.inline import MARK
from preprocess.read.formats.inline_media import holds_bare, with_places
from preprocess.read.index import RECORDS_APART, AnnotationIndex, Checkpoints

_BOM = "\ufeff"
_NESTED_TOO_DEEPLY = object()
_BRACKET_OR_STRING = re.compile(r'[\[\]{}]|"[^"\\]*(?:\\.[^"\\]*)*"|"', re.DOTALL)
_SPACE = re.compile(r"[ \t\n\r]*")


_LONGEST_INTEGER = 300  # digits; `int` refuses thousands of them, and nothing that means something has as many


def _number(digits: str) -> int | float:
    """As floats, integers of any length parse."""
    return int(digits) if len(digits) <= _LONGEST_INTEGER else float(digits)


_DECODER = json.JSONDecoder(parse_int=_number)
_WINDOW_BYTES = 1 << 20
_SMALL_WINDOW_BYTES = 1 << 14  # where a few hundred records are read
_MOST_LEVELS = 100  # of lists and objects in each other; pickling a record takes ever more of the stack with them
_LONGEST_CUT = 16  # characters that the start of a number, word or escape may have, and then some


def checkpoint(index: AnnotationIndex | None, record: int) -> int:
    """The last record up to this one that can be read without what stands before."""
    return 0 if index is None else record // RECORDS_APART * RECORDS_APART


class JsonArray:
    """Read twice: once to see that all of it parses, then record by record."""

    def __init__(self, path: Path, index: AnnotationIndex | None = None) -> None:
        self._path = path
        self._index = index
        self._num_records = index.checkpoints.num_records if index is not None else sum(1 for _ in self)

    def __len__(self) -> int:
        return self._num_records

    def __iter__(self) -> Iterator[Any]:
        return self.read_from(0)

    def checkpoint(self, record: int) -> int:
        return checkpoint(self._index, record)

    def paths(self, first: int, last: int) -> Sequence[Path]:
        return (self._path,)

    def read_from(self, record: int) -> Iterator[Any]:
        with open(self._path, "rb") as file:
            if self._index is None:
                window = _Window(file)
            else:
                self._index.check()
                offset = file.seek(self._index.checkpoints.offsets[record // RECORDS_APART]) if record else 0
                window = _Window(file, offset, _SMALL_WINDOW_BYTES)
            for each in _records(self._path, window, record):
                yield window.with_places(each, self._path)

    @staticmethod
    def find_checkpoints(path: Path, file: BinaryIO) -> Checkpoints:
        """Of the array in `file`, which is read to its end. Raises AnnotationError."""
        window, offsets, num_records = _Window(file), array("q"), 0
        for _ in _records(path, window, 0):
            if num_records % RECORDS_APART == 0:
                offsets.append(window.value_offset())
            num_records += 1
        return Checkpoints(num_records=num_records, offsets=np.array(offsets, np.int64), lines=np.empty(0, np.int64))


def _records(path: Path, window: _Window, first: int) -> Iterator[Any]:
    """The records of an array from number `first` on, where the window stands. Raises AnnotationError."""
    advice = "mend it, or convert it to JSON Lines, where only the bad record is lost"
    try:
        items = window.more_items() if first else window.array_items()
        for number, record in enumerate(items, start=first):
            where = f"{path} record {number}"
            if record is _NESTED_TOO_DEEPLY:
                yield _too_deep(where)
            else:
                yield record if window.num_opened <= _MOST_LEVELS else _shallow(record, where)
    except UnicodeDecodeError as error:
        raise AnnotationError(f"{path}: not UTF-8 at byte {window.offset_of(error)}; {advice}") from None
    except json.JSONDecodeError as error:
        offset = window.offset_of(error)
        if window.starts_with_object:
            advice = "if it has a record on each line, it is JSON Lines: say annotation_format: jsonl, or auto"
        raise AnnotationError(f"{path}: {error.msg} at byte {offset}; {advice}") from None


class _Window:
    """The stretch of a JSON array that holds the record to be parsed; it moves on through the file.

    Not `ijson` (3.6.0): its parser in C refuses NaN and byte order marks, takes half a surrogate pair for "?", and
    crashes on an integer of 5,000 digits; its parser in Python is 25 times slower than this.
    """

    def __init__(self, file: BinaryIO, offset: int = 0, window_bytes: int = _WINDOW_BYTES) -> None:
        """`file` stands at `offset`, its start or that of a record."""
        self._file = file
        self._window_bytes = window_bytes
        self._decode = codecs.getincrementaldecoder("utf-8")().decode
        self._text = ""
        self._position = 0  # in _text
        self._value_start = 0  # in _text
        self._bytes_before = offset  # of the file, before _text
        self._bytes_read = offset
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
            yield from self.more_items()
            return
        self._end()

    def more_items(self) -> Iterator[Any]:
        """The same from where a value begins."""
        yield self._value()
        while self._next() == ",":
            self._position += 1
            yield self._value()
        self._end()

    def value_offset(self) -> int:
        """The byte of the file at which the value begins that came last."""
        return self._bytes_before + len(self._text[: self._value_start].encode("utf-8"))

    def with_places(self, value: Any, path: Path) -> Any:
        """The value that came last, with places for the media that stand in it."""
        if self._text.find(MARK, self._value_start, self._position) < 0 and not holds_bare(value):
            return value
        return with_places(value, self._text[self._value_start : self._position].encode(), path, self.value_offset())

    def _end(self) -> None:
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
                    self._value_start, self._position = self._position, end
                    return value
            except json.JSONDecodeError as error:
                if self._at_end or not self._may_be_cut_off(error.pos):
                    raise
            except RecursionError:
                closed = _end_of_brackets(self._text, self._position)
                if closed is not None:
                    self._value_start, self._position = self._position, closed
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
        wanted = max(self._window_bytes, len(self._text) - self._position)
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

    def __init__(self, path: Path, index: AnnotationIndex | None = None) -> None:
        self._path = path
        self._index = index
        if index is not None:
            self._num_records = index.checkpoints.num_records
            return
        with open(path, "rb") as file:
            self._num_records = sum(1 for line in file if line.strip())

    def __len__(self) -> int:
        return self._num_records

    def __iter__(self) -> Iterator[Any]:
        return self.read_from(0)

    def checkpoint(self, record: int) -> int:
        return checkpoint(self._index, record)

    def paths(self, first: int, last: int) -> Sequence[Path]:
        return (self._path,)

    @staticmethod
    def find_checkpoints(_: Path, file: BinaryIO) -> Checkpoints:
        """Of the records in `file`, which is read to its end."""
        offsets, lines = array("q"), array("q")
        num_records = offset = 0
        for number, line in enumerate(file):
            if line.strip():
                if num_records % RECORDS_APART == 0:
                    offsets.append(offset)
                    lines.append(number)
                num_records += 1
            offset += len(line)
        columns = (np.array(column, np.int64) for column in (offsets, lines))
        return Checkpoints(num_records=num_records, **dict(zip(("offsets", "lines"), columns, strict=True)))

    def read_from(self, record: int) -> Iterator[Any]:
        with open(self._path, "rb") as file:
            num_lines = 0
            if self._index is not None:
                self._index.check()
                if record:
                    file.seek(self._index.checkpoints.offsets[record // RECORDS_APART])
                    num_lines = int(self._index.checkpoints.lines[record // RECORDS_APART])
            offset = file.tell()
            for number, line in enumerate(file, start=num_lines + 1):
                if line.strip():
                    yield with_places(self._parse(line, number), line, self._path, offset)
                offset += len(line)

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
