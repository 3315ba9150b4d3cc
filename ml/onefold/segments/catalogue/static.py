"""The lists of people that static segments are made of."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Final

from onefold.graph import document
from onefold.graph.errors import Violation
from onefold.graph.model import RecordName
from onefold.segments.catalogue.definitions import Catalogue, InvalidCatalogue

_RECORD: Final = re.compile(r"(customer|order):[a-z0-9][a-z0-9_.-]{0,63}:.{1,256}")
_COLUMN: Final = "record"


def records(catalogue: Catalogue, folder: Path) -> dict[str, tuple[RecordName, ...]]:
    """The records that each static segment names, once each and sorted, by the segment's key.

    ``folder`` is where the catalogue's file is. Raises InvalidCatalogue for each file that can't be read, and for the
    first line of each that names no record.
    """
    found: dict[str, tuple[RecordName, ...]] = {}
    wrong: list[Violation] = []
    for segment in catalogue.segments.values():
        if segment.records_file:
            try:
                found[segment.key] = _records(folder / segment.records_file)
            except InvalidCatalogue as error:
                wrong += error.violations
    if wrong:
        raise InvalidCatalogue(wrong)
    return found


def _records(path: Path) -> tuple[RecordName, ...]:
    rows = csv.DictReader(io.StringIO(document.read(path, error=InvalidCatalogue)))
    if _COLUMN not in (rows.fieldnames or ()):
        raise InvalidCatalogue([Violation(str(path), f"must have a column {_COLUMN}")])
    found: set[RecordName] = set()
    for row in rows:
        name = row[_COLUMN] or ""
        if not _RECORD.fullmatch(name):
            words = f"{name[:40]!r} is no record: write customer:SOURCE:ID, as customer:crm:17"
            raise InvalidCatalogue([Violation(f"{path} (line {rows.line_num})", words)])
        found.add(name)
    return tuple(sorted(found))
