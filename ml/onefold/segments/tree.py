"""A rule as a tree: what :mod:`onefold.segments.parse` gives, and all that the rest of this package works on.

Two trees are equal when they say the same; where in the text they said it does not count.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

from onefold.graph.model import Instant

Span = tuple[int, int]
"""From the first character of a text to the one after the last."""

NOWHERE: Final[Span] = (0, 0)

ComparisonOperator = Literal["==", "!=", "<", "<=", ">", ">="]
ArithmeticOperator = Literal["+", "-", "*", "/"]
MatchOperator = Literal["startsWith", "contains"]


@dataclass(frozen=True, slots=True)
class _Placed:
    at: Span = field(default=NOWHERE, compare=False, repr=False, kw_only=True)
    """Where it stands in the text that it was read from."""


@dataclass(frozen=True, slots=True)
class And(_Placed):
    """``a && b && c``: at least two, none of them an ``And``."""

    of: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Or(_Placed):
    """``a || b || c``: at least two, none of them an ``Or``."""

    of: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Not(_Placed):
    """``!a``."""

    of: Node


@dataclass(frozen=True, slots=True)
class Comparison(_Placed):
    """``orders >= 2``."""

    operator: ComparisonOperator
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class In(_Placed):
    """``city in ["leeds", "york"]``, or ``"yoga" in interests``."""

    item: Node
    among: Node


@dataclass(frozen=True, slots=True)
class Match(_Placed):
    """``city.startsWith("new")``."""

    operator: MatchOperator
    of: Node
    text: Node


@dataclass(frozen=True, slots=True)
class IsKnown(_Placed):
    """``known(gap_mean)``."""

    of: Node


@dataclass(frozen=True, slots=True)
class HasLabel(_Placed):
    """``has_label("silent")``."""

    key: str


@dataclass(frozen=True, slots=True)
class InSegment(_Placed):
    """``in_segment("staff")``."""

    key: str


@dataclass(frozen=True, slots=True)
class Arithmetic(_Placed):
    """``spend / orders``."""

    operator: ArithmeticOperator
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class DaysSince(_Placed):
    """``days_since(last_order_at)``."""

    of: Node


@dataclass(frozen=True, slots=True)
class CountEvents(_Placed):
    """``count_events("view", category == "fitness", 30d)``: a feature with parameters of its own."""

    type: str
    """Of the events; case-folded."""
    where: Node | None = None
    """About one event; None counts every one of the type."""
    hours: int | None = None
    """The length of the window that ends now; None counts since ever."""


@dataclass(frozen=True, slots=True)
class Name(_Placed):
    """A feature, or, within a ``CountEvents``, a field of an event."""

    key: str


@dataclass(frozen=True, slots=True)
class Truth(_Placed):
    """``true`` or ``false``."""

    value: bool


@dataclass(frozen=True, slots=True)
class Number(_Placed):
    """A number; an ``int`` where it is whole."""

    value: int | float


@dataclass(frozen=True, slots=True)
class Text(_Placed):
    """A text, case-folded."""

    value: str


@dataclass(frozen=True, slots=True)
class Duration(_Placed):
    """``30d`` or ``12h``."""

    hours: int


@dataclass(frozen=True, slots=True)
class Timestamp(_Placed):
    """``timestamp("2026-01-31T00:00:00Z")``."""

    instant: Instant


@dataclass(frozen=True, slots=True)
class Listing(_Placed):
    """``[1, 2, 3]``: at least one."""

    of: tuple[Node, ...]


Node = (
    And | Or | Not | Comparison | In | Match | IsKnown | HasLabel | InSegment | Arithmetic | DaysSince | CountEvents
    | Name | Truth | Number | Text | Duration | Timestamp | Listing
)  # fmt: skip
"""Any part of a rule. Which parts fit together is for :mod:`onefold.segments.check` to say."""


def children(node: Node) -> tuple[Node, ...]:
    """The parts directly under a node, in the order of the text."""
    match node:
        case And() | Or() | Listing():
            return node.of
        case Not() | IsKnown() | DaysSince():
            return (node.of,)
        case Comparison() | Arithmetic():
            return node.left, node.right
        case In():
            return node.item, node.among
        case Match():
            return node.of, node.text
        case CountEvents():
            return () if node.where is None else (node.where,)
        case _:
            return ()


def clauses(node: Node) -> Iterator[Node]:
    """What a rule combines by and, or and not, in the order of the text."""
    if isinstance(node, And | Or | Not):
        for child in children(node):
            yield from clauses(child)
    else:
        yield node
