"""The ``tests:`` of a catalogue: people of whom its author says what a rule comes to."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from typing import Final

from onefold.graph.model import Instant
from onefold.segments.catalogue.definitions import Catalogue, Example, Ladder
from onefold.segments.catalogue.faults import Faults, FieldPath
from onefold.segments.catalogue.file import ExampleInFile
from onefold.segments.check import Rule, check
from onefold.segments.clock import MS_PER_DAY
from onefold.segments.evaluate import Clause, Explanation, explain
from onefold.segments.folding import folded
from onefold.segments.functions import FUNCTIONS
from onefold.segments.parse import MAX_NUMBER
from onefold.segments.printing import iso
from onefold.segments.problems import InvalidRule, did_you_mean
from onefold.segments.tree import NOWHERE, Text, Timestamp
from onefold.segments.vocabulary import LABELS, SEGMENTS, Row, Type, Value, Vocabulary

TRUTHS: Final = ("true", "false", "unknown")
"""What a label's or a segment's example may be expected to come to."""

_AGO: Final = re.compile(r"(?:(?P<ago>[0-9]{1,5}) ?(?P<unit>[dh]) ago)|(?:in (?P<ahead>[0-9]{1,5}) ?(?P<of>[dh]))")
_HOUR_MS: Final = MS_PER_DAY // 24


# -- reading ---------------------------------------------------------------------------------------------------------


def read(
    written: ExampleInFile, path: FieldPath, place: str, expected: Collection[str], known: Vocabulary, faults: Faults
) -> Example:
    """An example, checked: every value is of its feature's type. What is wrong is added to the faults."""
    at = _instant(written.at)
    if at is None:
        faults.add((*path, "at"), "must be a day or an instant, as 2026-01-31 or 2026-01-31T18:00:00Z")
    if written.is_ not in expected:
        faults.add((*path, "is"), f"must be {_one_of(expected)}{did_you_mean(written.is_, expected)}")
    given: dict[str, Value | None] = {}
    for key, value in written.given.items():
        try:
            given.update([_given(key, value, at or 0, known)])
        except ValueError as error:
            faults.add((*path, "given", key), str(error))
    return Example(place, given, at or 0, written.is_)


def row_of(data: object, known: Vocabulary, now: Instant) -> Row:
    """A row, as a rule is asked about it, of values as JSON or YAML has them: instants as texts, texts in any case.

    Raises ValueError, in words, at the first that is not of its feature's type.
    """
    if not isinstance(data, dict):
        raise ValueError("must be an object of values by feature")
    return dict(_given(str(key), value, now, known) for key, value in data.items())


def _given(key: str, value: object, at: Instant, known: Vocabulary) -> tuple[str, Value | None]:
    """The key of a row, and what the row holds there. Raises ValueError."""
    if key in (LABELS, SEGMENTS):
        return key, _keys(key, value, (known.labels if key == LABELS else known.segments))
    key, type = _feature(key, known)
    try:
        return key, None if value is None else _value(type, value, at)
    except _WrongTypeError as error:
        raise ValueError(f"{key} {error}") from None


def _keys(of: str, value: object, known: Collection[str] | None) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ValueError(f"{of} must be a list of keys")
    for key in value:
        if known is not None and key not in known:
            raise ValueError(f"there is no {of.removesuffix('s')} {key}{did_you_mean(key, known)}")
    return tuple(value)


def _feature(key: str, known: Vocabulary) -> tuple[str, Type]:
    """The key as rows have it, and the type. A count of events may be written in any way."""
    if feature := known.features.get(key):
        return key, feature.type
    if key.startswith("count_events"):
        try:
            (feature,) = check(f"{key}\n>= 0", known).features.values()
        except InvalidRule as error:
            raise ValueError(f"{key}: {error.problems[0].words}") from error
        return feature.key, feature.type
    raise ValueError(f"there is no feature {key}{did_you_mean(key, known.features)}")


class _WrongTypeError(Exception):
    """Says what a value must be."""


def _value(type: Type, value: object, at: Instant) -> Value:
    match type, value:
        case Type.BOOL, bool():
            return value
        case (_, bool()):
            pass
        case Type.INT, int() if abs(value) <= MAX_NUMBER:
            return value
        case Type.FLOAT | Type.DAYS, int() | float() if math.isfinite(value) and abs(value) <= MAX_NUMBER:
            return value + 0.0  # no negative zero
        case Type.TEXT, str():
            return folded(value)
        case Type.TEXTS, list() if all(isinstance(each, str) for each in value):
            return tuple(sorted(map(folded, value)))
        case Type.INSTANT, str() | date():
            instant = _instant(value if isinstance(value, str) else value.isoformat(), at)
            if instant is not None:
                return instant
    raise _WrongTypeError(_WANTED[type])


_WANTED: Final = {
    Type.INT: "must be a whole number",
    Type.FLOAT: "must be a number",
    Type.DAYS: "must be a number of days",
    Type.TEXT: "must be text",
    Type.BOOL: "must be true or false",
    Type.INSTANT: "must be a day, an instant with its offset, or as 91d ago, 12h ago, in 3d",
    Type.TEXTS: "must be a list of texts",
}


def _instant(text: str, now: Instant | None = None) -> Instant | None:
    """The instant that a text says, by itself or before and after ``now``; None where it says none."""
    if now is not None and (relative := _AGO.fullmatch(text)):
        ago, unit, ahead, of = relative.group("ago", "unit", "ahead", "of")
        length = int(ago or ahead) * (MS_PER_DAY if (unit or of) == "d" else _HOUR_MS)
        return now - length if ago else now + length
    said = FUNCTIONS["timestamp"]([Text(text)], NOWHERE)
    return said.instant if isinstance(said, Timestamp) else None


def _one_of(words: Collection[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} or {last}"


# -- asking ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a rule came to for the person of an example."""

    of: str
    """``label silent``, ``segment winback``, ``tiers rfm``."""
    example: Example
    found: str
    why: str
    """Each clause with its truth and the values that it read; of a ladder, down to the rung that decided."""

    @property
    def holds(self) -> bool:
        """Whether it is as the author said."""
        return self.found == self.example.expected

    @property
    def words(self) -> str:
        """What was expected and found, and why."""
        return f"{self.of} should be {self.example.expected} and is {self.found}: {self.why}"


def outcomes(catalogue: Catalogue) -> tuple[Outcome, ...]:
    """What every example of a catalogue comes to, in the order of its definitions."""
    labels = [_outcome(str(e.named), e.rule, example) for e in catalogue.labels.values() for example in e.examples]
    ladders = [_tier(each, example) for each in catalogue.ladders.values() for example in each.examples]
    segments = [
        _outcome(str(each.named), each.rule, example)
        for each in catalogue.segments.values()
        if each.rule is not None
        for example in each.examples
    ]
    return (*labels, *ladders, *segments)


def _outcome(of: str, rule: Rule, example: Example) -> Outcome:
    explanation = explain(rule, example.given, example.at)
    return Outcome(of, example, truth_word(explanation.truth), _why(rule, explanation))


def _tier(ladder: Ladder, example: Example) -> Outcome:
    asked: list[str] = []
    found = ladder.otherwise
    for tier in ladder.tiers:
        explanation = explain(tier.rule, example.given, example.at)
        asked.append(_why(tier.rule, explanation))
        if explanation.truth is not False:
            found = tier.key if explanation.truth else ladder.unknown
            break
    return Outcome(f"tiers {ladder.key}", example, found, "; ".join(asked))


def truth_word(truth: bool | None) -> str:
    """As an example says it."""
    return "unknown" if truth is None else "true" if truth else "false"


def value_word(value: Value | None, type: Type) -> str:
    """A value as a person reads it; an instant in UTC."""
    if value is None:
        return "unknown"
    if type is Type.INSTANT and isinstance(value, int):
        return iso(value)
    if type is Type.TEXTS and not isinstance(value, str) and isinstance(value, Collection):
        return ", ".join(sorted(value)) or "none"
    return truth_word(value) if isinstance(value, bool) else str(value)


def values_said(clause: Clause, rule: Rule) -> str:
    """The values that a clause read, each with its feature."""
    return ", ".join(f"{key} is {value_word(value, rule.features[key].type)}" for key, value in clause.values.items())


def _why(rule: Rule, explanation: Explanation) -> str:
    said = ((f"{each.text} is {truth_word(each.truth)}", values_said(each, rule)) for each in explanation.clauses)
    return "; ".join(f"{truth} ({values})" if values else truth for truth, values in said)
