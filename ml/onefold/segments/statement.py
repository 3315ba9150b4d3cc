"""The twins of a rule: the same condition for DuckDB over a frame, and for Cypher over ``(i:Identity)``.

Both know three truths as rules do, so a person is in where the condition is true, and out or open where a query leaves
the row away. Everything that the author wrote goes in as a parameter; names of columns and properties are quoted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from onefold.graph.model import Instant
from onefold.segments.check import Rule
from onefold.segments.clock import MS_PER_DAY, cutoff, days
from onefold.segments.printing import text_of
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
    MatchOperator,
    Name,
    Node,
    Not,
    Number,
    Or,
    Text,
    Timestamp,
    Truth,
)
from onefold.segments.vocabulary import LABELS, SEGMENTS, Type, TypedFeature

Parameter = int | float | str | list[float] | list[str]


@dataclass(frozen=True, slots=True)
class Statement:
    """A condition and its parameters, ``$p0``, ``$p1`` and so on unless another name was asked for than ``p``."""

    text: str
    parameters: Mapping[str, Parameter]


def duckdb(rule: Rule, now: Instant, parameter: str = "p") -> Statement:
    """The rule as of an instant as a condition of DuckDB.

    It reads columns called as the features are, instants as timestamps, no number NaN, and the lists ``labels`` and
    ``segments``. The text is the same for every instant. Parameters are called ``parameter`` and a number.
    """
    return _stated(rule, now, _DuckDB(), parameter)


def duckdb_not_false(rule: Rule, now: Instant, parameter: str = "p") -> Statement:
    """The condition that a rule is true or left open, as :func:`duckdb` has it; in a ``WHERE`` it is over with a row at
    the first part of a conjunction that is false."""
    parts = rule.tree.of if isinstance(rule.tree, And) else (rule.tree,)
    said = [duckdb(Rule(part, rule.features), now, f"{parameter}{n}_") for n, part in enumerate(parts)]
    text = " AND ".join(f"coalesce({each.text}, TRUE)" for each in said)
    return Statement(text, {name: value for each in said for name, value in each.parameters.items()})


def cypher(rule: Rule, now: Instant) -> Statement:
    """The rule as of an instant as a condition of Cypher on the node ``i``, for Neo4j and ArcadeDB alike.

    Instants are properties of type ``DATETIME``. The text is the same for every instant.
    """
    return _stated(rule, now, _Cypher(), "p")


class _Dialect(Protocol):
    """What the two languages say differently."""

    def column(self, feature: TypedFeature) -> str: ...
    def keys(self, name: str) -> str: ...
    def ms(self, instant: str) -> str: ...
    def beside(self, instant: str, operator: str, ms: int) -> tuple[str, int]: ...
    def real(self, number: str) -> str: ...
    def quotient(self, a: str, b: str) -> str: ...
    def finite(self, number: str) -> str: ...
    def among(self, item: str, listing: str) -> str: ...
    def match(self, how: MatchOperator, text: str, part: str) -> str: ...


class _DuckDB:
    def column(self, feature: TypedFeature) -> str:
        return _quoted(feature.key, '"')

    def keys(self, name: str) -> str:
        return _quoted(name, '"')

    def ms(self, instant: str) -> str:
        return f"epoch_ms({instant})"

    def beside(self, instant: str, operator: str, ms: int) -> tuple[str, int]:
        # Microseconds are what DuckDB keeps: milliseconds it would have to reckon for every row.
        return f"epoch_us({instant}) {operator}", 1000 * ms

    def real(self, number: str) -> str:
        return f"{number}::DOUBLE"

    def quotient(self, a: str, b: str) -> str:
        return f"({a} / nullif({b}, 0))"

    def finite(self, number: str) -> str:
        return f"CASE WHEN isfinite({number}) THEN {number} END"

    def among(self, item: str, listing: str) -> str:
        # Not IN: DuckDB 2.0 takes it to look for a text within a text, and finds the empty one in every list.
        return f"list_contains({listing}, {item})"

    def match(self, how: MatchOperator, text: str, part: str) -> str:
        return f"{_DUCKDB_MATCH[how]}({text}, {part})"


class _Cypher:
    def column(self, feature: TypedFeature) -> str:
        return f"i.{_quoted(feature.property, '`')}"

    def keys(self, name: str) -> str:
        return f"i.{name}"

    def ms(self, instant: str) -> str:
        return f"{instant}.epochMillis"

    def beside(self, instant: str, operator: str, ms: int) -> tuple[str, int]:
        return f"{self.ms(instant)} {operator}", ms

    def real(self, number: str) -> str:
        return f"toFloat({number})"

    def quotient(self, a: str, b: str) -> str:
        return f"CASE WHEN {b} = 0.0 THEN null ELSE {a} / {b} END"

    def finite(self, number: str) -> str:
        # Of NaN, too, this is not true. Adding 0 makes a negative zero positive: on Neo4j it is below the positive one.
        return f"CASE WHEN abs({number}) <= 1.7976931348623157e308 THEN {number} + 0.0 END"

    def among(self, item: str, listing: str) -> str:
        return f"{item} IN {listing}"

    def match(self, how: MatchOperator, text: str, part: str) -> str:
        return f"{text} {_CYPHER_MATCH[how]} {part}"


_DUCKDB_MATCH: Final = {"startsWith": "starts_with", "contains": "contains"}
_CYPHER_MATCH: Final = {"startsWith": "STARTS WITH", "contains": "CONTAINS"}
_COMPARE: Final = {"==": "=", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}


def _stated(rule: Rule, now: Instant, dialect: _Dialect, parameter: str) -> Statement:
    writer = _Writer(rule.features, now, dialect, parameter)
    return Statement(writer.condition(rule.tree), writer.parameters)


@dataclass(slots=True)
class _Writer:
    features: Mapping[str, TypedFeature]
    now: Instant
    dialect: _Dialect
    prefix: str
    parameters: dict[str, Parameter] = field(default_factory=dict)

    def condition(self, node: Node) -> str:
        match node:
            case And(of):
                return f"({' AND '.join(map(self.condition, of))})"
            case Or(of):
                return f"({' OR '.join(map(self.condition, of))})"
            case Not(of):
                return f"NOT ({self.condition(of)})"
            case Comparison():
                return self._comparison(node)
            case In(item, Listing(of)):
                return self.dialect.among(self._operand(item), self._parameter(_listed(of)))
            case In(Text(value), among):
                return self.dialect.among(self._parameter(value), self._operand(among))
            case Match(how, of, Text(text)):
                return self.dialect.match(how, self._operand(of), self._parameter(text))
            case IsKnown(of):
                return f"{self._column(of)} IS NOT NULL"
            case HasLabel(key):
                return self._member(LABELS, key)
            case InSegment(key):
                return self._member(SEGMENTS, key)
            case Truth(value):
                return "TRUE" if value else "FALSE"
            case _:
                return self._column(node)

    def _member(self, of: str, key: str) -> str:
        return f"coalesce({self.dialect.among(self._parameter(key), self.dialect.keys(of))}, FALSE)"

    def _comparison(self, node: Comparison) -> str:
        if found := cutoff(node):
            column = self.dialect.column(self.features[found.key])
            compared, limit = self.dialect.beside(column, _COMPARE[found.operator], self.now - found.ms)
            return f"{compared} {self._parameter(limit)}"
        return f"{self._operand(node.left)} {_COMPARE[node.operator]} {self._operand(node.right)}"

    def _operand(self, node: Node) -> str:
        """One side of a comparison, as it stands where nothing is reckoned."""
        match node:
            case Name() | CountEvents():
                column = self._column(node)
                is_instant = self.features[_key(node)].type is Type.INSTANT
                return self.dialect.ms(column) if is_instant else column
            case Text(value):
                return self._parameter(value)
            case Timestamp(instant):
                return self._parameter(instant)
            case Arithmetic():
                return self.dialect.finite(self._real(node))
            case _:
                return self._real(node)

    def _real(self, node: Node) -> str:
        """A number as float64."""
        match node:
            case Number(value):
                return self._parameter(float(value))
            case Duration():
                return self._parameter(days(node))
            case DaysSince(of):
                age = f"({self._parameter(self.now)} - {self._operand(of)})"
                return f"({self.dialect.real(age)} / {self.dialect.real(str(MS_PER_DAY))})"
            case Arithmetic("/", left, right):
                return self.dialect.quotient(self._real(left), self._real(right))
            case Arithmetic(how, left, right):
                return f"({self._real(left)} {how} {self._real(right)})"
            case _:
                return self.dialect.real(self._column(node))

    def _column(self, node: Node) -> str:
        return self.dialect.column(self.features[_key(node)])

    def _parameter(self, value: Parameter) -> str:
        name = f"{self.prefix}{len(self.parameters)}"
        self.parameters[name] = value
        return f"${name}"


def _key(node: Node) -> str:
    return node.key if isinstance(node, Name) else text_of(node)


def _listed(options: tuple[Node, ...]) -> list[float] | list[str]:
    numbers = [float(option.value) for option in options if isinstance(option, Number)]
    return numbers or [option.value for option in options if isinstance(option, Text)]


def _quoted(name: str, mark: str) -> str:
    return f"{mark}{name.replace(mark, mark * 2)}{mark}"
