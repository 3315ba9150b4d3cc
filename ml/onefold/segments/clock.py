"""Time in rules: ``days_since(t) > 90`` as a comparison of ``t`` with an instant, exact to the millisecond."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from onefold.segments.tree import Comparison, ComparisonOperator, DaysSince, Duration, Name, Number

MS_PER_DAY: Final = 86_400_000

MIRRORED: Final[dict[ComparisonOperator, ComparisonOperator]] = {
    "==": "==",
    "!=": "!=",
    "<": ">",
    "<=": ">=",
    ">": "<",
    ">=": "<=",
}
"""``a < b`` is ``b > a``."""


@dataclass(frozen=True, slots=True)
class Cutoff:
    """The instant ``key``, compared with so many milliseconds before now."""

    key: str
    operator: ComparisonOperator
    ms: int


def cutoff(node: Comparison) -> Cutoff | None:
    """What a comparison of ``days_since`` with a fixed length of time comes to; None for any other comparison.

    An age is a whole number of milliseconds, so a limit between two of them is moved to the one that decides alike.
    """
    match node.left, node.right:
        case DaysSince(Name(key)), Number() | Duration() as limit:
            operator = node.operator
        case Number() | Duration() as limit, DaysSince(Name(key)):
            operator = MIRRORED[node.operator]
        case _:
            return None
    # As written: 0.1 is a tenth of a day, not the float that is a little more.
    days = Fraction(limit.hours, 24) if isinstance(limit, Duration) else Fraction(repr(limit.value))
    exact = days * MS_PER_DAY
    ms = math.floor(exact) if operator in (">", "<=") else math.ceil(exact)
    return Cutoff(key, MIRRORED[operator], ms)


def days(node: Duration) -> float:
    """The length of a duration in days."""
    return node.hours / 24
