"""Random rules, and random people whom they are asked about: many on the boundary, many of whom little is known."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, Final

import pyarrow as pa

from onefold.ml.columns import INSTANT
from onefold.segments.check import Rule, check
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
    Name,
    Node,
    Not,
    Number,
    Or,
    Text,
    Timestamp,
    Truth,
)
from onefold.segments.vocabulary import LABELS, SEGMENTS, Type, TypedFeature, Vocabulary, by_key

NOW: Final = 1_764_583_200_000
DAY: Final = 86_400_000

WINDOWS: Final = (
    CountEvents("view", None, 30 * 24),
    CountEvents("cart.add", Comparison("==", Name("channel"), Text("app"))),
    CountEvents("view", In(Name("category"), Listing((Text("yoga"), Text('a "b` \\c')))), 12),
)

VOCABULARY: Final = Vocabulary(
    by_key(
        [
            TypedFeature("orders", Type.INT, "orders"),
            TypedFeature("points", Type.INT, "points"),
            TypedFeature("share", Type.FLOAT, "share"),
            TypedFeature("spend", Type.FLOAT, "amount"),
            TypedFeature("order_value", Type.FLOAT, "amount"),
            TypedFeature("gap", Type.DAYS),
            TypedFeature("rest", Type.DAYS),
            TypedFeature("city", Type.TEXT),
            TypedFeature("home", Type.TEXT),
            TypedFeature("vip", Type.BOOL),
            TypedFeature("interests", Type.TEXTS),
            TypedFeature("last_order_at", Type.INSTANT),
            TypedFeature("next_order_at", Type.INSTANT, property="next_order_at"),
        ]
    ),
    by_key([TypedFeature("channel", Type.TEXT), TypedFeature("category", Type.TEXT)]),
    labels=("silent", "new"),
    segments=("staff", "winback"),
)

FEATURES: Final = [*VOCABULARY.features.values(), *(TypedFeature(text_of(w), Type.INT, "events") for w in WINDOWS)]
"""All that a row may hold, besides labels and segments."""

_WORDS: Final = ("leeds", "new york", "york", "東京", "straße", "o'neill", 'a "b` \\c', "")
_INTS: Final = (0, 1, 2, 3, 5, -4, 2**53 - 1)
_REALS: Final = (0.0, 0.1, 0.2, 0.1 + 0.2, 1.0, 2.5, -3.0, 1e-9, 123_456.789, 9e15)
_DAYS: Final = (0.0, 0.5, 1.0, 7.25, 30.0, 30.000000000000004)
_AGES: Final = (0.0, 0.1, 0.5, 1.0, 7.25, 30.0, 90.0, -2.0)

_VALUES: Final[dict[Type, Callable[[Random], Any]]] = {
    Type.INT: lambda r: r.choice(_INTS),
    Type.FLOAT: lambda r: r.choice(_REALS),
    Type.DAYS: lambda r: r.choice(_DAYS),
    Type.TEXT: lambda r: r.choice(_WORDS),
    Type.BOOL: lambda r: r.random() < 0.5,
    Type.INSTANT: lambda r: NOW - round(r.choice(_AGES) * DAY) + r.choice((-1, 0, 0, 1)),
    Type.TEXTS: lambda r: r.sample(_WORDS, r.randrange(4)),
}
_COLUMNS: Final = {
    Type.INT: pa.int64(),
    Type.FLOAT: pa.float64(),
    Type.DAYS: pa.float64(),
    Type.TEXT: pa.string(),
    Type.BOOL: pa.bool_(),
    Type.INSTANT: INSTANT,
    Type.TEXTS: pa.list_(pa.string()),
}


def people(seed: int, count: int) -> list[dict[str, Any]]:
    """So many rows, each with an ``id``; what is unknown is missing."""
    random = Random(seed)
    return [_person(random, f"i-{number}") for number in range(count)]


def _person(random: Random, id: str) -> dict[str, Any]:
    unknown = random.choice((0.0, 0.2, 0.5, 1.0))
    row = {f.key: _VALUES[f.type](random) for f in FEATURES if random.random() >= unknown}
    for name, keys in ((LABELS, VOCABULARY.labels), (SEGMENTS, VOCABULARY.segments)):
        if random.random() < 0.7:
            row[name] = [key for key in keys if random.random() < 0.5]
    return {"id": id, **row}


def frame(rows: list[dict[str, Any]]) -> pa.Table:
    """The same people as columns."""
    columns = {f.key: pa.array([row.get(f.key) for row in rows], _COLUMNS[f.type]) for f in FEATURES}
    keys = {n: pa.array([row.get(n) for row in rows], pa.list_(pa.string())) for n in (LABELS, SEGMENTS)}
    return pa.table({"id": [row["id"] for row in rows], **columns, **keys})


def rules(seed: int, count: int) -> list[Rule]:
    """So many rules of :data:`VOCABULARY`, from one clause to some dozens."""
    random = Random(seed)
    return [check(text_of(condition(random, random.randrange(4))), VOCABULARY) for _ in range(count)]


def condition(random: Random, depth: int) -> Node:
    """A random condition; ``depth`` bounds how far it is combined."""
    if depth > 0:
        kind: Any = random.choice((And, Or, Not))
        if kind is Not:
            return Not(condition(random, depth - 1))
        parts = [condition(random, depth - 1) for _ in range(random.randrange(2, 4))]
        return kind(tuple(p for part in parts for p in (part.of if isinstance(part, kind) else (part,))))
    return random.choice(_CLAUSES)(random)


def _numbers(random: Random) -> Node:
    measure = random.choice(("", "amount", "days"))
    sides = (_reading(random, measure, random.randrange(3)), _number(random, measure, random.randrange(2)))
    return Comparison(random.choice(("==", "!=", "<", "<=", ">", ">=")), *sides[:: random.choice((1, -1))])


def _reading(random: Random, measure: str, depth: int) -> Node:
    """A number that hangs on a feature."""
    if not depth:
        keys = [f.key for f in VOCABULARY.features.values() if f.type.is_number and _measure(f) == measure]
        return random.choice([*map(Name, keys), *(WINDOWS if not measure else ())])
    how = random.choice(("+", "-", "*", "/"))
    if how in ("+", "-"):
        return Arithmetic(how, _reading(random, measure, depth - 1), _number(random, measure, depth - 1))
    if how == "*":
        return Arithmetic(how, _number(random, "", 0), _reading(random, measure, depth - 1))
    return Arithmetic(how, _reading(random, measure, depth - 1), _number(random, "", 0))


def _number(random: Random, measure: str, depth: int) -> Node:
    if random.random() < 0.5:
        return _reading(random, measure, depth)
    return Number(random.choice((0, 1, 2, 3, 0.1, 0.5, 2.5, -3, 30, 123_456.789)))


def _measure(feature: TypedFeature) -> str:
    return "days" if feature.type is Type.DAYS else "amount" if feature.unit == "amount" else ""


def _texts(random: Random) -> Node:
    other = random.choice((Text(_value(random, Type.TEXT)), Name("home")))
    return Comparison(random.choice(("==", "!=")), Name("city"), other)


def _instants(random: Random) -> Node:
    other = random.choice((Timestamp(NOW - 30 * DAY), Name("next_order_at")))
    return Comparison(random.choice(("==", "!=", "<", "<=", ">", ">=")), Name("last_order_at"), other)


def _ages(random: Random) -> Node:
    age = DaysSince(Name(random.choice(("last_order_at", "next_order_at"))))
    limit: Node = random.choice(
        (
            Number(_plain(random.choice(_AGES))),
            Duration(random.choice((12, 24, 30 * 24, 90 * 24))),
            Name("gap"),
            Arithmetic("*", Number(2), Name("gap")),
            DaysSince(Name("next_order_at")),
        )
    )
    left, right = (age, limit) if random.random() < 0.7 else (limit, age)
    return Comparison(random.choice(("<", "<=", ">", ">=")), left, right)


def _in_texts(random: Random) -> Node:
    return In(Name("city"), Listing(tuple(map(Text, random.sample(_WORDS, random.randrange(1, 4))))))


def _in_numbers(random: Random) -> Node:
    item = random.choice((Name("orders"), Name("share"), Name("gap"), WINDOWS[0]))
    options = [_plain(v) for v in random.sample((0, 1, 2, 5, -4, 0.1, 0.5, 30), random.randrange(1, 5))]
    return In(item, Listing(tuple(map(Number, options))))


def _in_list(random: Random) -> Node:
    return In(Text(_value(random, Type.TEXT)), Name("interests"))


def _match(random: Random) -> Node:
    part = random.choice(("new", "ork", "東", "ß", "ss", '"', "`", "\\", "'"))
    return Match(random.choice(("startsWith", "contains")), Name(random.choice(("city", "home"))), Text(part))


def _known(random: Random) -> Node:
    return IsKnown(random.choice([*map(Name, VOCABULARY.features), *WINDOWS]))


def _named(random: Random) -> Node:
    if random.random() < 0.5:
        return HasLabel(random.choice(tuple(VOCABULARY.labels)))
    return InSegment(random.choice(tuple(VOCABULARY.segments)))


def _value(random: Random, type: Type) -> Any:
    return _VALUES[type](random)


def _plain(value: float) -> int | float:
    return int(value) if value == int(value) else value


_CLAUSES: Final[tuple[Callable[[Random], Node], ...]] = (
    _numbers, _numbers, _numbers, _texts, _instants, _ages, _ages, _in_texts, _in_numbers, _in_list, _match, _known,
    _named, lambda random: Name("vip"), lambda random: Truth(random.random() < 0.5),
)  # fmt: skip


_PIECES = (
    "&&", "||", "!", "==", "!=", "<", "<=", ">", ">=", "in", "(", ")", "[", "]", ",", ".", "+", "-", "*", "/", "=",
    "true", "null", "orders", "vip", "city", "days_since(", "count_events(", '"view"', "has_label(", "known(", "30d",
    "12h", "1", "0.5", "1e308", "9" * 50, '"', "'", "\\", "\n", "\t", " ", "\0", "é", "東京", "\ud83d", "\U0001f600",
    "ﬁ", "\u202e", ".contains(", "timestamp(", '"2026-01-01"', "((((((((", "!!!!!!!!", "1d1", "$p0", "`", ";", "//",
)  # fmt: skip


def fuzz(random: Random, valid: list[str]) -> str:
    """A text that is hardly a rule: a valid one with some of it changed, or pieces strung together."""
    if random.random() < 0.3:
        return "".join(random.choice(_PIECES) + random.choice(("", " ")) for _ in range(random.randrange(1, 40)))
    text = random.choice(valid)
    for _ in range(random.randrange(1, 4)):
        start = random.randrange(len(text) + 1)
        end = min(len(text), start + random.choice((0, 0, 1, 2, 10)))
        other = random.choice((random.choice(_PIECES), random.choice(valid)[:20], chr(random.randrange(0x110000)), ""))
        text = text[:start] + other * random.choice((1, 1, 1, 1, 30)) + text[end:]
    return text
