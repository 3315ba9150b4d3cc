"""The file of what was not taken, and why: one row for each, for people to mend and send again."""

from __future__ import annotations

import csv
import io
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

from onefold.graph.errors import InvalidInput, Violation

COLUMNS: Final = ("line", "by", "reason", "words", "content")
"""Line of the file, who refused it (``reader`` or ``service``), why in a word and in words, and what it was."""


class RejectsFile:
    """A CSV file that is there at the end if it has a row; what it held before is kept only as far as it is told to be.

    A context manager. ``keep_bytes`` is how much of an earlier run's file goes before what this run writes.
    """

    def __init__(self, path: Path, keep_bytes: int = 0) -> None:
        self.path = path
        self._keep_bytes = keep_bytes
        self._file: BinaryIO | None = None

    def __enter__(self) -> Self:
        """Raises InvalidInput when the file can't be written."""
        try:
            if self._keep_bytes:
                self._file = self.path.open("r+b")
                self._file.truncate(self._keep_bytes)
                self._file.seek(self._keep_bytes)
            else:
                self._file = self.path.open("wb")
        except OSError as error:
            rule = f"{self.path} can't be written: {error.strerror}; name another with --rejects"
            raise InvalidInput([Violation("rejects", rule)]) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._file is not None
        empty = self._file.tell() == 0
        self._file.close()
        if empty:
            self.path.unlink()

    def add(self, line: int, by: str, reason: str, words: str, content: str) -> None:
        """Writes a row."""
        assert self._file is not None
        if self._file.tell() == 0:
            self._row(COLUMNS)
        self._row((str(line), by, reason, words, content))

    def sync(self) -> int:
        """Hands what was written to the system; how many bytes the file has, 0 without a row."""
        assert self._file is not None
        self._file.flush()
        return self._file.tell()

    def _row(self, cells: tuple[str, ...]) -> None:
        assert self._file is not None
        self._file.write(csv_line(cells))


def csv_line(cells: tuple[str, ...] | list[str]) -> bytes:
    """The cells as a line of a CSV file in UTF-8. Bytes that were no text stay the bytes they were."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode("utf-8", "surrogateescape")


def counted(path: Path) -> Counter[tuple[str, str]]:
    """How many rows of a file of rejects there are, by who refused them and why. Raises InvalidInput for another."""
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            rows = csv.DictReader(file)
            if tuple(rows.fieldnames or ()) != COLUMNS:
                raise InvalidInput([Violation("rejects", f"{path} is no file of rejects: its header is another")])
            return Counter((row["by"], row["reason"]) for row in rows)
    except OSError as error:
        raise InvalidInput([Violation("rejects", f"{path} can't be read: {error.strerror}")]) from error
