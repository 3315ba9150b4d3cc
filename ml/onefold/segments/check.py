"""Rules held against a vocabulary: names, types and units."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from onefold.segments import measure
from onefold.segments.functions import FUNCTIONS
from onefold.segments.measure import DAYS, PLAIN, Measure
from onefold.segments.parse import parse
from onefold.segments.printing import text_of
from onefold.segments.problems import InvalidRule, Problem, did_you_mean
from onefold.segments.reads import has_clock, reads
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
    children,
)
from onefold.segments.vocabulary import Type, TypedFeature, Vocabulary

MAX_DAYS_SINCE: Final = 36_500


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule that makes sense: the only thing that back ends take."""

    tree: Node
    features: Mapping[str, TypedFeature]
    """What it reads, by key; a count of events under its canonical text."""

    @property
    def text(self) -> str:
        """The canonical text."""
        return text_of(self.tree)


def check(text: str, vocabulary: Vocabulary) -> Rule:
    """The rule that a text says.

    Raises :class:`onefold.segments.problems.InvalidRule`: for the first place that is not of the language; else for
    everything that does not fit the vocabulary, each with its line and column.
    """
    tree = parse(text)
    checker = _Checker(vocabulary, vocabulary.features)
    checker.condition(tree)
    if checker.problems:
        raise InvalidRule(text, sorted(checker.problems, key=lambda problem: problem.at))
    read = reads(tree)
    features = {key: vocabulary.features[key] for key in read.features}
    windows = {key: TypedFeature(key, Type.INT, "events") for key in map(text_of, read.windows)}
    return Rule(tree, features | windows)


@dataclass(frozen=True, slots=True)
class _Sort:
    """What values an expression has."""

    type: Type
    measure: Measure | None = PLAIN
    """None: a number without a unit, which takes the unit of what it is beside."""


@dataclass(slots=True)
class _Checker:
    """Gathers what is wrong. Names are of ``names``: features, or within a count of events the fields of an event."""

    vocabulary: Vocabulary
    names: Mapping[str, TypedFeature]
    of_events: bool = False
    problems: list[Problem] = field(default_factory=list)

    def condition(self, node: Node) -> None:
        match node:
            case And() | Or() | Not():
                for part in children(node):
                    self.condition(part)
            case Comparison():
                self._comparison(node)
            case In(item, among):
                self._in(node, item, among)
            case Match():
                self._match(node)
            case IsKnown(of):
                if not isinstance(of, Name | CountEvents):
                    self._add(of, "known takes one feature, as in known(gap_mean)")
                self._sort(of)
            case HasLabel(key):
                self._named(node, "label", key, self.vocabulary.labels)
            case InSegment(key):
                self._named(node, "segment", key, self.vocabulary.segments)
            case Name(key):
                sort = self._sort(node)
                if sort is not None and sort.type is not Type.BOOL:
                    self._add(node, f"{key} is {_a(sort)}, and a condition is wanted: {_as_condition(key, sort.type)}")
            case Truth():
                pass
            case _:
                sort = self._sort(node)
                if sort is not None:
                    self._add(node, f"this is {_a(sort)}, and a condition is wanted: compare it")

    def _sort(self, node: Node) -> _Sort | None:
        """What values an expression has; None once it is among the problems."""
        match node:
            case Name(key):
                return self._name(node, key)
            case Number():
                return _Sort(Type.FLOAT, None)
            case Duration():
                return _Sort(Type.DAYS, DAYS)
            case Text():
                return _Sort(Type.TEXT)
            case Timestamp():
                return _Sort(Type.INSTANT)
            case DaysSince(of):
                return self._days_since(node, of)
            case CountEvents(_, where):
                return self._count_events(node, where)
            case Arithmetic():
                return self._arithmetic(node)
            case Listing():
                return self._add(node, 'a list stands after in only, as in city in ["leeds", "york"]')
            case _:
                self.condition(node)
                return self._add(node, "this is true or false by itself, and can't be compared or reckoned with")

    def _name(self, node: Name, key: str) -> _Sort | None:
        feature = self.names.get(key)
        if feature is not None:
            unit = "days" if feature.type is Type.DAYS else feature.unit
            return _Sort(feature.type, measure.measure_of(unit) if feature.type.is_number else PLAIN)
        what = "field of events" if self.of_events else "feature"
        if key in FUNCTIONS:
            return self._add(node, f"{key} is a function: write {key}(…)")
        return self._add(node, f"there is no {what} {key}{did_you_mean(key, self.names)}")

    def _named(self, node: Node, kind: str, key: str, known: Collection[str] | None) -> None:
        if self.of_events:
            self._add(node, f"an event has no {kind}s")
        elif known is not None and key not in known:
            self._add(node, f"there is no {kind} {key}{did_you_mean(key, known)}")

    def _days_since(self, node: Node, of: Node) -> _Sort | None:
        if self.of_events:
            return self._add(node, "of events, the last argument of count_events says how old they may be")
        sort = self._sort(of)
        if sort is not None and not (isinstance(of, Name) and sort.type is Type.INSTANT):
            return self._add(of, f"days_since takes a feature that is an instant, and this is {_a(sort)}")
        return sort and _Sort(Type.DAYS, DAYS)

    def _count_events(self, node: Node, where: Node | None) -> _Sort | None:
        if self.of_events:
            return self._add(node, "an event has no events")
        if where is not None:
            of_event = _Checker(self.vocabulary, self.vocabulary.event_fields, of_events=True, problems=self.problems)
            of_event.condition(where)
        return _Sort(Type.INT)

    def _arithmetic(self, node: Arithmetic) -> _Sort | None:
        left, right = self._sort(node.left), self._sort(node.right)
        for side, sort in ((node.left, left), (node.right, right)):
            if sort is not None and not sort.type.is_number:
                return self._add(side, f"{node.operator} takes numbers, and this is {_a(sort)}")
        if left is None or right is None:
            return None
        if node.operator in ("+", "-"):
            if _differ(left, right):
                return self._add(node, f"{_units(left, right)} can't be added up")
            return _Sort(Type.FLOAT, right.measure if left.measure is None else left.measure)
        if node.operator == "/" and _has_division(node.right):
            return self._add(node.right, "a divisor may have no division in it: write a * c / b for a / (b / c)")
        if left.measure is None and right.measure is None:
            return left
        power = 1 if node.operator == "*" else -1
        return _Sort(Type.FLOAT, measure.product(left.measure or PLAIN, right.measure or PLAIN, power))

    def _comparison(self, node: Comparison) -> None:
        left, right = self._sort(node.left), self._sort(node.right)
        if left is None or right is None:
            return
        if words := _incomparable(node, left, right):
            self._add(node, words)

    def _in(self, node: Node, item: Node, among: Node) -> None:
        if not isinstance(among, Listing):
            sort = self._sort(among)
            if sort is not None and (sort.type is not Type.TEXTS or not isinstance(item, Text)):
                self._add(node, 'in takes a list, as in city in ["leeds", "york"] or "yoga" in interests')
            return
        sort = self._sort(item)
        if sort is None:
            return
        if not isinstance(item, Name | CountEvents) or not (sort.type.is_number or sort.type is Type.TEXT):
            self._add(item, "before in … stands a feature that is a number or a text")
        for option in among.of:
            if not isinstance(option, Number if sort.type.is_number else Text):
                self._add(option, f"the list may have {'numbers' if sort.type.is_number else 'texts'} only")

    def _match(self, node: Match) -> None:
        sort = self._sort(node.of)
        if sort is not None and not (isinstance(node.of, Name) and sort.type is Type.TEXT):
            self._add(node.of, f"{node.operator} is asked of a feature that is a text, and this is {_a(sort)}")
        if not (isinstance(node.text, Text) and node.text.value):
            self._add(node.text, f"{node.operator} takes a text that is not empty")

    def _add(self, node: Node, words: str) -> _Sort | None:
        """None: what stands there has no sort."""
        self.problems.append(Problem(node.at, words))
        return None


def _incomparable(node: Comparison, left: _Sort, right: _Sort) -> str | None:
    """Why two things can't be compared in this way, if they can't."""
    types = {left.type, right.type}
    if Type.BOOL in types:
        return "a feature that is true or false is a condition by itself: write it, or ! before it"
    if Type.TEXTS in types:
        return 'a list is asked with in, as in "yoga" in interests'
    if left.type.is_number != right.type.is_number or (not left.type.is_number and left.type != right.type):
        hint = (
            "; did you mean days_since(…)?" if Type.INSTANT in types and len(types - {Type.INSTANT, Type.TEXT}) else ""
        )
        return f"{_a(left)} can't be compared with {_a(right)}{hint}"
    if Type.TEXT in types and node.operator not in ("==", "!="):
        return "texts have no order: compare them by == or !="
    if left.type.is_number and _differ(left, right):
        return f"{_units(left, right)} can't be compared"
    if _is_constant(node):
        return "this is always the same: compare a feature"
    if has_clock(node) and node.operator in ("==", "!="):
        return "time goes on by milliseconds: compare days_since by <, <=, > or >="
    limits = [side.value for side in (node.left, node.right) if isinstance(side, Number)]
    if has_clock(node) and any(abs(limit) > MAX_DAYS_SINCE for limit in limits):
        return f"days_since may be compared with {MAX_DAYS_SINCE:,} days at most"
    return None


def _differ(a: _Sort, b: _Sort) -> bool:
    return a.measure is not None and b.measure is not None and a.measure != b.measure


def _units(a: _Sort, b: _Sort) -> str:
    return f"{measure.words(a.measure or PLAIN)} and {measure.words(b.measure or PLAIN)}"


def _is_constant(node: Node) -> bool:
    return not isinstance(node, Name | CountEvents) and all(map(_is_constant, children(node)))


def _has_division(node: Node) -> bool:
    return (isinstance(node, Arithmetic) and node.operator == "/") or any(map(_has_division, children(node)))


def _a(sort: _Sort) -> str:
    match sort.type:
        case Type.INT | Type.FLOAT:
            return "a number"
        case Type.DAYS:
            return "a number of days"
        case Type.INSTANT:
            return "an instant"
        case Type.TEXTS:
            return "a list of texts"
        case Type.BOOL:
            return "true or false"
        case Type.TEXT:
            return "a text"


def _as_condition(key: str, type: Type) -> str:
    match type:
        case Type.TEXT:
            return f'write {key} == "…"'
        case Type.TEXTS:
            return f'write "…" in {key}'
        case Type.INSTANT:
            return f"write days_since({key}) < 30"
        case _:
            return f"write {key} >= 1"
