"""The past on a real engine: what is answered as of an instant is what was answered then."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import pytest

from onefold.graph.audit import read_log, replay, verify_log
from onefold.graph.errors import NotFound
from onefold.graph.fetch import fetch_component, fetch_component_as_of
from onefold.graph.identity import Found, State, find
from onefold.graph.ingest import Batch, Outcome, Writer, ingest
from onefold.graph.model import (
    Assertion,
    BanExpiry,
    Deletion,
    Instant,
    Item,
    OperatorBan,
    Order,
    OrderLine,
    OwnItem,
    Refund,
    Withdrawal,
    is_record,
)
from onefold.graph.network import Network, network
from onefold.graph.past import find_as_of
from onefold.graph.profile import Part, Profile, read_profile
from onefold.graph.reader import Reader
from onefold.graph.subject import Subject
from onefold.graph.watch import end_of_log
from tests import items as make
from tests.conftest import Engine

NOW = make.NOW
HOUR = 3_600_000
T = TypeVar("T")


@dataclass
class Clock:
    """A clock that is set by hand."""

    now: Instant = NOW

    def __call__(self) -> Instant:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def writer(engine: Engine, endpoint: object, clock: Clock) -> Writer:
    return replace(make.writer(engine.endpoint, engine.driver), clock=clock)


@pytest.fixture
def reader(writer: Writer) -> Reader:
    return make.reader(writer)


def put(writer: Writer, *items: Item | OwnItem) -> list[Outcome]:
    (answer,) = ingest(writer, [Batch(items)])
    assert isinstance(answer, list)
    return answer


def or_none(ask: Callable[..., T], *about: object, **more: object) -> T | None:
    """The answer; None where there is nobody."""
    try:
        return ask(*about, **more)
    except NotFound:
        return None


# -- histories -------------------------------------------------------------------------------------------------------


@dataclass
class Noted:
    """What was answered at an instant."""

    at: Instant
    membership: dict[str, str]
    found: dict[Subject, Found | None] = field(default_factory=dict)
    profiles: dict[Subject, Profile | None] = field(default_factory=dict)
    graphs: dict[Subject, Network | None] = field(default_factory=dict)


_RECORDS = """
MATCH (r)-[:MEMBER_OF]->(i:Identity)
RETURN CASE WHEN r:Order THEN 'order:' ELSE 'customer:' END + r.key AS name, i.id AS id
"""
_IDENTIFIERS = """
MATCH (v) WHERE (v:Email OR v:Phone OR v:Device OR v:ExternalId) AND v.identity IS NOT NULL
RETURN v.key AS name, v.identity AS id
"""
_NODES = """
MATCH (n) WHERE n:Customer OR n:Order OR n:Email OR n:Phone OR n:Device OR n:ExternalId
RETURN CASE WHEN n:Order THEN 'order:' WHEN n:Customer THEN 'customer:' ELSE '' END + n.key
"""


def membership(reader: Reader) -> dict[str, str]:
    """The stored identity of each record and identifier that has one."""
    return {row["name"]: row["id"] for text in (_RECORDS, _IDENTIFIERS) for row in reader.rows(text)}


def subjects(reader: Reader) -> list[Subject]:
    """Everybody that can be asked for by now."""
    names = sorted(row[0] for row in reader.rows(_NODES))
    ids = sorted(row[0] for row in reader.rows("MATCH (i:Identity) RETURN i.id"))
    return [Subject.record(n) if is_record(n) else Subject.identifier(n) for n in names] + list(
        map(Subject.identity, ids)
    )


def note(reader: Reader, at: Instant, rng: random.Random) -> Noted:
    noted = Noted(at, membership(reader))
    everybody = subjects(reader)
    for subject in rng.sample(everybody, min(20, len(everybody))):
        noted.found[subject] = or_none(find, reader, subject)
    for subject in rng.sample(everybody, min(5, len(everybody))):
        profile = or_none(read_profile, reader, subject)
        component = or_none(fetch_component, reader, subject)
        noted.profiles[subject] = profile and unsighted(profile)
        noted.graphs[subject] = component and graph(reader, component)
    return noted


def unsighted(profile: Profile) -> Profile:
    """When and how often a link was seen is told as known now."""
    identifiers = tuple(replace(i, first_seen=None, last_seen=None) for i in profile.identifiers)
    return replace(profile, identifiers=identifiers)


def graph(reader: Reader, component: Any) -> Network:
    (identity,) = component.identities
    whole = network(component, reader.policy).around(identity)
    edges = tuple(
        replace(e, last_seen=None, observations=0) if e.end in component.evidence.identifiers else e
        for e in whole.edges
    )
    return replace(whole, edges=edges)


def batches(seed: int, count: int = 60) -> Iterator[Sequence[Item | OwnItem]]:
    """A history of either kind, a few items at a time, and at its end two persons who become one."""
    rng = random.Random(seed)
    items: list[Item | OwnItem] = list(make.stream(seed, count)) if seed % 2 else make.upheavals(seed, count)
    items += [
        make.customer("web:x", "member:x"),
        make.customer("web:y", "member:y"),
        make.event("web:x", on="device:x"),
    ]
    items.append(make.customer("shop:z", "member:x", "member:y", "device:x"))
    while items:
        size = rng.choice([1, 2, 4])
        yield items[:size]
        items = items[size:]


@pytest.mark.parametrize("seed", range(2))
def test_what_is_asked_as_of_an_instant_is_what_was_answered_then(
    writer: Writer, reader: Reader, clock: Clock, proving: bool, seed: int
) -> None:
    rng = random.Random(seed)
    notes = []
    for number, batch in enumerate(batches(seed, 400 if proving else 50)):
        clock.now += rng.choice([0, 1, HOUR])
        put(writer, *batch)
        if number % 7 == 3:
            clock.now += rng.choice([0, 1, HOUR])
            notes.append(note(reader, clock.now, rng))
            clock.now += 1
    log = list(read_log(reader))
    for noted in notes:
        assert replay(log, noted.at) == noted.membership
        compare(reader, noted)
    assert {"CREATED", "CHANGED", "MERGED"} <= {logged.decision.kind.value for logged in log}
    assert verify_log(reader).fault == ""


def compare(reader: Reader, noted: Noted) -> None:
    at = noted.at
    for subject, found in noted.found.items():
        assert or_none(find_as_of, reader, subject, at) == found, (subject, at)
    for subject, profile in noted.profiles.items():
        then = or_none(read_profile, reader, subject, as_of=at)
        assert (then and unsighted(then)) == profile, (subject, at)
    for subject, net in noted.graphs.items():
        component = or_none(fetch_component_as_of, reader, subject, at)
        assert (component and graph(reader, component)) == net, (subject, at)


def test_a_clock_that_runs_backwards_takes_nothing_from_the_log(writer: Writer, reader: Reader, clock: Clock) -> None:
    rng = random.Random(9)
    states = []
    for batch in batches(8):
        clock.now += rng.choice([-HOUR, 1, HOUR])
        put(writer, *batch)
        states.append((end_of_log(reader), membership(reader)))
    log = list(read_log(reader))
    assert [logged.at for logged in log] == sorted(logged.at for logged in log)
    for sequence, expected in states:
        assert replay(log[:sequence]) == expected
    last = log[-1].at
    assert replay(log, last) == states[-1][1]
    for subject in subjects(reader):
        assert or_none(find_as_of, reader, subject, last) == or_none(find, reader, subject)


# -- one thing at a time ---------------------------------------------------------------------------------------------


@dataclass
class Told:
    """Puts items in at rising instants, and asks for what was known at them."""

    writer: Writer
    reader: Reader
    clock: Clock

    def put(self, *items: Item | OwnItem) -> Instant:
        """The instant at which the items are in."""
        self.clock.now += HOUR
        put(self.writer, *items)
        return self.clock.now

    def profile(self, subject: Subject, at: Instant) -> Profile:
        return read_profile(self.reader, subject, as_of=at)

    def edges(self, subject: Subject, at: Instant) -> set[tuple[str, str, str]]:
        component = fetch_component_as_of(self.reader, subject, at)
        return {(e.start, e.type, e.end) for e in network(component, self.reader.policy).edges}


@pytest.fixture
def told(writer: Writer, reader: Reader, clock: Clock) -> Told:
    return Told(writer, reader, clock)


ANN, LEE = Subject.record("customer:web:ann"), Subject.record("customer:shop:lee")


def test_before_anything_was_known_nobody_is_found_and_the_reason_is_told(told: Told) -> None:
    first = told.put(make.customer("web:ann", "email:1"))
    found = find_as_of(told.reader, ANN, first).identity
    for subject, why in (
        (ANN, "it was first heard of at 2023-11-14T23:13:20.000Z, which is after 2023-11-14T23:13:19.999Z"),
        (Subject.identity(found.id), "it came to be at 2023-11-14T23:13:20.000Z"),
        (Subject.identifier("email:1"), "it was not known at 2023-11-14T23:13:19.999Z"),
    ):
        for ask in (find_as_of, fetch_component_as_of):
            with pytest.raises(NotFound, match=why):
                ask(told.reader, subject, first - 1)
        with pytest.raises(NotFound, match=why):
            told.profile(subject, first - 1)
    told.put(Deletion("customer:web:ann", NOW + 1))
    with pytest.raises(NotFound, match="it was nobody's at"):
        find_as_of(told.reader, ANN, told.clock.now)
    assert find_as_of(told.reader, ANN, first).identity == found


def test_a_profile_says_what_its_records_said_then(told: Told) -> None:
    first = told.put(make.customer("web:ann", "email:1", at=NOW + 10, full_name="Ann", city="Graz"))
    second = told.put(make.customer("shop:lee", "email:1", at=NOW + 20, full_name="Lee"))
    third = told.put(make.customer("web:ann", "email:1", at=NOW + 30, full_name="Ann", city="Graz"))
    fourth = told.put(make.customer("web:ann", "email:1", at=NOW + 40, full_name="Anna"))

    def traits(at: Instant) -> dict[str, object]:
        return {t.name: t.chosen.value for t in told.profile(ANN, at).traits}

    assert traits(first) == {"full_name": "Ann", "city": "Graz"}
    assert traits(second) == {"full_name": "Lee", "city": "Graz"}
    assert traits(third) == {"full_name": "Ann", "city": "Graz"}
    assert traits(fourth) == {"full_name": "Anna"}
    (name, *_) = (t.chosen for t in told.profile(ANN, third).traits if t.name == "full_name")
    assert name.observed_at == NOW + 30


def test_a_record_that_was_only_spoken_of_said_nothing_yet(told: Told) -> None:
    first = told.put(make.order("web:1", of="web:ann"))
    told.put(make.customer("web:ann", full_name="Ann"))
    assert told.profile(ANN, first).traits == ()
    assert told.profile(ANN, first).activity.order_count == 1


def test_an_order_is_what_and_whose_it_was_then(told: Told) -> None:
    def version(at: int, of: str | None, sku: str, refunds: tuple[Refund, ...] = ()) -> Order:
        given = (Assertion("email:1"),) if of is None else ()
        lines = (OrderLine(sku, 1, 5_000_000),)
        plain = make.order("shop:1", of=of, at=NOW)
        return replace(plain, observed_at=at, assertions=given, lines=lines, refunds=refunds)

    told.put(make.customer("web:ann", "email:a"), make.customer("shop:lee", "email:b"))
    as_guest = told.put(version(NOW + 1, None, "mug"))
    anns = told.put(version(NOW + 2, "web:ann", "bowl", (Refund("r", NOW, 1),)))
    lees = told.put(version(NOW + 3, "shop:lee", "bowl", (Refund("r", NOW, 2), Refund("s", NOW, 4))))
    gone = told.put(Deletion("order:shop:1", NOW + 4))
    again = told.put(version(NOW + 5, "shop:lee", "bowl", (Refund("r", NOW, 2), Refund("s", NOW, 4))))

    def bought(subject: Subject, at: Instant) -> list[tuple[str, int]]:
        profile = told.profile(subject, at)
        refunded = sum(s.refunded for s in profile.activity.spending)
        return [(line.sku, refunded) for order in profile.recent_orders for line in order.lines]

    order = Subject.record("order:shop:1")
    assert bought(order, as_guest) == [("mug", 0)]
    assert told.profile(order, as_guest).recent_orders[0].assertions == (Assertion("email:1"),)
    assert (bought(ANN, as_guest), bought(LEE, as_guest)) == ([], [])
    assert (bought(ANN, anns), bought(LEE, anns)) == ([("bowl", 1)], [])
    assert (bought(ANN, lees), bought(LEE, lees)) == ([], [("bowl", 6)])
    assert (bought(ANN, gone), bought(LEE, gone)) == ([], [])
    assert bought(LEE, again) == [("bowl", 6)]
    assert find_as_of(told.reader, order, anns).identity == find_as_of(told.reader, ANN, anns).identity
    assert find_as_of(told.reader, order, lees).identity == find_as_of(told.reader, LEE, lees).identity
    with pytest.raises(NotFound, match="nobody's"):
        find_as_of(told.reader, order, gone)


def test_an_order_that_came_again_was_observed_when_it_was_known_to_be(told: Told) -> None:
    first = told.put(make.order("web:1", of="web:ann", at=NOW))
    second = told.put(replace(make.order("web:1", of="web:ann", at=NOW), observed_at=NOW + 5))
    assert [told.profile(ANN, at).recent_orders[0].observed_at for at in (first, second)] == [NOW, NOW + 5]


def test_events_count_from_when_they_were_recorded(told: Told) -> None:
    first = told.put(make.customer("web:ann", "device:1"), make.event("web:1", on="device:1", at=NOW))
    second = told.put(make.event("web:2", of="web:ann", at=NOW - make.DAY))
    assert told.profile(ANN, first).activity.event_counts == {"view": 1}
    assert told.profile(ANN, second).activity.event_counts == {"view": 2}
    assert [e.key for e in told.profile(ANN, first).recent_events] == ["web:1"]


def test_links_and_words_are_in_the_graph_while_they_held(told: Told) -> None:
    joined = told.put(make.customer("web:ann", "email:1"), make.customer("shop:lee", "email:1"))
    ban = OperatorBan(ANN.name, LEE.name, "ann", "brothers", NOW, NOW + make.DAY)
    banned = told.put(ban)
    over = told.put(BanExpiry(ban.a, ban.b, ban.at))
    told.put(OperatorBan(ANN.name, LEE.name, "bob", "brothers indeed", NOW + 1))
    withdrawn = told.put(Withdrawal("web", ANN.name, "email:1", NOW + 9))
    hers = (ANN.name, "HAS_EMAIL", "email:1")
    word = (LEE.name, "NEVER_SAME", ANN.name)
    assert told.edges(ANN, joined) == {hers, (LEE.name, "HAS_EMAIL", "email:1")}
    assert {hers, word} < told.edges(ANN, banned)
    assert word not in told.edges(ANN, over)
    assert told.edges(ANN, withdrawn) == {word}
    (seen,) = (
        e
        for e in network(fetch_component_as_of(told.reader, ANN, banned), told.reader.policy).edges
        if e.type == "NEVER_SAME"
    )
    assert (seen.sources, seen.first_seen) == (("ann",), NOW)


def test_a_ban_that_was_over_before_it_came_held_at_no_instant(told: Told) -> None:
    joined = told.put(make.customer("web:ann", "email:1"), make.customer("shop:lee", "email:1"))
    told.clock.now += make.DAY
    replayed = told.put(OperatorBan(ANN.name, LEE.name, "ann", "brothers", NOW, NOW + make.DAY))
    later = told.put(make.customer("web:ann", "email:1", full_name="Ann", at=NOW + 1))
    as_ever = replay(read_log(told.reader), joined)
    for at in (joined, replayed, later):
        assert find_as_of(told.reader, ANN, at).identity.id == find_as_of(told.reader, LEE, at).identity.id
        assert (LEE.name, "NEVER_SAME", ANN.name) not in told.edges(ANN, at)
        assert replay(read_log(told.reader), at) == as_ever == membership(told.reader)


def test_a_link_was_first_seen_when_it_was_then_known_to_have_been(told: Told) -> None:
    first = told.put(make.customer("web:ann", "email:1", at=NOW + 10))
    second = told.put(make.customer("web:ann", "email:1", at=NOW - 5))
    third = told.put(make.customer("web:ann", "email:1", at=NOW - 9))

    def first_seen(at: Instant) -> set[Instant]:
        links = fetch_component_as_of(told.reader, ANN, at).evidence.records["customer:web:ann"].links
        return {link.first_seen for link in links.values()}

    assert [first_seen(at) for at in (first, second, third)] == [{NOW + 10}, {NOW - 5}, {NOW - 9}]
    assert first_seen(second - 1) == {NOW + 10}


def test_an_identifier_was_shared_from_when_it_was_until_it_was_not(told: Told) -> None:
    two = told.put(*(make.customer(f"shop:{n}", "phone:1", f"email:{n}") for n in range(2)))
    three = told.put(make.customer("shop:2", "phone:1"))
    again = told.put(Withdrawal("shop", "customer:shop:2", "phone:1", NOW + 1))
    told.put(make.customer("shop:3", "phone:1"))

    def shared(at: Instant) -> bool:
        found = told.profile(Subject.record("customer:shop:0"), at).identifiers
        return next(i.shared for i in found if i.key == "phone:1")

    assert [shared(at) for at in (two, three, again, told.clock.now)] == [False, True, False, True]
    phone = Subject.identifier("phone:1")
    assert find_as_of(told.reader, phone, two).identity.record_count == 2
    with pytest.raises(NotFound, match="belonged with nobody"):
        find_as_of(told.reader, phone, three)
    assert find_as_of(told.reader, phone, again).identity.record_count == 2


def test_an_id_leads_to_what_it_had_become_by_then(told: Told) -> None:
    ids = []
    for n, identifier in enumerate(("email:0", "email:1", "phone:2")):
        told.put(make.customer(f"shop:{n}", identifier))
        ids.append(find_as_of(told.reader, Subject.record(f"customer:shop:{n}"), told.clock.now).identity.id)
    apart = told.clock.now
    first, second, third = ids
    middle = told.put(make.customer("app:a", "phone:2", "email:1"))
    joined = told.put(make.customer("app:b", "email:1", "email:0"))
    parted = told.put(make.customer("app:b", "email:0", at=NOW + 1))

    def led(id: str, at: Instant) -> tuple[str, State]:
        found = find_as_of(told.reader, Subject.identity(id), at)
        return found.identity.id, found.state

    assert led(third, apart) == (third, State.CURRENT)
    assert led(third, middle) == (second, State.MERGED)
    assert led(third, joined) == (first, State.MERGED)
    assert led(first, joined) == (first, State.CURRENT)
    assert led(third, parted) == (first, State.MERGED)
    assert led(first, parted) == (first, State.SPLIT)


def test_a_part_of_a_past_profile_that_is_not_asked_for_is_empty(told: Told) -> None:
    at = told.put(make.customer("web:ann", "email:1", city="Graz"), make.order("web:1", of="web:ann"))
    whole = told.profile(ANN, at)
    for part in Part:
        alone = read_profile(told.reader, ANN, {part}, as_of=at)
        assert getattr(alone, part.value) == getattr(whole, part.value)
        others = [p for p in Part if p is not part]
        assert not any(getattr(alone, p.value) for p in others if p is not Part.ACTIVITY)
