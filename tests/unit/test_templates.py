"""The labels that come with Onefold, from what sources say on: who does what a label is about has it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from functools import cache
from typing import Any

import pytest

from onefold.segments import catalogue, columns, features
from onefold.segments.frame import evaluated
from tests.crowd import DAY, NOW, Crowd

REGULARS = tuple(f"regular-{n:02d}" for n in range(20))
MICROS = 1_000_000


class Shop:
    """What is said of people, a word at a time."""

    def __init__(self) -> None:
        self.said = Crowd([], [], [], [], [])

    def person(self, identity: str, properties: Mapping[str, str] | None = None, **traits: Any) -> None:
        nothing = {**dict.fromkeys(columns.PEOPLE.names), "reachable_by": ["email"], "sources": ["crm"]}
        known = {"identity": identity, "created_at": NOW - 900 * DAY, "properties": [*(properties or {}).items()]}
        self.said.people.append({**nothing, **known, **traits})

    def order(
        self, identity: str, days: float, pounds: int = 50, piece: int | None = None, refund: int = 0, **more: Any
    ) -> None:
        """So many days ago; what a piece costs is not said unless it is given."""
        at = NOW - round(days * DAY)
        placed = {"identity": identity, "order": f"{identity}-{days}", "placed_at": at, "currency": "GBP"}
        placed["status"] = more.pop("status", "paid")
        price = None if piece is None else piece * MICROS
        line = {"product": "shop:1", "name": "", "category": "", "quantity": 1, "unit_price": price}
        self.said.lines.append({**placed, **line})
        self.said.orders.append({
            **placed, "record": f"customer:crm:{identity}", "utc_offset_minutes": 0, "total": pounds * MICROS,
            "refunds": [{"at": at + 2 * DAY, "amount": refund * MICROS}] if refund else [],
            "lines": 1, "units": 1, "products": 1, "channel": "", "has_coupon": False, "payment_method": "",
            "source": "shop", **more,
        })  # fmt: skip

    def events(self, identity: str, type: str, count: int = 1, days: float = 3, **properties: str) -> None:
        """So many, an hour apart, the latest so many days ago; ``source``, ``channel``, ``offset`` are no property."""
        record = {"identity": identity, "record": f"customer:crm:{identity}", "type": type}
        record |= {"source": properties.pop("source", "web"), "channel": properties.pop("channel", "")}
        offset = int(properties.pop("offset", 0))
        for n in range(count):
            at = NOW - round(days * DAY) - n * DAY // 24
            said = {"utc_offset_minutes": offset, "properties": [*properties.items()]}
            self.said.events.append({**record, "at": at, **said})


def regulars(shop: Shop) -> None:
    """Twenty who buy for 50 once in 30 days, five times: whom the others are held against."""
    for n, identity in enumerate(REGULARS):
        shop.person(identity)
        for back in range(5):
            shop.order(identity, 11 + n / 10 + 30 * back, piece=5 + n)
        spend = {"predicted_spend_micros": (20 + 10 * n) * MICROS, "churn_probability": 0.3}
        shop.said.predictions.append({**dict.fromkeys(columns.PREDICTIONS.names), "identity": identity, **spend})


def who_they_are(shop: Shop) -> None:
    shop.person("eve", gender="Female", birth_date=date(1999, 12, 31))
    shop.person("ada", gender="female", birth_date=date(2000, 1, 1))
    shop.person("tom", gender="male", birth_date=date(1995, 1, 1))
    shop.person("kim", country="GB", city="London", loyalty_tier="Gold")
    shop.person("joe", country="GB", city="Leeds", loyalty_tier="silver")
    shop.person("firm", {"company_size": "250"})
    shop.person("shed", {"company_size": "12"})


def what_they_do(shop: Shop) -> None:
    for name in ("looker", "glancer", "left", "stayed", "sender", "keeper", "nightly", "early", "noon", "late"):
        shop.person(name)
    shop.events("looker", "product_view", 5, is_new="true")
    shop.events("glancer", "product_view", 5, is_new="false")
    shop.events("glancer", "product_view", 4, is_new="true")
    shop.events("glancer", "product_view", 9, days=31, is_new="true")
    shop.events("left", "add_to_cart", days=80)
    shop.order("left", 100)
    shop.events("stayed", "add_to_cart", days=80)
    shop.order("stayed", 79)
    for days in (20, 50, 80):
        shop.order("sender", days, refund=15)
        shop.order("keeper", days, refund=14)
    for name, clock in (("nightly", 23), ("early", 5), ("noon", 12), ("late", 22)):
        # It is ten in the morning where sources say nothing else.
        shop.events(name, "login", offset=str((clock - 10) * 60))


def what_they_are_worth(shop: Shop) -> None:
    for name in ("rich", "well_off", "high", "potential", "ordinary", "low", "torn", "abroad"):
        shop.person(name)
    for days in (70, 80, 90):
        shop.order("rich", days, pounds=501)
        shop.order("well_off", days, pounds=500)
    for days in (2, 3, 40):
        shop.order("high", days, pounds=400)
    shop.order("potential", 5, pounds=300)
    shop.events("potential", "product_view", 10)
    shop.events("potential", "add_to_cart")
    shop.order("ordinary", 5, pounds=20)
    shop.events("ordinary", "product_view", 20)
    shop.events("ordinary", "add_to_cart")
    shop.order("low", 60)
    shop.events("low", "product_view")
    shop.order("torn", 60)
    shop.events("torn", "product_view", 2)
    shop.events("torn", "add_to_cart")
    shop.order("abroad", 5, currency="EUR")
    shop.order("abroad", 6, currency="EUR")


def what_they_like(shop: Shop) -> None:
    for name in ("runner", "reader", "fan", "browser", "saver", "payer"):
        shop.person(name)
    shop.events("runner", "product_view", 5, category="Fitness")
    shop.events("reader", "product_view", 5, category="books")
    shop.events("fan", "product_view", 5, days=150, brand="ACME")
    shop.events("fan", "product_view", 5, brand="zest")
    shop.events("browser", "product_view", 5, days=150, brand="acme")
    shop.events("browser", "product_view", 6, brand="zest")
    for n, days in enumerate((20, 50, 80, 110)):
        shop.order("saver", days, has_coupon=n < 2)
        shop.order("payer", days, has_coupon=n < 1)


def whom_they_tell(shop: Shop) -> None:
    for name in ("critic", "praiser", "few_words", "sharer", "shy", "host"):
        shop.person(name)
    shop.events("praiser", "review", 11, rating="4")
    shop.events("critic", "review", 11, rating="2")
    shop.events("few_words", "review", 10, rating="5")
    shop.events("sharer", "share", 3)
    shop.events("shy", "share", 2)
    shop.events("host", "referral")


def where_they_stand(shop: Shop) -> None:
    """By the own rhythm: of the slow it is some 90 days, of the quick some 7."""
    for name in ("visitor", "newcomer", "once", "slow", "quick", "quicker", "gone", "back"):
        shop.person(name)
    shop.events("visitor", "product_view")
    shop.order("newcomer", 20)
    shop.order("once", 200)
    for back in range(8):
        shop.order("slow", 60 + 90 * back)
        shop.order("quick", 20 + 7 * back)
        shop.order("quicker", 34 + 7 * back)
        shop.order("gone", 60 + 7 * back)
        shop.order("back", 3 + (200 + 7 * back) * (back > 0))


def by_which_way_they_come(shop: Shop) -> None:
    for name in ("walker", "clicker", "tapper"):
        shop.person(name)
    shop.order("walker", 50, source="store", channel="store")
    shop.events("walker", "login", source="web", channel="store")
    shop.order("clicker", 5, source="store", channel="web")
    shop.events("clicker", "login", days=50, source="web", channel="web")
    shop.events("tapper", "login", 3, source="app", channel="App")
    shop.events("tapper", "login", 2, source="app", channel="web")


@cache
def labels() -> dict[str, frozenset[str]]:
    """Who has each label, of everybody."""
    shop = Shop()
    for tell in (
        regulars, who_they_are, what_they_do, what_they_are_worth, what_they_like, whom_they_tell, where_they_stand,
        by_which_way_they_come,
    ):  # fmt: skip
        tell(shop)
    people, orders, lines, events, predictions = shop.said.tables()
    known = catalogue.load()
    against = features.population(orders, lines, predictions, NOW)
    computed = features.compute(people, orders, lines, events, predictions, NOW, against, known)
    found = evaluated(computed, known, {}, NOW)
    held = dict(zip(found["identity"].to_pylist(), found["labels"].to_pylist(), strict=True))
    return {key: frozenset(who for who, has in held.items() if key in has) for key in known.labels}


TEMPLATES = [
    ("woman_of_the_nineties", "eve", "ada tom"),
    ("londoner", "kim", "joe"),
    ("gold_member", "kim", "joe"),
    ("large_company", "firm", "shed kim"),
    ("looks_for_news", "looker", "glancer"),
    ("left_the_cart", "left", "stayed looker"),
    ("returns_a_lot", "sender", "keeper"),
    ("hours_night", "nightly", "early noon late"),
    ("hours_morning", "early", "nightly noon late"),
    ("hours_day", "noon", "nightly early late"),
    ("hours_evening", "late", "nightly early noon"),
    ("hours_unknown", "eve", "nightly early noon late"),
    ("large_baskets", "rich", "well_off high"),
    ("champion", "back", "gone high"),
    ("rfm_high_value", "high", "quick potential rich"),
    ("rfm_potential", "potential quick", "high ordinary"),
    ("rfm_ordinary", "ordinary regular-00", "potential low"),
    ("rfm_low", "low gone", "torn ordinary"),
    ("rfm_unclassified", "torn", "low"),
    ("rfm_needs_data", "abroad", "high low"),
    ("clv_top", "regular-16 regular-19", "regular-15"),
    ("clv_upper", "regular-12 regular-15", "regular-11 regular-16"),
    ("clv_middle", "regular-08 regular-11", "regular-07 regular-12"),
    ("clv_lower", "regular-00 regular-07", "regular-08"),
    ("clv_needs_a_prediction", "rich eve", "regular-00"),
    ("into_fitness", "runner", "reader"),
    ("prefers_acme", "fan", "browser"),
    ("promotion_sensitive", "saver", "payer"),
    ("price_premium", "regular-12 regular-19", "regular-11"),
    ("price_middle", "regular-08 regular-11", "regular-07 regular-12"),
    ("price_budget", "regular-00 regular-07", "regular-08"),
    ("price_unknown", "eve rich", "regular-00"),
    ("enthusiast", "praiser", "critic few_words"),
    ("tells_others", "sharer", "shy"),
    ("brings_friends", "host", "sharer"),
    ("prospect", "visitor", "newcomer"),
    ("new", "newcomer", "once visitor slow"),
    ("active", "slow regular-00", "quick back newcomer"),
    ("silent", "quick", "slow quicker"),
    ("at_risk", "quicker", "quick gone slow"),
    ("lost", "gone once", "quicker back slow"),
    ("won_back", "back", "slow gone"),
    ("came_by_the_store", "walker", "clicker eve"),
    ("last_seen_on_the_web", "walker", "clicker eve"),
    ("prefers_the_app", "tapper", "clicker walker"),
]
"""Each label, who has it, and who comes near it or does the contrary."""


@pytest.mark.parametrize(("label", "has", "has_not"), TEMPLATES, ids=[label for label, *_ in TEMPLATES])
def test_who_does_it_has_the_label(label: str, has: str, has_not: str) -> None:
    """And who only comes near has not."""
    assert set(has.split()) <= labels()[label]
    assert set(has_not.split()).isdisjoint(labels()[label])


def test_no_label_is_left_out_and_all_who_are_named_are_there() -> None:
    assert {label for label, _, _ in TEMPLATES} == labels().keys()
    everybody = frozenset().union(*labels().values())
    assert {who for _, has, has_not in TEMPLATES for who in f"{has} {has_not}".split()} <= everybody
