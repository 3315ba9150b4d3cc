"""A tree as text: the one way to write a rule, so that two rules that read alike are one text.

:func:`onefold.segments.parse.parse` reads it back as an equal tree.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

from onefold.graph.model import Instant
from onefold.segments.tree import (
    And,
    Arithmetic,
    Comparison,
    CountEvents,
    DaysSince,
    Duration,
    HasLabel,
    In,
    InSegment,
    IsKnown,
    Listing,
    Match,
    Name,
    Node,
    Not,
    Number,
    Or,
    Text,
    Timestamp,
    Truth,
)

_OR, _AND, _RELATION, _SUM, _PRODUCT, _UNARY, _MEMBER = range(7)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def text_of(node: Node) -> str:
    """The canonical text of a rule, or of a part of one."""
    match node:
        case Or(of):
            return " || ".join(_within(part, _AND) for part in of)
        case And(of):
            return " && ".join(_within(part, _RELATION) for part in of)
        case Not(of):
            return f"!{_within(of, _UNARY)}"
        case Comparison(operator, left, right):
            return f"{_within(left, _SUM)} {operator} {_within(right, _SUM)}"
        case In(item, among):
            return f"{_within(item, _SUM)} in {_within(among, _SUM)}"
        case Arithmetic(operator, left, right):
            level = _level(node)
            return f"{_within(left, level)} {operator} {_within(right, level + 1)}"
        case Match(operator, of, text):
            return f"{_within(of, _MEMBER)}.{operator}({text_of(text)})"
        case IsKnown(of):
            return f"known({text_of(of)})"
        case DaysSince(of):
            return f"days_since({text_of(of)})"
        case HasLabel(key):
            return f"has_label({_quoted(key)})"
        case InSegment(key):
            return f"in_segment({_quoted(key)})"
        case CountEvents(type, where, hours):
            parts = (_quoted(type), where and text_of(where), hours and _duration(hours))
            return f"count_events({_listed(part for part in parts if part)})"
        case Name(key):
            return key
        case Truth(value):
            return "true" if value else "false"
        case Number(value):
            return repr(value)
        case Text(value):
            return _quoted(value)
        case Duration(hours):
            return _duration(hours)
        case Timestamp(instant):
            return f"timestamp({_quoted(iso(instant))})"
        case Listing(of):
            return f"[{_listed(map(text_of, of))}]"


def iso(instant: Instant) -> str:
    """An instant as ISO 8601 in UTC, without a fraction where there is none."""
    when = _EPOCH + timedelta(milliseconds=instant)
    text = when.isoformat(timespec="milliseconds" if instant % 1000 else "seconds")
    return text.replace("+00:00", "Z")


def _level(node: Node) -> int:
    """How tightly the outermost part of a node's text binds."""
    match node:
        case Or():
            return _OR
        case And():
            return _AND
        case Comparison() | In():
            return _RELATION
        case Arithmetic(operator):
            return _SUM if operator in ("+", "-") else _PRODUCT
        case Not():
            return _UNARY
        case Number(value) if value < 0:
            return _UNARY
        case _:
            return _MEMBER


def _within(node: Node, level: int) -> str:
    text = text_of(node)
    return text if _level(node) >= level else f"({text})"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _duration(hours: int) -> str:
    return f"{hours}h" if hours % 24 else f"{hours // 24}d"


def _listed(parts: Iterable[str]) -> str:
    return ", ".join(parts)
