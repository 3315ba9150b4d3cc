"""The read side on a real engine: who is meant, their graph and timeline, the log."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from onefold.graph import audit
from onefold.graph.errors import InvalidInput, NotFound
from onefold.graph.explain import explain
from onefold.graph.fetch import fetch_component
from onefold.graph.identity import State, find
from onefold.graph.ingest import Batch, Outcome, Writer, ingest
from onefold.graph.model import (
    Assertion,
    Deletion,
    Event,
    Item,
    OperatorBan,
    OperatorMatch,
    Order,
    OrderLine,
    Refund,
    order_name,
)
from onefold.graph.network import network
from onefold.graph.reader import Reader
from onefold.graph.resolve import RefusalReason
from onefold.graph.subject import Subject
from onefold.graph.timeline import EventFilter, list_events, list_orders
from tests import items as make
from tests.conftest import Engine

NOW = make.NOW


@pytest.fixture
def writer(engine: Engine, endpoint: object) -> Writer:
    return make.writer(engine.endpoint, engine.driver)


@pytest.fixture
def reader(writer: Writer) -> Reader:
    return make.reader(writer)


def put(writer: Writer, *items: Item) -> list[Outcome]:
    return ingest(writer, [Batch(items)])[0]


# -- who is meant ----------------------------------------------------------------------------------------------


def test_a_person_is_found_by_all_that_leads_to_them(writer: Writer, reader: Reader) -> None:
    said = put(
        writer,
        make.customer("web:1", "email:1", "device:1"),
        make.order("shop:1", of="web:1"),
        make.order("shop:2", "email:1"),
    )
    names = (
        Subject.record("customer:web:1"),
        Subject.record("order:shop:1"),
        Subject.record("order:shop:2"),
        Subject.identifier("email:1"),
        Subject.identifier("device:1"),
    )
    found = [find(reader, name) for name in names]
    assert {f.identity.id for f in found} == {said[0].identity}
    assert {f.requested for f in found} == {""}
    assert found[0].identity.records == ("customer:web:1", "order:shop:2")
    assert found[0].identity.record_count == 2
    assert found[0].identity.created_at == NOW
    assert not found[0].identity.anonymous


def test_a_retired_id_leads_to_the_surviving_identity(writer: Writer, reader: Reader) -> None:
    (old,) = put(writer, make.customer("web:1", "email:1"))
    (young,) = put(writer, make.customer("web:2", "phone:1"))
    assert find(reader, Subject.identity(young.identity)).state is State.CURRENT
    put(writer, make.customer("shop:1", "email:1", "phone:1"))
    found = find(reader, Subject.identity(young.identity))
    assert (found.state, found.became) == (State.MERGED, (old.identity,))
    assert (found.identity.id, found.requested) == (old.identity, young.identity)
    assert find(reader, Subject.identity(old.identity)).state is State.CURRENT


def test_an_id_whose_records_went_apart_tells_what_it_became(writer: Writer, reader: Reader) -> None:
    first, _ = put(writer, make.customer("web:1", "email:1"), make.customer("app:2", "email:1"))
    (retired,) = put(writer, make.customer("shop:3", "phone:3"))
    put(writer, make.customer("shop:3", "phone:3", "email:1", at=NOW + 1))
    assert find(reader, Subject.identity(retired.identity)).identity.record_count == 3
    (parted,) = put(writer, make.customer("shop:3", "phone:3", at=NOW + 2))
    found = find(reader, Subject.identity(first.identity))
    assert (found.state, found.identity.id) == (State.SPLIT, first.identity)
    assert set(found.became) == {first.identity, parted.identity}
    old = find(reader, Subject.identity(retired.identity))
    assert (old.state, old.identity.id, old.became) == (State.SPLIT, first.identity, (parted.identity,))
    put(writer, make.customer("shop:3", "phone:3", "email:1", at=NOW + 3))
    assert find(reader, Subject.identity(first.identity)).state is State.CURRENT
    assert find(reader, Subject.identity(parted.identity)).state is State.MERGED


def test_an_erased_id_never_stops_resolving(writer: Writer, reader: Reader) -> None:
    (person,) = put(writer, make.customer("web:1", "email:1"))
    put(writer, Deletion("customer:web:1", NOW + 1))
    found = find(reader, Subject.identity(person.identity))
    assert (found.state, found.became) == (State.ERASED, ())
    assert (found.identity.id, found.identity.record_count) == (person.identity, 0)
    with pytest.raises(NotFound, match="it was deleted"):
        find(reader, Subject.record("customer:web:1"))
    (again,) = put(writer, make.customer("web:1", "email:1", at=NOW + 2))
    found = find(reader, Subject.identity(person.identity))
    assert (found.state, found.became) == (State.ERASED, (again.identity,))


def test_an_anonymous_id_tells_whose_its_device_is(writer: Writer, reader: Reader) -> None:
    (anonymous,) = put(writer, make.event("web:e", on="device:1"))
    (person,) = put(writer, make.customer("web:1", "device:1"))
    assert person.identity == anonymous.identity
    (late,) = put(writer, make.event("web:f", on="device:2"))
    put(writer, make.customer("web:1", "device:1", "device:2", at=NOW + 1))
    found = find(reader, Subject.identity(late.identity))
    assert (found.state, found.became) == (State.MERGED, (person.identity,))


def test_an_anonymous_identity_is_found_by_its_device(writer: Writer, reader: Reader) -> None:
    (said,) = put(writer, make.event("web:e", on="device:1"))
    found = find(reader, Subject.identifier("device:1")).identity
    assert (found.id, found.anonymous, found.record_count) == (said.identity, True, 0)


def test_what_leads_to_nobody_is_told_with_the_reason(writer: Writer, reader: Reader) -> None:
    put(
        writer,
        *(make.customer(f"web:{i}", "phone:1") for i in range(3)),
        make.customer("web:9", "device:2", "email:n/a", assurance="observed"),
    )
    for subject, resource, why in (
        (Subject.identity("0198a000-0000-7000-8000-000000000000"), "identity", "is known as"),
        (Subject.record("customer:web:404"), "customer", "is known as"),
        (Subject.record("order:web:404"), "order", "is known as"),
        (Subject.identifier("email:404"), "identity", "is known as"),
        (Subject.identifier("phone:1"), "identity", "so many use this identifier"),
        (Subject.identifier("device:2"), "identity", "no link to it is sure enough"),
        (Subject.identifier("email:n/a"), "identity", "the policy blocks"),
    ):
        with pytest.raises(NotFound, match=why) as caught:
            find(reader, subject)
        assert (caught.value.resource_type, caught.value.key) == (resource, subject.name)
    with pytest.raises(InvalidInput):
        find(reader, Subject.identifier("telegraph:1"))


# -- their graph -----------------------------------------------------------------------------------------------


def test_the_graph_of_an_identity_shows_what_resolution_makes_of_each_link(writer: Writer, reader: Reader) -> None:
    a, b = put(
        writer,
        make.customer("web:1", "email:1", "member:1", full_name="Ann"),
        make.customer("shop:1", "email:1", "member:2"),
    )
    assert a.identity != b.identity
    component = fetch_component(reader, Subject.record("customer:web:1"))
    net = network(component, reader.policy).around(a.identity)
    nodes = {n.name: (n.label, n.identity, n.display_name) for n in net.nodes.values()}
    assert nodes["customer:web:1"] == ("Customer", a.identity, "Ann")
    assert nodes["customer:shop:1"] == ("Customer", b.identity, "")
    assert sorted(nodes) == ["customer:shop:1", "customer:web:1", "email:1", "member:1"]
    assert nodes["member:1"] == ("ExternalId", a.identity, "")
    assert [e.refusal for e in net.edges if e.end == "email:1"].count(RefusalReason.LIMIT) == 1
    edge = next(e for e in net.edges if e.end == "member:1")
    assert (edge.start, edge.type, edge.sources) == ("customer:web:1", "HAS_ID", ("web",))
    assert (edge.first_seen, edge.last_seen, edge.observations, edge.eligible) == (NOW, NOW, 1, True)
    assert edge.confidence == round(0.99 * 0.9 * 1_000_000)


def test_operators_words_are_in_the_graph_wherever_the_other_record_is(writer: Writer, reader: Reader) -> None:
    first, *_ = put(
        writer,
        make.customer("web:1", "email:1"),
        make.customer("shop:1", "email:2"),
        make.customer("app:1", "email:3"),
        OperatorMatch("customer:web:1", "customer:shop:1", "ann", "called both", NOW),
        OperatorBan("customer:app:1", "customer:web:1", "bob", "brothers", NOW),
    )
    component = fetch_component(reader, Subject.record("customer:shop:1"))
    net = network(component, reader.policy).around(first.identity)
    words = {
        (e.start, e.end): (e.type, e.sources, e.eligible)
        for e in net.edges
        if e.start.startswith("customer") and e.end.startswith("customer")
    }
    assert words == {
        ("customer:shop:1", "customer:web:1"): ("SAME_AS", ("ann",), True),
        ("customer:app:1", "customer:web:1"): ("NEVER_SAME", ("bob",), False),
    }
    assert net.nodes["customer:app:1"].identity == find(reader, Subject.record("customer:app:1")).identity.id


def test_an_explanation_reads_both_components_and_counts_what_is_shared(writer: Writer, reader: Reader) -> None:
    put(writer, *(make.customer(f"web:{i}", "phone:1", f"email:{i}") for i in range(3)))
    component = fetch_component(reader, Subject.record("customer:web:0"), Subject.identifier("email:1"))
    said = explain(component, reader.policy)
    assert not said.same_identity
    assert not said.connected
    assert "phone:1, which is shared: 3 links lead to it, and over 2 people" in said.summary


def test_an_explanation_follows_from_the_identity_the_guest_order_or_the_identifier(
    writer: Writer, reader: Reader
) -> None:
    (a, *_) = put(
        writer,
        make.customer("web:1", "email:1"),
        make.order("shop:2", "email:1"),
        make.order("shop:3", of="web:1"),
    )

    def path(*subjects: Subject) -> list[str]:
        said = explain(fetch_component(reader, *subjects), reader.policy)
        assert said.same_identity
        return [s.end for s in said.path]

    web, guest, placed = (Subject.record(n) for n in ("customer:web:1", "order:shop:2", "order:shop:3"))
    assert path(web, guest) == ["email:1", "order:shop:2"]
    assert path(Subject.identifier("email:1"), guest) == ["order:shop:2"]
    assert path(Subject.identity(a.identity), guest) == []
    assert path(placed, web) == []


# -- orders and events -----------------------------------------------------------------------------------------


def full_order(number: int, **changes: object) -> Order:
    whole = Order(
        "shop", f"o:{number}", NOW, "GBP", 30_000_000, "shipped", NOW + 1, "customer:web:1", (),
        (OrderLine("b", 2, 10_000_001, "A bowl", "kitchen"), OrderLine("a", 1, 9_999_998, "A mug", "kitchen"),
         OrderLine("b", 1, 5, "A bowl", "kitchen")),
        (Refund("r:1", NOW + 5, 1_000_000, "b", 1, "broken"), Refund("r2", NOW + 6, 7)),
        "web", "card", ("SPRING", "ANN"), {"gift": True, "note": "ring twice", "tags": ("x", "y")}, 120,
    )  # fmt: skip
    return replace(whole, **changes)  # type: ignore[arg-type]


def test_orders_come_back_as_they_were_sent(writer: Writer, reader: Reader) -> None:
    guest = full_order(
        2, customer=None, assertions=(Assertion("email:1"), Assertion("phone:1")), lines=(), refunds=(), properties={}
    )
    put(writer, make.customer("web:1", "email:1", assurance="declared"), full_order(1), guest)
    subject = Subject.record("customer:web:1")
    assert list_orders(reader, subject).items == (guest, full_order(1))


def test_events_come_back_as_they_were_sent(writer: Writer, reader: Reader) -> None:
    sent = [
        Event("web", "e:2", "add", NOW, "customer:web:1", "device:1", channel="app", properties={"n": 1}),
        Event("web", "e1", "view", NOW, None, "device:1", utc_offset_minutes=-60),
        Event("web", "e0", "view", NOW, "customer:web:1"),
    ]
    put(writer, make.customer("web:1", "device:1"), *sent)
    assert list_events(reader, Subject.record("customer:web:1")).items == tuple(sent)


@pytest.mark.parametrize("seed", range(3))
def test_every_order_and_event_is_on_exactly_one_page_newest_first(writer: Writer, reader: Reader, seed: int) -> None:
    rng = random.Random(seed)
    ids = ["ü", "Z", "a", "🦉", "ｚ", "b:1"]
    items: list[Item] = [make.customer("web:1", "email:1", "device:1"), make.customer("shop:1", "email:1", "device:2")]
    for n in range(30):
        at = NOW + rng.randint(-3, 3)
        items.append(make.order(f"shop:{rng.choice(ids)}{n}", of=rng.choice(["web:1", "shop:1"]), at=at))
        items.append(make.order(f"till:{rng.choice(ids)}{n}", "email:1", at=at))
        items.append(make.event(f"web:{rng.choice(ids)}{n}", of=rng.choice(["web:1", "shop:1"]), at=at))
        items.append(make.event(f"app:{rng.choice(ids)}{n}", on=rng.choice(["device:1", "device:2"]), at=at))
    put(writer, *items)
    subject = Subject.identifier("email:1")
    size = rng.choice([1, 7, 60])
    for read, sent in (
        (list_orders, {i.key: i.placed_at for i in items if isinstance(i, Order)}),
        (list_events, {i.key: i.at for i in items if isinstance(i, Event)}),
    ):
        seen: list[str] = []
        token = ""
        while True:
            page = read(reader, subject, size=size, token=token)
            assert len(page.items) <= size
            seen += [i.key for i in page.items]
            token = page.next_token
            if not token:
                break
            assert len(page.items) == size
        assert sorted(seen) == sorted(sent)
        assert [sent[key] for key in seen] == sorted(sent.values(), reverse=True)


def test_events_are_filtered_by_type_channel_and_time(writer: Writer, reader: Reader) -> None:
    def event(name: str, type: str, channel: str, at: int) -> Event:
        return Event("web", name, type, at, "customer:web:1", channel=channel)

    put(
        writer,
        make.customer("web:1"),
        event("a", "view", "web", 10), event("b", "cart", "web", 20), event("c", "view", "app", 30),
        event("d", "view", "", 40),
    )  # fmt: skip

    def found(wanted: EventFilter) -> str:
        page = list_events(reader, Subject.record("customer:web:1"), wanted)
        return "".join(e.event_id for e in page.items)

    assert found(EventFilter()) == "dcba"
    assert found(EventFilter(types=frozenset({"view"}))) == "dca"
    assert found(EventFilter(channels=frozenset({"web", "app"}))) == "cba"
    assert found(EventFilter(channels=frozenset({""}))) == "d"
    assert found(EventFilter(start=20, end=40)) == "cb"
    assert found(EventFilter(types=frozenset({"view"}), channels=frozenset({"web"}), end=10)) == ""


def test_a_page_token_is_good_for_its_own_list_only(writer: Writer, reader: Reader) -> None:
    put(writer, make.customer("web:1"), *(make.event(f"web:{n}", of="web:1", at=n) for n in range(3)))
    put(writer, make.customer("web:2"))
    one = Subject.record("customer:web:1")
    token = list_events(reader, one, size=1).next_token
    for subject, wanted in (
        (Subject.record("customer:web:2"), EventFilter()),
        (one, EventFilter(types=frozenset({"view"}))),
        (one, EventFilter(start=0)),
    ):
        with pytest.raises(InvalidInput):
            list_events(reader, subject, wanted, token=token)
    with pytest.raises(InvalidInput):
        list_orders(reader, one, token=token)


def test_a_list_goes_on_after_a_merge(writer: Writer, reader: Reader) -> None:
    put(writer, make.customer("web:1", "email:1"), *(make.event(f"a:{n}", of="web:1", at=2 * n) for n in range(4)))
    (other, *_) = put(
        writer, make.customer("app:1", "phone:1"), *(make.event(f"b:{n}", of="app:1", at=2 * n + 1) for n in range(4))
    )
    subject = Subject.identity(other.identity)
    first = list_events(reader, subject, size=2)
    put(writer, make.customer("till:1", "email:1", "phone:1"))
    rest = list_events(reader, subject, token=first.next_token)
    assert [e.event_id for e in first.items] == ["3", "2"]
    assert [e.at for e in rest.items] == [4, 3, 2, 1, 0]


def test_events_of_a_shared_device_are_nobodys(writer: Writer, reader: Reader) -> None:
    put(writer, *(make.customer(f"web:{i}", "device:1") for i in range(5)), make.event("web:e1", on="device:1"))
    assert list_events(reader, Subject.record("customer:web:1")).items == ()


def test_the_list_of_nobody_is_not_found(reader: Reader) -> None:
    for read in (list_orders, list_events):
        with pytest.raises(NotFound):
            read(reader, Subject.record(order_name("shop", "404")))


# -- the log ---------------------------------------------------------------------------------------------------


def test_the_log_is_listed_newest_first_each_decision_once(writer: Writer, reader: Reader) -> None:
    for batch in make.batches(list(make.stream(5, 60)), 5):
        put(writer, *batch)
    sequences: list[int] = []
    token = ""
    while True:
        page = audit.list_decisions(reader, size=7, token=token)
        sequences += [d.sequence for d in page.items]
        token = page.next_token
        if not token:
            break
    assert sequences == list(range(sequences[0], 0, -1))
    assert len(sequences) > 14
    newest = audit.list_decisions(reader, size=1).items[0]
    assert audit.get_decision(reader, newest.decision.id) == newest


def test_decisions_of_one_identity_are_those_that_affected_it(writer: Writer, reader: Reader) -> None:
    (old,) = put(writer, make.customer("web:1", "email:1"))
    (young,) = put(writer, make.customer("web:2", "phone:1"))
    put(writer, make.customer("shop:1", "email:1", "phone:1"))
    put(writer, make.customer("shop:2"))
    kinds = [d.decision.kind for d in audit.list_decisions(reader, young.identity).items]
    assert kinds == ["MERGED", "CREATED"]
    merged = audit.list_decisions(reader, old.identity, size=1)
    decision = merged.items[0].decision
    assert decision.identities == (old.identity, young.identity)
    assert {(m.member, m.origin, m.identity) for m in decision.moves} == {
        ("customer:web:2", young.identity, old.identity),
        ("customer:shop:1", "", old.identity),
        ("phone:1", young.identity, old.identity),
    }
    assert "customer:shop:1 -> email:1 (shop)" in decision.causes
    assert (merged.items[0].at, merged.items[0].policy_version) == (NOW, writer.policy.version)
    (rest,) = audit.list_decisions(reader, old.identity, size=1, token=merged.next_token).items
    assert rest.decision.kind == "CREATED"
    with pytest.raises(InvalidInput):
        audit.list_decisions(reader, young.identity, token=merged.next_token)
    assert audit.list_decisions(reader, "0198a000-0000-7000-8000-000000000000").items == ()


def test_an_empty_log_is_listed_and_sound(reader: Reader) -> None:
    assert audit.list_decisions(reader).items == ()
    assert audit.verify_log(reader) == audit.Verification(0)
    with pytest.raises(NotFound):
        audit.get_decision(reader, "0198a000-0000-7000-8000-000000000000")


@pytest.mark.parametrize(
    ("change", "sound"),
    [
        ("MATCH (d:Decision {sequence: 5}) SET d.reason = 'another'", 4),
        ("MATCH (d:Decision {sequence: 5}) SET d.at = datetime({epochMillis: 7})", 4),
        ("MATCH (d:Decision {sequence: 5}) SET d.members = []", 4),
        ("MATCH (d:Decision {sequence: 5})-[a:AFFECTED]->() DELETE a", 4),
        ("MATCH (d:Decision {sequence: 5}) SET d.prev_hash = ''", 4),
        ("MATCH (d:Decision {sequence: 5}) DETACH DELETE d", 4),
        ("MATCH (h:DecisionLog) WITH h MATCH (d:Decision {sequence: h.sequence}) DETACH DELETE d", 7),
        ("MATCH (h:DecisionLog) SET h.hash = 'x'", 8),
    ],
)
def test_the_log_shows_any_change_made_to_it(writer: Writer, reader: Reader, change: str, sound: int) -> None:
    for n in range(8):
        put(writer, make.customer(f"web:{n}"))
    assert audit.verify_log(reader) == audit.Verification(8)
    with writer.driver.session(database=writer.database) as session:
        session.run(change).consume()
    found = audit.verify_log(reader)
    assert found.fault
    assert found.decisions == sound
