"""What values features have."""

from __future__ import annotations

from enum import StrEnum


class Type(StrEnum):
    """What a feature's values are. Any of them may be unknown."""

    INT = "int"
    FLOAT = "float"
    DAYS = "days"
    """A length of time, as a number of days."""
    TEXT = "text"
    BOOL = "bool"
    INSTANT = "instant"
    TEXTS = "list of text"

    @property
    def is_number(self) -> bool:
        """Whether one can reckon with it."""
        return self in (Type.INT, Type.FLOAT, Type.DAYS)
