"""Text into exact values, and back."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Final

from onefold.graph.model import Micros

MICROS: Final = 1_000_000
MAX_MICROS: Final = 10**12 * MICROS
"""The largest amount that the wire takes."""


def micros(text: str) -> Micros:
    """An amount in millionths, exactly. Raises ValueError for what is no decimal of at most six places."""
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{text!r} is no decimal number") from None
    if not amount.is_finite() or abs(amount) > MAX_MICROS // MICROS:
        raise ValueError(f"{text!r} is out of range")
    scaled = amount * MICROS
    if scaled != int(scaled):
        raise ValueError(f"{text!r} has more than six decimals")
    return int(scaled)


def decimal(amount: Micros) -> str:
    """An amount as people write it: at least two decimals, and no more than it has."""
    whole, point, rest = f"{Decimal(amount) / MICROS:.6f}".rstrip("0").partition(".")
    return f"{whole}{point}{rest:0<2}"


def offset_minutes(moment: datetime) -> int:
    """The offset from UTC of an aware datetime, in whole minutes."""
    offset = moment.utcoffset()
    if offset is None:
        raise ValueError("has no time zone")
    return int(offset.total_seconds()) // 60
