"""Media embedded in Parquet files: the kind of source whose bytes stand in one cell.

`MediaSource.path` is the Parquet file; `row`, `column` and `item` say where in it. Cells are `{bytes, path}` structs,
at any depth of lists and other structs; `item` numbers those of a row (`media_columns.py`). Size and version are
those of the file.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from preprocess.errors import FatalError, SampleError
from preprocess.media import files
from preprocess.media.places import Place
from preprocess.media.row_groups import has_bytes, read_cell
from preprocess.sample import MediaSource, MediaStamp

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbeddedMedium:
    """The value of such a cell in a record. Its bytes were not read: opening it shows whether there are any."""

    path: str  # of the Parquet file
    row: int
    column: str
    item: int
    written: str | None  # path in the cell, which counts where the cell holds no bytes

    def reveal(self) -> MediaSource | str | None:
        """The cell as a source where it holds bytes, else the path that is written in it. Raises FatalError."""
        source = MediaSource(path=self.path, row=self.row, column=self.column, item=self.item)
        return source if _asked(has_bytes, source) else self.written


def owns(source: MediaSource) -> bool:
    return source.row >= 0


def locate(_: str, __: Place | None, *, follow_links: bool) -> None:
    """No text in an annotation names a cell: `EmbeddedMedium` does."""


def describe(source: MediaSource) -> str:
    return f"{source.path} (row {source.row}, {source.column}[{source.item}])"


def open_medium(source: MediaSource) -> io.BytesIO:
    content = _asked(read_cell, source)
    assert content is not None, "it held bytes when the record was read"
    return io.BytesIO(content)


def open_stamped(source: MediaSource) -> tuple[io.BytesIO, MediaStamp]:
    stamp = stamp_of(source)
    return open_medium(source), stamp


def local_path(_: MediaSource) -> None:
    """The path is that of another file."""


def stamp_of(source: MediaSource) -> MediaStamp:
    return files.stamp_of_file(source.path, describe(source))


def stamped(source: MediaSource) -> str:
    return source.path


describe_version = files.describe_version


def read_error(source: MediaSource, error: OSError | ValueError) -> SampleError | FatalError:
    return files.error_of_file(describe(source), error)


def _asked(ask: Callable[[str, int, str, int], _T], source: MediaSource) -> _T:
    """Raises FatalError: the file is the annotation file, which could be read when the record was."""
    import pyarrow as pa

    try:
        return ask(source.path, source.row, source.column, source.item)
    except (OSError, ValueError, KeyError, IndexError, TypeError, pa.ArrowException) as error:
        name = describe(source)
        if isinstance(error, OSError) and error.errno is not None:
            raise FatalError(f"{name}: {error}; mend that and run again: the file itself may be whole") from None
        raise FatalError(f"{name}: the annotation file changed or broke while it was read ({error})") from None
