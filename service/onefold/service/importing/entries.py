"""What a reader yields: items with the line they come from, and the rows that gave none, with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from onefold.v1 import record_pb2 as pb


class Reason(StrEnum):
    """Why a row gives no item."""

    NOT_UTF8 = "NOT_UTF8"
    """Its bytes are no text."""
    WRONG_WIDTH = "WRONG_WIDTH"
    """It has more or fewer cells than the header."""
    BAD_VALUE = "BAD_VALUE"
    """A cell can't be read as what it should be."""
    NO_KEY = "NO_KEY"
    """It names nothing that could be ingested."""
    NO_CUSTOMER = "NO_CUSTOMER"
    """Nobody is named, so it belongs to no one."""
    NOTHING_SOLD = "NOTHING_SOLD"
    """Nothing on its order is a product with a price."""
    NO_ORDER = "NO_ORDER"
    """It gives back what was not sold, as far as the file knows."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """An item, and the line of the file on which it begins."""

    line: int
    item: pb.Item


@dataclass(frozen=True, slots=True)
class Reject:
    """A row, or the rest of one, that gives no item."""

    line: int
    reason: Reason
    words: str
    """The reason for a person to read."""
    row: Sequence[str]
    """The cells as they stand in the file."""


Entry = Parsed | Reject
