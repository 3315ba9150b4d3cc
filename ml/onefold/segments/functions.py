"""The functions of the rule language: what a call makes of its arguments, or the words that say what it takes."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from onefold.graph.model import Instant
from onefold.segments.tree import (
    CountEvents,
    DaysSince,
    Duration,
    HasLabel,
    InSegment,
    IsKnown,
    Node,
    Span,
    Text,
    Timestamp,
)

_EVENT_TYPE: Final = re.compile(r"[a-z][a-z0-9_.]{0,63}")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)

YEARS: Final = range(1901, 2200)
"""Of timestamps."""
EARLIEST: Final[Instant] = (datetime(YEARS.start, 1, 1, tzinfo=UTC) - _EPOCH) // _MS
LATEST: Final[Instant] = (datetime(YEARS.stop, 1, 1, tzinfo=UTC) - _EPOCH) // _MS
"""The first instant after all of them."""


def _key(arguments: Sequence[Node]) -> str | None:
    match arguments:
        case [Text(value)]:
            return value
    return None


def _days_since(arguments: Sequence[Node], at: Span) -> Node | str:
    match arguments:
        case [of]:
            return DaysSince(of, at=at)
    return "days_since takes one instant, as in days_since(last_order_at)"


def _known(arguments: Sequence[Node], at: Span) -> Node | str:
    match arguments:
        case [of]:
            return IsKnown(of, at=at)
    return "known takes one feature, as in known(gap_mean)"


def _has_label(arguments: Sequence[Node], at: Span) -> Node | str:
    key = _key(arguments)
    return 'has_label takes one text, as in has_label("silent")' if key is None else HasLabel(key, at=at)


def _in_segment(arguments: Sequence[Node], at: Span) -> Node | str:
    key = _key(arguments)
    return 'in_segment takes one text, as in in_segment("staff")' if key is None else InSegment(key, at=at)


def _timestamp(arguments: Sequence[Node], at: Span) -> Node | str:
    words = 'timestamp takes a day or an instant, as in timestamp("2026-01-31") or timestamp("2026-01-31T18:00:00Z")'
    try:
        when = datetime.fromisoformat((_key(arguments) or "").upper())
    except ValueError:
        return words
    if when.tzinfo is None:
        if when.time() != datetime.min.time():
            return words
        when = when.replace(tzinfo=UTC)
    instant = (when - _EPOCH) // _MS
    if not EARLIEST <= instant < LATEST:
        return f"a timestamp may be of the years {YEARS.start} to {YEARS.stop - 1}"
    return Timestamp(instant, at=at)


def _count_events(arguments: Sequence[Node], at: Span) -> Node | str:
    window = arguments[-1] if arguments and isinstance(arguments[-1], Duration) else None
    match arguments[:-1] if window else arguments:
        case [Text(type), *where] if len(where) <= 1 and _EVENT_TYPE.fullmatch(type):
            return CountEvents(type, where[0] if where else None, window.hours if window else None, at=at)
    return (
        "count_events takes a type of event, then, if wanted, a condition on the event and a duration, as in "
        'count_events("view", category == "fitness", 30d)'
    )


FUNCTIONS: Final[dict[str, Callable[[Sequence[Node], Span], Node | str]]] = {
    "days_since": _days_since,
    "known": _known,
    "has_label": _has_label,
    "in_segment": _in_segment,
    "count_events": _count_events,
    "timestamp": _timestamp,
}
