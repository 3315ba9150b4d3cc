"""The rows of a CSV file, plain or gzipped."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from onefold.graph.errors import InvalidInput, Violation
from onefold.service.importing.entries import Reason, Reject

GZIP_MAGIC: Final = b"\x1f\x8b"

Row = tuple[int, list[str]]
"""The number of the line that a row ends on (the header is line 1), and its cells."""


@contextmanager
def open_csv(
    path: Path, *, delimiter: str = ",", encoding: str = "utf-8"
) -> Iterator[tuple[list[str], Iterator[Row | Reject]]]:
    """The header of a file and its rows, read as they are asked for. Blank lines are passed over.

    A row whose cells are no text in the encoding, or are more or fewer than the header's, comes as a Reject.
    Raises InvalidInput when the file can't be opened or has no header, or when reading has to stop midway.
    """
    try:
        with path.open("rb") as raw:
            zipped = raw.peek(2).startswith(GZIP_MAGIC)
            binary = gzip.GzipFile(fileobj=raw) if zipped else raw
            # "utf-8-sig" also reads UTF-8 without a byte order mark. Bytes that are no text become lone
            # surrogates, so that one bad name does not end an import.
            codec = "utf-8-sig" if encoding.lower().replace("_", "-") in {"utf-8", "utf8"} else encoding
            with io.TextIOWrapper(binary, codec, errors="surrogateescape", newline="") as text:
                reader = csv.reader(text, delimiter=delimiter)
                header = next(reader, None)
                if not header:
                    raise InvalidInput([Violation(path.name, "is empty: the first line must name the columns")])
                yield header, _rows(path, reader, len(header))
    except OSError as err:
        raise InvalidInput([Violation(str(path), f"can't be read: {err.strerror or err}")]) from err
    except LookupError as err:
        raise InvalidInput([Violation("encoding", f"{encoding!r} is no text encoding")]) from err


def missing_columns(header: list[str], wanted: Iterable[str]) -> list[str]:
    """Those of the wanted columns that a header lacks, in the order asked."""
    return [column for column in wanted if column not in header]


def _rows(path: Path, reader: Iterator[list[str]], width: int) -> Iterator[Row | Reject]:
    line_of = reader
    try:
        for row in reader:
            if not row:
                continue
            line: int = line_of.line_num  # type: ignore[attr-defined]
            if len(row) != width:
                words = f"has {len(row)} cells where the header has {width}"
                yield Reject(line, Reason.WRONG_WIDTH, words, row)
            elif not _is_text(row):
                yield Reject(line, Reason.NOT_UTF8, "holds bytes that are no text in the file's encoding", row)
            else:
                yield line, row
    except (csv.Error, EOFError, zlib.error, gzip.BadGzipFile) as err:
        where = f"{path.name} (after line {line_of.line_num})"  # type: ignore[attr-defined]
        raise InvalidInput([Violation(where, f"can't be read on: {err}")]) from err


def _is_text(row: list[str]) -> bool:
    joined = "".join(row)
    if joined.isascii():
        return True
    try:
        joined.encode()
    except UnicodeEncodeError:
        return False
    return True
