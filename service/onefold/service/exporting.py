"""Files of who is in a segment, piece by piece."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from onefold.graph.model import to_instant
from onefold.segments.printing import iso

_OF_FORMULAS: Final = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet takes a text that begins with one of these for a formula, and does what it says."""

PIECE: Final = 64 * 1024
"""About so many bytes go together."""


def parquet(rows: pa.RecordBatchReader) -> Iterator[bytes]:
    """An Apache Parquet file of the rows."""
    sink = _Sink()
    with pq.ParquetWriter(sink, rows.schema) as writer:
        for batch in rows:
            writer.write_batch(batch)
            yield from sink.pieces()
    yield from sink.pieces(all=True)


def csv_lines(rows: pa.RecordBatchReader) -> Iterator[bytes]:
    """Comma-separated values with a line of names: what is unknown is empty, a list is as JSON has it. A text that
    a spreadsheet would take for a formula has a ' before it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(rows.schema.names)
    for batch in rows:
        for row in batch.to_pylist():
            writer.writerow(map(_cell, row.values()))
        yield from _taken(text)
    yield from _taken(text)


def json_lines(rows: pa.RecordBatchReader) -> Iterator[bytes]:
    """A JSON object a line."""
    text = io.StringIO()
    for batch in rows:
        for row in batch.to_pylist():
            text.write(json.dumps({name: _plain(value) for name, value in row.items()}, ensure_ascii=False) + "\n")
        yield from _taken(text)


Written = Callable[[pa.RecordBatchReader], Iterator[bytes]]


class _Sink(io.RawIOBase):
    """Where a file is written that nobody keeps as a whole."""

    def __init__(self) -> None:
        super().__init__()
        self._held = bytearray()
        self._at = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        self._held += view
        self._at += len(view)
        return len(view)

    def tell(self) -> int:
        return self._at

    def pieces(self, *, all: bool = False) -> Iterator[bytes]:
        """What was written since, as far as it makes whole pieces."""
        while len(self._held) >= PIECE or (all and self._held):
            yield bytes(self._held[:PIECE])
            del self._held[:PIECE]


def _taken(text: io.StringIO) -> Iterator[bytes]:
    data = text.getvalue().encode()
    text.seek(0)
    text.truncate()
    for start in range(0, len(data), PIECE):
        yield data[start : start + PIECE]


def _cell(value: Any) -> Any:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case list():
            return json.dumps(value, ensure_ascii=False)
        case str() if value.startswith(_OF_FORMULAS):
            return f"'{value}"
    return _plain(value)


def _plain(value: Any) -> Any:
    return iso(to_instant(value)) if isinstance(value, datetime) else value
