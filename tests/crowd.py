"""Random people with all that segments read of them, many of whom little is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from random import Random
from typing import Any, Final

import pyarrow as pa

from onefold.segments import columns
from onefold.segments.parse import parse
from onefold.segments.tree import CountEvents
from onefold.segments.types import Type

DAY: Final = 86_400_000
NOW: Final = 1_764_583_200_000 + 123

Row = dict[str, Any]


@dataclass(frozen=True)
class Field:
    """A field of events."""

    type: Type
    property: str


@dataclass(frozen=True)
class Property:
    """A free property of the profile."""

    name: str


@dataclass(frozen=True)
class Custom:
    """A feature of a catalogue's own."""

    type: Type
    source: Any


@dataclass(frozen=True)
class Asked:
    """What a catalogue asks for."""

    windows: tuple[CountEvents, ...] = ()
    event_fields: Mapping[str, Field] = field(default_factory=dict)
    features: Mapping[str, Custom] = field(default_factory=dict)
    time_zone: str = "UTC"


def window(text: str) -> CountEvents:
    """``window('count_events("view", 30d)')``"""
    tree = parse(f"{text} > 0")
    return tree.left  # type: ignore[union-attr,return-value]


FIELDS: Final = {
    "channel": Field(Type.TEXT, ""),
    "category": Field(Type.TEXT, "category"),
    "price": Field(Type.FLOAT, "price"),
    "pieces": Field(Type.INT, "pieces"),
    "is_new": Field(Type.BOOL, "new"),
}

WINDOWS: Final = tuple(
    map(
        window,
        (
            'count_events("view")',
            'count_events("view", 30d)',
            'count_events("view", category == "YOGA" || channel in ["app", "Store"], 7d)',
            'count_events("shop.view", !(price > 12.5) && known(category))',
            'count_events("view", is_new && pieces + 1 > 2, 90d)',
            'count_events("cart", price * pieces >= 12, 2001h)',
            'count_events("never")',
        ),
    )
)

ASKED: Final = Asked(
    WINDOWS,
    FIELDS,
    {
        "views_ever": Custom(Type.INT, WINDOWS[0]),
        "company_size": Custom(Type.INT, Property("size")),
        "tags": Custom(Type.TEXTS, Property("tags")),
        "vip": Custom(Type.BOOL, Property("vip")),
        "plan": Custom(Type.TEXT, Property("plan")),
        "renewal": Custom(Type.INSTANT, Property("renewal")),
        "score": Custom(Type.FLOAT, Property("score")),
    },
    "America/New_York",
)

_CHANNELS = ("web", "App", "app", "store", "")
_CATEGORIES = ("Yoga", "yoga", "Straße", "STRASSE", "golf", "")
_TYPES = ("view", "shop.view", "cart", "shop_carts", "search", "review", "share", "referral", "viewed", "preview")


@dataclass(frozen=True)
class Crowd:
    """Rows of :mod:`onefold.segments.columns`, by the names of the tables."""

    people: list[Row]
    orders: list[Row]
    lines: list[Row]
    events: list[Row]
    predictions: list[Row]

    def tables(self) -> list[pa.Table]:
        """All of them, in the order in which features are computed from them."""
        return [
            pa.Table.from_pylist(self.people, columns.PEOPLE),
            pa.Table.from_pylist(self.orders, columns.ORDERS),
            pa.Table.from_pylist(self.lines, columns.LINES),
            pa.Table.from_pylist(self.events, columns.EVENTS),
            pa.Table.from_pylist(self.predictions, columns.PREDICTIONS),
        ]

    def only(self, identities: set[str]) -> Crowd:
        """The rows of some people."""
        parts = (self.people, self.orders, self.lines, self.events, self.predictions)
        return Crowd(*([row for row in rows if row["identity"] in identities] for rows in parts))

    def shuffled(self, seed: int) -> Crowd:
        """The same rows in another order."""
        random = Random(seed)
        parts = (self.people, self.orders, self.lines, self.events, self.predictions)
        return Crowd(*(random.sample(rows, len(rows)) for rows in parts))


def crowd(seed: int, people: int = 60) -> Crowd:
    """So many people, and one more whose rows are nobody's."""
    random = Random(seed)
    made = Crowd([], [], [], [], [])
    for number in range(people):
        identity = f"i-{number:06d}"
        made.people.append(_person(random, identity))
        _acts(random, identity, made)
        if random.random() < 0.6:
            made.predictions.append(_prediction(random, identity))
    _acts(random, "nobody", made)
    return made


def _maybe(random: Random, value: Any, share: float = 0.6) -> Any:
    return value if random.random() < share else None


def _person(random: Random, identity: str) -> Row:
    properties = {
        "size": random.choice(("12", "12.5", "many", "-0", "1e400")),
        "tags": random.choice(('["B", "a", "A"]', "solo", "[]", '"quoted"')),
        "vip": random.choice(("true", "false", "yes")),
        "plan": random.choice(("Gold", "", "ß")),
        "renewal": random.choice(("2026-01-31", "2026-01-31T12:00:00+02:00", "soon")),
        "score": random.choice(("-0.0", "0.25", "nan")),
        "aside": "x",
    }
    return {
        "identity": identity,
        "created_at": NOW - random.randrange(900 * DAY),
        "gender": _maybe(random, random.choice(("Female", "male", "F"))),
        "birth_date": _maybe(random, date(1950, 1, 1) + timedelta(days=random.randrange(28_000))),
        "language": None,
        "country": _maybe(random, random.choice(("GB", "de"))),
        "region": _maybe(random, "Île-de-France"),
        "city": _maybe(random, random.choice(("Leeds", "LEEDS", "東京", ""))),
        "company": None,
        "job_title": None,
        "loyalty_tier": _maybe(random, random.choice(("Gold", "silver"))),
        "loyalty_points": _maybe(random, random.randrange(1000)),
        "member_since": _maybe(random, date(2020, 1, 1) + timedelta(days=random.randrange(2_000))),
        "reachable_by": random.sample(["email", "phone"], random.randrange(3)),
        "sources": ["crm"],
        "properties": [(name, value) for name, value in sorted(properties.items()) if random.random() < 0.6],
    }


def _prediction(random: Random, identity: str) -> Row:
    return {
        "identity": identity,
        "churn_probability": random.random(),
        "expected_orders": random.random() * 5,
        "predicted_spend_micros": _maybe(random, random.randrange(5) * 1_000_000),
        "next_order_at": _maybe(random, NOW + random.randrange(90 * DAY)),
        "identity_confidence": None,
        "weakest_merge_share": 0.1,
    }


def _acts(random: Random, identity: str, made: Crowd) -> None:
    for number in range(random.choice((0, 0, 1, 2, 5))):
        made.orders.append(order := _order(random, identity, f"{identity}-{number}"))
        made.lines.extend(_line(random, order, line) for line in range(order["lines"]))
    last = NOW - random.randrange(400 * DAY)
    for _ in range(random.choice((0, 0, 3, 20))):
        last = _moment(random, last)
        made.events.append(_event(random, identity, last))


def _moment(random: Random, last: int) -> int:
    """Near the last one, on the border of a session or of a window, or anywhere."""
    near = last + random.choice((0, 1, 30 * 60_000, 30 * 60_000 + 1, 3_600_000))
    border = (
        NOW - random.choice((0, 1, 12 * 3_600_000, 7 * DAY, 30 * DAY, 90 * DAY, 365 * DAY)) + random.choice((0, -1))
    )
    return random.choice((near, near, border, NOW - random.randrange(600 * DAY)))


def _order(random: Random, identity: str, key: str) -> Row:
    at = _moment(random, NOW - random.randrange(400 * DAY))
    lines = random.randrange(4)
    return {
        "identity": identity,
        "record": f"customer:crm:{identity}",
        "order": key,
        "placed_at": at,
        "utc_offset_minutes": random.choice((None, 0, -330, 600)),
        "currency": random.choice(("GBP", "GBP", "GBP", "EUR")),
        "total": random.choice((0, 5_000_000, 12_340_000, 990_000)),
        "refunds": [{"at": at + DAY, "amount": 1_000_000}] if random.random() < 0.2 else [],
        "lines": lines,
        "units": 2 * lines,
        "products": lines,
        "status": random.choice(("paid", "paid", "delivered", "cancelled")),
        "channel": random.choice(_CHANNELS),
        "has_coupon": random.random() < 0.3,
        "payment_method": "card",
        "source": random.choice(("shop", "till")),
    }


def _line(random: Random, order: Row, number: int) -> Row:
    return {
        **{name: order[name] for name in ("identity", "order", "placed_at", "status", "currency")},
        "product": f"shop:{number}",
        "name": "",
        "category": random.choice(_CATEGORIES),
        "quantity": random.choice((0, 1, 2, 7)),
        "unit_price": random.choice((None, 0, 990_000, 3_333_333, 12_000_000)),
    }


def _event(random: Random, identity: str, at: int) -> Row:
    properties = {
        "category": random.choice(_CATEGORIES),
        "brand": random.choice(("Acme", "ACME", "zest")),
        "rating": random.choice(("5", "1", "3.3", "good")),
        "session": random.choice(("s1", "s2")),
        "price": random.choice(("12.5", "12.500001", "9", "free")),
        "pieces": random.choice(("1", "2", "2.5")),
        "new": random.choice(("true", "false")),
    }
    return {
        "identity": identity,
        "record": f"customer:crm:{identity}",
        "type": random.choice(_TYPES),
        "at": at,
        "utc_offset_minutes": random.choice((None, 0, 60)),
        "channel": random.choice(_CHANNELS),
        "source": random.choice(("web", "shop")),
        "properties": [(name, value) for name, value in sorted(properties.items()) if random.random() < 0.5],
    }
