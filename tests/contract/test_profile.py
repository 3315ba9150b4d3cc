"""Profiles on a real engine: what is served of a person, and from which records."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import fields, replace
from datetime import date

import pytest

from onefold.graph import policy
from onefold.graph.component import Component
from onefold.graph.errors import NotFound
from onefold.graph.fetch import fetch_component
from onefold.graph.ingest import Batch, Outcome, Writer, ingest
from onefold.graph.model import (
    TRAITS,
    Assertion,
    Assurance,
    Customer,
    Deletion,
    Event,
    Item,
    Order,
    PropertyValue,
    Refund,
    Withdrawal,
)
from onefold.graph.network import Edge, Network, network
from onefold.graph.profile import Activity, Part, Profile, ProfileIdentifier, Spending, read_profile
from onefold.graph.reader import Reader
from onefold.graph.subject import Subject
from onefold.graph.survivorship import TraitValue
from tests import items as make
from tests.conftest import Engine
from tests.worlds import RULES

NOW = make.NOW
WEB = Subject.record("customer:web:1")


@pytest.fixture
def writer(engine: Engine, endpoint: object) -> Writer:
    return make.writer(engine.endpoint, engine.driver)


@pytest.fixture
def reader(writer: Writer) -> Reader:
    return make.reader(writer)


def put(writer: Writer, *items: Item) -> list[Outcome]:
    return ingest(writer, [Batch(items)])[0]


def record(source: str, at: int, traits: dict[str, PropertyValue], properties: dict[str, PropertyValue]) -> Customer:
    return Customer(source, "1", at, (Assertion("email:1", Assurance.VERIFIED),), traits, properties)


def order(name: str, at: int, total: int, **changes: object) -> Order:
    return replace(make.order(f"shop:{name}", of="web:1", at=at, total=total), **changes)  # type: ignore[arg-type]


def test_a_trait_is_of_the_latest_record_and_the_other_values_are_told(writer: Writer, reader: Reader) -> None:
    put(
        writer,
        record(
            "web",
            NOW,
            {"full_name": "Ann Ash", "birth_date": date(1980, 2, 29), "loyalty_points": 0},
            {"a": 1, "t": ("x", "y")},
        ),
        record(
            "shop",
            NOW + 1,
            {"full_name": "Ann Elm", "city": "Graz"},
            {"a": 2, "d": date(2020, 1, 2), "f": 0.5, "b": True},
        ),
        record("app", NOW + 1, {"full_name": "Ann Ash"}, {}),
    )
    profile = read_profile(reader, WEB)
    traits = {t.name: t for t in profile.traits}
    assert list(traits) == ["birth_date", "city", "full_name", "loyalty_points"]
    assert traits["full_name"].chosen == TraitValue("Ann Ash", "customer:app:1", NOW + 1)
    assert traits["full_name"].alternatives == (TraitValue("Ann Elm", "customer:shop:1", NOW + 1),)
    assert traits["birth_date"].chosen.value == date(1980, 2, 29)
    assert traits["loyalty_points"].chosen.value == 0
    assert profile.properties == {"a": 2, "b": True, "d": date(2020, 1, 2), "f": 0.5, "t": ("x", "y")}
    assert profile.completeness == 4 / len(TRAITS)
    assert profile.records == ("customer:app:1", "customer:shop:1", "customer:web:1")


def test_the_sources_that_the_policy_prefers_go_before_later_records(writer: Writer, reader: Reader) -> None:
    put(
        writer,
        record("web", NOW, {"full_name": "Web", "city": "Graz"}, {}),
        record("shop", NOW + 1, {"full_name": "Shop", "city": "Linz"}, {}),
        record("app", NOW + 2, {"full_name": "App", "city": "Wels"}, {}),
    )
    preferring = policy.parse(RULES + "survivorship: {full_name: [till, web], default: [shop]}\n")
    traits = read_profile(replace(reader, policy=preferring), WEB).traits
    told = {t.name: [t.chosen.value, *(a.value for a in t.alternatives)] for t in traits}
    assert told == {"full_name": ["Web", "App", "Shop"], "city": ["Linz", "Wels", "Graz"]}


def test_a_record_that_others_only_spoke_of_has_a_profile(writer: Writer, reader: Reader) -> None:
    put(writer, order("1", NOW, 5))
    profile = read_profile(reader, WEB)
    assert (profile.traits, profile.records) == ((), ("customer:web:1",))
    assert profile.activity.order_count == 1


def test_activity_counts_orders_that_were_not_cancelled_exactly(writer: Writer, reader: Reader) -> None:
    large = 10**18
    put(
        writer,
        make.customer("web:1", "email:1"),
        *(order(f"big{n}", NOW + n, large, channel="web") for n in range(12)),
        order("odd", NOW - 5, 1, channel="app", refunds=(Refund("r", NOW, 1),)),
        order("other", NOW - 6, 1_000_001, currency="EUR"),
        order("off", NOW - 9, 7, status="cancelled", channel="web"),
        make.order("till:g", "email:1", at=NOW - 7, total=3_000_000),
    )
    activity = read_profile(reader, WEB, {Part.ACTIVITY}).activity
    pounds = Spending("GBP", 14, 12 * large + 1 + 3_000_000, 1)
    assert activity == Activity(
        order_count=15,
        spending=(Spending("EUR", 1, 1_000_001, 0), pounds),
        first_order_at=NOW - 7,
        last_order_at=NOW + 11,
        channel_counts={"app": 1, "web": 12},
    )
    assert pounds.average == (12 * large + 3_000_001 + 7) // 14


def test_activity_counts_the_events_of_records_and_of_devices(writer: Writer, reader: Reader) -> None:
    put(
        writer,
        make.customer("web:1", "email:1", "device:1"),
        make.customer("app:1", "email:1"),
        Event("web", "1", "view", NOW + 5, "customer:web:1", channel="web"),
        Event("web", "2", "cart", NOW + 6, "customer:app:1", "device:2", Assurance.VERIFIED, channel="app"),
        Event("web", "3", "view", NOW - 8, None, "device:1", channel="web"),
        Event("web", "4", "view", NOW - 7, None, "device:2"),
        Event("web", "5", "view", NOW - 9, None, "device:3"),
    )
    activity = read_profile(reader, WEB, {Part.ACTIVITY}).activity
    assert activity == Activity(
        event_count=4,
        event_counts={"cart": 1, "view": 3},
        channel_counts={"app": 1, "web": 2},
        first_event_at=NOW - 8,
        last_event_at=NOW + 6,
        anonymous_event_count=2,
    )


def test_an_anonymous_identity_has_a_profile(writer: Writer, reader: Reader) -> None:
    (said,) = put(writer, make.event("web:e", on="device:1"))
    profile = read_profile(reader, Subject.identifier("device:1"))
    assert (profile.identity, profile.created_at) == (said.identity, NOW)
    assert [(i.key, i.sources, i.first_seen, i.confidence) for i in profile.identifiers] == [("device:1", (), None, 0)]
    assert profile.activity.anonymous_event_count == 1
    assert [e.key for e in profile.recent_events] == ["web:e"]


def test_identifiers_are_as_in_the_identitys_graph(writer: Writer, reader: Reader) -> None:
    # Few values for many records: specificity, sharing and the counting of guest orders all have something to do.
    items = [i for i in make.stream(21, 140) if not isinstance(i, Event | Deletion | Withdrawal)]
    put(writer, *items, make.customer("web:1", "email:1", "phone:1", "member:1", "device:1", "email:n/a"))
    shared, confidences = set(), set()
    for customer in sorted({i.name for i in items if isinstance(i, Customer)} | {"customer:web:1"}):
        component = fetch_component(reader, Subject.record(customer))
        found = read_profile(reader, Subject.record(customer), {Part.IDENTIFIERS}).identifiers
        assert {i.key: i for i in found} == _identifiers(component, network(component, reader.policy))
        shared |= {i.shared for i in found}
        confidences |= {i.confidence for i in found}
    assert shared == {False, True}
    assert len(confidences) > 5


def _identifiers(component: Component, net: Network) -> dict[str, ProfileIdentifier]:
    own = component.members(component.identities[0])
    edges: dict[str, list[Edge]] = defaultdict(list)
    for edge in net.edges:
        if edge.start in own and edge.end in component.evidence.identifiers:
            edges[edge.end].append(edge)
    return {
        key: ProfileIdentifier(
            key,
            net.nodes[key].shared,
            tuple(sorted({source for e in links for source in e.sources})),
            min(e.first_seen or 0 for e in links),
            max(e.last_seen or 0 for e in links),
            max(e.confidence for e in links),
        )
        for key, links in edges.items()
    }


def test_recent_orders_and_events_are_the_ten_latest(writer: Writer, reader: Reader) -> None:
    put(
        writer,
        make.customer("web:1", "email:1", "device:1"),
        *(order(f"{n:02}", NOW + n, 5) for n in range(12)),
        make.order("till:g", "email:1", at=NOW + 5),
        *(make.event(f"web:{n:02}", of="web:1", at=NOW + n) for n in range(8)),
        *(make.event(f"app:{n:02}", on="device:1", at=NOW + n) for n in range(8)),
    )
    profile = read_profile(reader, WEB)
    assert [o.key for o in profile.recent_orders] == [
        *(f"shop:{n:02}" for n in range(11, 5, -1)), "till:g", "shop:05", "shop:04", "shop:03",
    ]  # fmt: skip
    assert [e.key for e in profile.recent_events] == [f"{s}:{n:02}" for n in range(7, 2, -1) for s in ("web", "app")]


@pytest.mark.parametrize("part", list(Part))
def test_a_part_that_is_not_asked_for_is_empty_and_the_others_are_the_same(
    writer: Writer, reader: Reader, part: Part
) -> None:
    put(
        writer,
        record("web", NOW, {"city": "Graz"}, {"a": 1}),
        order("1", NOW, 5),
        make.event("web:1", of="web:1"),
    )
    whole = read_profile(reader, WEB)
    alone = read_profile(reader, WEB, {part})
    bare = Profile(whole.identity, whole.created_at)
    for field in fields(Profile):
        asked = field.name in ("identity", "created_at", part.value)
        assert getattr(alone, field.name) == getattr(whole if asked else bare, field.name), field.name
    assert getattr(whole, part.value) != getattr(bare, part.value)


def test_the_profile_of_nobody_is_not_found(reader: Reader) -> None:
    with pytest.raises(NotFound):
        read_profile(reader, WEB)
