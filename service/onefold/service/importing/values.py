"""Text into exact values, as the wire has them."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money

from onefold.graph.model import Instant, Micros

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


def money(amount: Micros, currency: str) -> Money:
    """An amount of zero or more as a message."""
    units, rest = divmod(amount, MICROS)
    return Money(currency_code=currency, units=units, nanos=rest * 1000)


def timestamp(instant: Instant) -> Timestamp:
    """An instant as a message."""
    seconds, millis = divmod(instant, 1000)
    return Timestamp(seconds=seconds, nanos=millis * MICROS)


def offset_minutes(moment: datetime) -> int:
    """The offset from UTC of an aware datetime, in whole minutes."""
    offset = moment.utcoffset()
    if offset is None:
        raise ValueError("has no time zone")
    return int(offset.total_seconds()) // 60
