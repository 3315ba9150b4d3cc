"""Rules in process: whether one person is in, and which clause decided.

A condition is True, False, or None where what is unknown leaves it open (Kleene's logic). The twins in
:mod:`onefold.segments.statement` say the same of the same rows.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from onefold.graph.model import Instant
from onefold.segments.check import Rule
from onefold.segments.clock import MIRRORED, MS_PER_DAY, cutoff, days
from onefold.segments.printing import text_of
from onefold.segments.reads import reads
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
    clauses,
)
from onefold.segments.vocabulary import LABELS, SEGMENTS, Row, Value

Condition = Callable[[Row, Instant], bool | None]
"""Says of a person, as of an instant, what a rule comes to."""

_Read = Callable[[Row, Instant], Any]


@dataclass(frozen=True, slots=True)
class Clause:
    """What one of a rule's clauses came to."""

    text: str
    truth: bool | None
    values: Mapping[str, Value | None]
    """Of the features that it read, None where unknown."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a rule came to for one person, and why. In it is who has ``truth`` True."""

    truth: bool | None
    clauses: tuple[Clause, ...]
    """In the order of the text."""


def compiled(rule: Rule) -> Condition:
    """The rule as a function: compile once, ask often."""
    return _condition(rule.tree)


def explain(rule: Rule, row: Row, now: Instant) -> Explanation:
    """What a rule comes to for one person, with what each of its clauses comes to and the values that it read."""
    return Explanation(
        _condition(rule.tree)(row, now), tuple(_explained(clause, row, now) for clause in clauses(rule.tree))
    )


def _explained(clause: Node, row: Row, now: Instant) -> Clause:
    read = reads(clause)
    keys = (*read.features, *map(text_of, read.windows))
    return Clause(text_of(clause), _condition(clause)(row, now), {key: row.get(key) for key in keys})


def _condition(node: Node) -> Condition:
    match node:
        case And(of):
            return _all([_condition(part) for part in of])
        case Or(of):
            return _any([_condition(part) for part in of])
        case Not(of):
            return _not(_condition(of))
        case Comparison():
            return _comparison(node)
        case In(item, Listing(of)):
            options = frozenset(option.value for option in of if isinstance(option, Number | Text))
            return _unless_unknown(_value(item), options.__contains__)
        case In(Text(value), among):
            return _unless_unknown(_value(among), lambda values: value in values)
        case Match(how, of, Text(text)):
            starts = how == "startsWith"
            return _unless_unknown(_value(of), lambda v: v.startswith(text) if starts else text in v)
        case IsKnown(of):
            read = _value(of)
            return lambda row, now: read(row, now) is not None
        case HasLabel(key):
            return _member(LABELS, key)
        case InSegment(key):
            return _member(SEGMENTS, key)
        case Truth(truth):
            return lambda row, now: truth
        case _:
            return _value(node)


def _all(parts: Sequence[Condition]) -> Condition:
    def holds(row: Row, now: Instant) -> bool | None:
        truth: bool | None = True
        for part in parts:
            each = part(row, now)
            if each is False:
                return False
            if each is None:
                truth = None
        return truth

    return holds


def _any(parts: Sequence[Condition]) -> Condition:
    def holds(row: Row, now: Instant) -> bool | None:
        truth: bool | None = False
        for part in parts:
            each = part(row, now)
            if each:
                return True
            if each is None:
                truth = None
        return truth

    return holds


def _not(of: Condition) -> Condition:
    def holds(row: Row, now: Instant) -> bool | None:
        truth = of(row, now)
        return None if truth is None else not truth

    return holds


def _unless_unknown(value: _Read, test: Callable[[Any], bool]) -> Condition:
    def holds(row: Row, now: Instant) -> bool | None:
        found = value(row, now)
        return None if found is None else test(found)

    return holds


def _member(of: str, key: str) -> Condition:
    """Closed: who is not known to have it does not."""

    def holds(row: Row, now: Instant) -> bool | None:
        keys: Any = row.get(of)
        return keys is not None and key in keys

    return holds


def _comparison(node: Comparison) -> Condition:
    if found := cutoff(node):
        return _against_cutoff(found.key, _COMPARE[found.operator], found.ms)
    match node.left, node.right:
        case ((Name() | CountEvents() as left), (Number(constant) | Text(constant) | Timestamp(constant))):
            return _against(_key(left), _COMPARE[node.operator], constant)
        case ((Number(constant) | Text(constant) | Timestamp(constant)), (Name() | CountEvents() as right)):
            return _against(_key(right), _COMPARE[MIRRORED[node.operator]], constant)
    compare, left_value, right_value = _COMPARE[node.operator], _finite(node.left), _finite(node.right)

    def holds(row: Row, now: Instant) -> bool | None:
        a = left_value(row, now)
        if a is None:
            return None
        b = right_value(row, now)
        return None if b is None else compare(a, b)

    return holds


def _against(key: str, compare: Callable[[Any, Any], bool], constant: object) -> Condition:
    def holds(row: Row, now: Instant) -> bool | None:
        value = row.get(key)
        return None if value is None else compare(value, constant)

    return holds


def _against_cutoff(key: str, compare: Callable[[Any, Any], bool], ms: int) -> Condition:
    def holds(row: Row, now: Instant) -> bool | None:
        value = row.get(key)
        return None if value is None else compare(value, now - ms)

    return holds


def _finite(node: Node) -> _Read:
    """The value of one side of a comparison; unknown where the reckoning leaves the numbers."""
    value = _value(node)
    if not isinstance(node, Arithmetic):
        return value

    def read(row: Row, now: Instant) -> Any:
        found = value(row, now)
        return found if found is not None and math.isfinite(found) else None

    return read


def _value(node: Node) -> _Read:
    match node:
        case Name() | CountEvents():
            key = _key(node)
            return lambda row, now: row.get(key)
        case Number(value) | Text(value) | Timestamp(value):
            return lambda row, now: value
        case Duration():
            length = days(node)
            return lambda row, now: length
        case DaysSince(of):
            instant = _value(of)
            return lambda row, now: None if (at := instant(row, now)) is None else (now - at) / MS_PER_DAY
        case Arithmetic(how, left, right):
            return _reckoned(_RECKON[how], _value(left), _value(right))
        case _:
            raise TypeError(f"{text_of(node)} is no value")


def _reckoned(reckon: Callable[[float, float], float | None], left: _Read, right: _Read) -> _Read:
    def read(row: Row, now: Instant) -> float | None:
        a, b = left(row, now), right(row, now)
        # As floats, as the other back ends reckon: nothing overflows, and 1 / 2 is a half.
        return None if a is None or b is None else reckon(float(a), float(b))

    return read


def _key(node: Name | CountEvents) -> str:
    return node.key if isinstance(node, Name) else text_of(node)


_COMPARE: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

_RECKON: Final[dict[str, Callable[[float, float], float | None]]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": lambda a, b: a / b if b else None,
}
