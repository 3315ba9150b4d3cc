"""A small shop: people of seven habits, with what a CRM, a web shop, an app and stores may know of them.

Most are known by two or three records that hang together by an email, a few by guest orders only, and some devices
visit without ever saying whose they are. Of everything a part is missing, so that rules are left open.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from random import Random
from typing import Final

from onefold.graph.audit import head_of
from onefold.graph.identity import find
from onefold.graph.ingest import Batch, Writer, ingest
from onefold.graph.model import (
    Assertion,
    Assurance,
    Customer,
    Event,
    Instant,
    Item,
    Order,
    OrderLine,
    PropertyValue,
    RecordName,
    Refund,
)
from onefold.graph.predictions import Prediction, Run, write_predictions
from onefold.graph.subject import Subject
from tests import items as make
from tests.items import DAY, NOW

PEOPLE: Final = 140
VISITORS: Final = 20
"""Devices that nobody has logged in on."""

_AT_ONCE: Final = 100
_HOUR: Final = 3_600_000
_MICROS: Final = 1_000_000
_CATEGORIES: Final = ("fitness", "garden", "kitchen", "books")
_BRANDS: Final = ("Acme", "Zest")


@dataclass(frozen=True, slots=True)
class _Habit:
    """How somebody shops; pairs are from so many to so many."""

    orders: tuple[int, int] = (0, 0)
    gap: int = 30
    """Days between two orders."""
    quiet: tuple[int, int] = (0, 20)
    """Days since the last one."""
    spend: int = 60
    """On an order, about."""
    last_share: float = 1.0
    """Of that, on the last order."""
    coupons: float = 0.2
    """The share of orders with one."""
    refunds: float = 0.1
    views: tuple[int, int] = (0, 6)
    """In the last 30 days."""
    carts: tuple[int, int] = (0, 2)
    reviews: tuple[int, int] = (0, 1)
    stars: tuple[int, int] = (3, 5)
    tells: int = 0
    """Things shared, and people referred, at most."""
    channels: tuple[str, ...] = ("web", "app")


_HABITS: Final = (
    _Habit((4, 8), gap=12, quiet=(1, 6), spend=220, views=(4, 14), reviews=(9, 14), stars=(4, 5), tells=4),
    _Habit((3, 6), gap=40, quiet=(20, 200), spend=120, last_share=0.3, coupons=0.05),
    _Habit((3, 7), gap=20, quiet=(5, 60), spend=35, refunds=0.7, coupons=0.7, reviews=(1, 3), stars=(1, 2)),
    _Habit((0, 1), quiet=(100, 200), views=(8, 20), carts=(0, 1)),
    _Habit(views=(3, 9), carts=(1, 3)),
    _Habit((1, 1), quiet=(2, 40), spend=80, views=(0, 8)),
    _Habit((1, 5), gap=45, quiet=(10, 90), spend=90, channels=("store",), views=(0, 0), carts=(0, 0)),
)


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody: what the shop's systems have heard, and a record by which they are found."""

    number: int
    record: RecordName
    items: tuple[Item, ...]


def people() -> list[Person]:
    """Everybody in the shop, the same each time."""
    return [_person(number, Random(number)) for number in range(PEOPLE)]


def fill(writer: Writer) -> None:
    """Has a writer on an empty database ingest the shop; of its customers a made run of models has said something."""
    known = people()
    visits = [item for number in range(VISITORS) for item in _visit(number)]
    items = sorted([*(item for person in known for item in person.items), *visits], key=_place)
    for start in range(0, len(items), _AT_ONCE):
        ingest(writer, [Batch(items[start : start + _AT_ONCE])])
    reader = make.reader(writer)
    run = Run("run-1", "churn-0001", NOW, NOW, head_of(reader)[0], 60, 365)
    bought = [person for person in known if any(isinstance(item, Order) for item in person.items)]
    found = [(find(reader, Subject.record(person.record)).identity.id, person) for person in bought]
    write_predictions(writer, run, [_predicted(id, Random(person.number)) for id, person in found])


def _place(item: Item) -> Instant:
    """Records come first, the oldest at the beginning: so some turn out to be one person who were two before."""
    return item.observed_at if isinstance(item, Customer) else NOW


def _person(number: int, rng: Random) -> Person:
    habit = _HABITS[number % len(_HABITS)]
    records = list(_records(number, rng))
    orders = list(_orders(number, rng, habit, records))
    customer = next((record.name for record in records if record.source != "crm"), None)
    events = _events(number, rng, habit, customer) if customer or rng.random() < 0.5 else ()
    known: list[Customer | Order] = [*records, *orders]
    return Person(number, known[0].name, (*known, *events))


def _records(number: int, rng: Random) -> Iterator[Customer]:
    """None, or those of the CRM and of an account; of some, one more that says that the two are the same person."""
    kind = rng.random()
    email, phone = (Assertion(f"{kind}:{number}", Assurance.VERIFIED) for kind in ("email", "phone"))
    device = Assertion(f"device:{number}", Assurance.VERIFIED)
    if kind < 0.8:
        of = () if kind < 0.05 else (phone,) if kind < 0.3 else (email,)
        yield Customer("crm", f"c{number}", NOW - 300 * DAY, of, _traits(rng), _properties(rng))
    if 0.2 < kind < 0.9:
        source = rng.choice(("web", "app"))
        yield Customer(source, f"a{number}", NOW - 200 * DAY, (email, device), {"city": "London"})
    if 0.2 < kind < 0.3:
        yield Customer("web", f"b{number}", NOW - 100 * DAY, (email, phone))


def _traits(rng: Random) -> dict[str, PropertyValue]:
    traits: dict[str, PropertyValue] = {
        "gender": rng.choice(("Female", "male")),
        "birth_date": date(1960, 1, 1) + timedelta(days=rng.randrange(16_000)),
        "country": "GB",
        "company": "Ann & Sons",
        "loyalty_tier": rng.choice(("Gold", "silver", "Platinum")),
    }
    shares = {"company": 0.2, "loyalty_tier": 0.4}
    return {name: value for name, value in traits.items() if rng.random() < shares.get(name, 0.6)}


def _properties(rng: Random) -> dict[str, PropertyValue]:
    return {"company_size": rng.randrange(1, 600)} if rng.random() < 0.2 else {}


def _orders(number: int, rng: Random, habit: _Habit, records: list[Customer]) -> Iterator[Order]:
    """Of a record, and some as a guest; who has no record has one as a guest at least."""
    fewest = 0 if records else 1
    count = max(fewest, rng.randint(*habit.orders))
    at = NOW - rng.randint(*habit.quiet) * DAY - rng.randrange(1, 24) * _HOUR
    for place in range(count):
        record = rng.choice(records).name if records and rng.random() < 0.9 else None
        share = habit.last_share if place == 0 else 1.0
        yield _order(f"{number}-{place}", number, rng, habit, at, record, int(habit.spend * share))
        at -= rng.randint(habit.gap // 2, habit.gap * 3 // 2) * DAY


def _order(
    key: str, number: int, rng: Random, habit: _Habit, at: Instant, record: RecordName | None, spend: int
) -> Order:
    channel = rng.choice(habit.channels)
    prices = [rng.randint(spend // 2, spend) * _MICROS // 2 for _ in range(rng.randint(1, 3))]
    lines = tuple(OrderLine(f"p{n}", 1, price, "", rng.choice(_CATEGORIES)) for n, price in enumerate(prices))
    refunds = (Refund("r", at + DAY, sum(prices) // 2),) if rng.random() < habit.refunds else ()
    return Order(
        source="store" if channel == "store" else "web",
        order_id=key,
        placed_at=at,
        currency="GBP",
        total=sum(prices),
        status="cancelled" if rng.random() < 0.04 else "paid",
        observed_at=at + 2 * DAY,
        customer=record,
        assertions=() if record else (Assertion(f"email:{number}", Assurance.VERIFIED),),
        lines=lines,
        refunds=refunds,
        channel=channel,
        coupons=("TEN",) if rng.random() < habit.coupons else (),
    )


def _events(number: int, rng: Random, habit: _Habit, record: RecordName | None) -> Iterator[Event]:
    """Of the account, or on the device of whoever has no account."""
    channel, likes, brand = rng.choice(habit.channels), rng.choice(_CATEGORIES), rng.choice(_BRANDS)
    hour = rng.choice((8, 13, 19))
    types = (
        ["product_view"] * rng.randint(*habit.views)
        + ["add_to_cart"] * rng.randint(*habit.carts)
        + ["review"] * rng.randint(*habit.reviews)
        + ["share"] * rng.randint(0, habit.tells)
        + ["referral"] * (rng.randint(0, habit.tells) // 3)
    )
    for place, type in enumerate(types):
        said: dict[str, PropertyValue] = {"rating": rng.randint(*habit.stars)}
        if type != "review":
            category = likes if rng.random() < 0.7 else rng.choice(_CATEGORIES)
            said = {"category": category, "brand": brand, "is_new": rng.random() < 0.3}
        midnight = NOW - NOW % DAY - rng.randrange(1, 29) * DAY
        at = midnight + hour * _HOUR + rng.randrange(2 * _HOUR)
        source = "app" if channel == "app" else "web"
        device = None if record else f"device:{number}"
        yield Event(source, f"{number}-{place}", type, at, record, device, channel=channel, properties=said)


def _visit(number: int) -> Iterator[Event]:
    """A few views on a device of nobody."""
    for place in range(number % 4 + 1):
        yield make.event(f"web:visit-{number}-{place}", on=f"device:v{number}", at=NOW - DAY, type="product_view")


def _predicted(identity: str, rng: Random) -> Prediction:
    """What a run of models might say; of some nothing but how likely they are to leave."""
    churn = rng.random()
    if rng.random() < 0.2:
        return Prediction(identity, churn, identity_confidence=0.99)
    return Prediction(
        identity,
        churn_probability=churn,
        expected_orders=4 * (1 - churn),
        predicted_spend_micros=rng.randrange(20, 600) * _MICROS,
        predicted_spend_currency="GBP",
        next_order_at=NOW + rng.randrange(-30, 30) * DAY,
        identity_confidence=rng.choice((0.7, 0.95, 0.99)),
        weakest_merge_share=0.1,
    )
