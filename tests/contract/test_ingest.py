"""The online path on a real engine: what it stores equals what bulk resolution says, whatever came in which order."""

import random
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from onefold.graph.errors import InvalidInput
from onefold.graph.ingest import Batch, Outcome, Writer, ingest
from onefold.graph.model import Customer, Event, Item, OperatorBan, OperatorMatch, Order, Refund
from onefold.graph.policy import parse
from onefold.graph.verify import verify
from tests import items as make
from tests.conftest import Engine
from tests.engines import empty
from tests.worlds import RULES


@pytest.fixture
def writer(engine: Engine, endpoint: object) -> Writer:
    return make.writer(engine.endpoint, engine.driver)


def put(writer: Writer, *items: Item, request_id: str = "") -> list[Outcome]:
    (answer,) = ingest(writer, [Batch(items, request_id)])
    assert isinstance(answer, list)
    return answer


def identity(writer: Writer, record: str) -> str:
    return identities(writer).get(record, "")


def identities(writer: Writer) -> dict[str, str]:
    found = make.reader(writer).rows("MATCH (r)-[:MEMBER_OF]->(i:Identity) RETURN labels(r)[0], r.key, i.id")
    return {f"{label.lower()}:{key}": id for label, key, id in found}


def rows(writer: Writer, text: str, **parameters: object) -> list[list[object]]:
    return [row.values() for row in make.reader(writer).rows(text, **parameters)]


@pytest.mark.parametrize("seed", range(8))
def test_what_is_stored_equals_bulk_resolution_after_every_few_batches(writer: Writer, seed: int) -> None:
    items = list(make.stream(seed, 60))
    for number, batch in enumerate(make.batches(items, seed)):
        put(writer, *batch)
        if number % 6 == 0:
            assert verify(make.reader(writer)) == []
    assert verify(make.reader(writer)) == []


@pytest.mark.parametrize("seed", range(3))
def test_the_order_and_the_batches_of_arrival_do_not_matter(writer: Writer, engine: Engine, seed: int) -> None:
    items = [i for i in make.stream(seed + 100, 50) if not isinstance(i, OperatorMatch | OperatorBan)]
    put(writer, *items)
    first = groups(writer)
    empty(engine.driver, engine.endpoint.database)
    random.Random(seed).shuffle(items)
    for batch in make.batches(items, seed + 1):
        put(writer, *batch)
    assert groups(writer) == first
    assert verify(make.reader(writer)) == []


def groups(writer: Writer) -> set[frozenset[str]]:
    members: dict[str, set[str]] = {}
    for name, id in identities(writer).items():
        members.setdefault(id, set()).add(name)
    return {frozenset(group) for group in members.values()}


def test_the_same_items_again_change_nothing(writer: Writer) -> None:
    items = list(make.stream(7, 40))
    put(writer, *items)
    before = rows(writer, "MATCH (n) RETURN count(n)"), rows(writer, "MATCH ()-[r]->() RETURN count(r)")
    outcomes = put(writer, *items)
    assert [o.changed for o in outcomes] == [False] * len(items)
    assert (rows(writer, "MATCH (n) RETURN count(n)"), rows(writer, "MATCH ()-[r]->() RETURN count(r)")) == before


def test_a_request_id_again_gets_the_first_answer(writer: Writer) -> None:
    first = put(writer, make.customer("crm:1", "email:1"), request_id="r1")
    put(writer, make.customer("web:1", "email:1", "phone:1"))
    assert put(writer, make.customer("crm:1", "email:1"), request_id="r1") == first
    assert first[0].changed


def test_a_request_id_with_other_items_is_refused_and_nothing_is_lost_silently(writer: Writer) -> None:
    put(writer, make.customer("crm:1"), request_id="r1")
    (answer,) = ingest(writer, [Batch([make.customer("crm:2")], "r1")])
    assert isinstance(answer, InvalidInput)
    assert [v.field for v in answer.violations] == ["request_id"]
    assert rows(writer, "MATCH (c:Customer) RETURN c.key") == [["crm:1"]]


def test_one_request_id_twice_in_one_transaction_is_written_once(writer: Writer) -> None:
    batch = Batch([make.customer("crm:1")], "r1")
    other = Batch([make.customer("crm:2")])
    first, second, third = ingest(writer, [batch, Batch([make.customer("crm:1")], "r1"), other])
    assert first == second
    assert third[0].identity
    assert rows(writer, "MATCH (q:Request) RETURN count(q)") == [[1]]


def test_an_identifier_is_shared_no_longer_when_its_guest_orders_turn_out_to_be_one_persons(writer: Writer) -> None:
    orders = [(f"till:{n}", "phone:1", f"device:{n}") for n in range(3)]
    put(writer, *(make.order(name, *identifiers) for name, *identifiers in orders))
    assert rows(writer, "MATCH (p:Phone) RETURN p.shared") == [[True]]
    put(writer, *(make.order(name, *identifiers, "member:1", at=make.NOW + 1) for name, *identifiers in orders))
    assert rows(writer, "MATCH (p:Phone) RETURN p.shared") == [[False]]
    assert verify(make.reader(writer)) == []


def test_of_an_operators_words_on_one_pair_the_order_of_arrival_does_not_matter(writer: Writer) -> None:
    a, b = "customer:web:1", "customer:web:2"
    words = [
        OperatorMatch(a, b, "ann", "same", make.NOW),
        OperatorMatch(a, b, "bob", "same", make.NOW - 5),
        OperatorBan(a, b, "ann", "no", make.NOW, make.NOW + 5),
        OperatorBan(a, b, "bob", "no", make.NOW, None),
    ]
    put(writer, make.customer("web:1"), make.customer("web:2"))
    for word in words:
        put(writer, word)
    stored = "MATCH ()-[w:SAME_AS|NEVER_SAME]->() RETURN type(w), w.actor ORDER BY type(w)"
    assert rows(writer, stored) == [["NEVER_SAME", "bob"], ["SAME_AS", "bob"]]
    for word in words:
        assert not put(writer, word)[0].changed


def test_a_source_whose_clock_runs_ahead_ends_no_ban(writer: Writer) -> None:
    put(writer, make.customer("web:1", "email:1"), make.customer("shop:1", "email:1"))
    ban = OperatorBan("customer:web:1", "customer:shop:1", "ann", "no", make.NOW - 1, make.NOW + make.DAY // 12)
    put(writer, ban)
    put(writer, make.customer("shop:1", "email:1", at=make.NOW + make.DAY // 2))
    assert identity(writer, "customer:web:1") != identity(writer, "customer:shop:1")


def test_an_anonymous_identity_whose_device_becomes_shared_ends_in_the_log(writer: Writer) -> None:
    (anonymous,) = put(writer, make.event("web:e1", on="device:1"))
    put(writer, *(make.customer(f"web:{i}", "device:1") for i in range(5)))
    ended = "MATCH (d:Decision)-[:AFFECTED]->(i:Identity {id: $id}) RETURN d.kind, d.members ORDER BY d.sequence"
    assert rows(writer, ended, id=anonymous.identity) == [["CREATED", ["device:1"]], ["ERASED", ["device:1"]]]


def test_a_kind_that_the_policy_no_longer_knows_ties_nobody_and_stops_nobody(writer: Writer) -> None:
    put(writer, make.customer("web:1", "member:1", "email:1"), make.customer("shop:1", "member:1"))
    without = re.sub(r"  member:.*", "", RULES, flags=re.DOTALL)
    later = replace(writer, policy=parse(without))
    (outcome,) = put(later, make.customer("web:1", "email:1", at=make.NOW + 1))
    assert outcome.identity
    assert identity(writer, "customer:web:1") != identity(writer, "customer:shop:1")


def test_the_latest_version_of_a_refund_counts(writer: Writer) -> None:
    def version(at: int, amount: int) -> Order:
        refund = Refund("r1", make.NOW, amount)
        return replace(make.order("shop:1", of="web:1"), observed_at=at, refunds=(refund,))

    put(writer, version(make.NOW + 1, 7))
    put(writer, version(make.NOW, 5))
    assert rows(writer, "MATCH (o:Order)-[:REFUNDED]->(f) RETURN o.refunded_micros, f.amount_micros") == [[7, 7]]
    put(writer, version(make.NOW + 2, 9))
    assert rows(writer, "MATCH (o:Order)-[:REFUNDED]->(f) RETURN o.refunded_micros, f.amount_micros") == [[9, 9]]


def test_on_a_merge_the_oldest_identity_keeps_its_id_and_the_other_resolves_for_ever(writer: Writer) -> None:
    (old,) = put(writer, make.customer("crm:1", "email:1"))
    (young,) = put(writer, make.customer("web:1", "phone:1"))
    (third,) = put(writer, make.customer("web:2", "phone:2"))
    put(writer, make.customer("shop:1", "phone:1", "phone:2"))
    put(writer, make.customer("shop:1", "email:1", "phone:1", "phone:2", at=make.NOW + 1))
    assert identity(writer, "customer:web:1") == old.identity
    retired = rows(writer, "MATCH (r:Identity)-[:MERGED_INTO]->(i:Identity) RETURN r.id, i.id ORDER BY r.id")
    assert retired == sorted([[young.identity, old.identity], [third.identity, old.identity]])


def test_an_identifier_that_crosses_its_shared_limit_splits_those_it_held_together(writer: Writer) -> None:
    first, *_ = put(
        writer,
        *(make.customer(f"shop:{i}", "email:1", at=make.NOW + i) for i in range(3)),
        make.order("till:1", "email:1", "phone:1"),
    )
    assert identity(writer, "order:till:1") == first.identity
    put(writer, make.customer("shop:9", "email:1"))
    parted = identities(writer)
    assert len(set(parted.values())) == 5
    assert parted["customer:shop:0"] == first.identity
    assert rows(writer, "MATCH (e:Email {key: 'email:1'}) RETURN e.shared, e.component, e.identity") == [
        [True, None, None]
    ]
    assert verify(make.reader(writer)) == []


def test_anonymous_events_are_the_persons_as_soon_as_the_device_is(writer: Writer) -> None:
    (anonymous,) = put(writer, make.event("web:e1", on="device:1"))
    (person,) = put(writer, make.customer("crm:1", "email:1"))
    assert anonymous.identity not in ("", person.identity)
    (login,) = put(writer, make.event("web:e2", of="crm:1", on="device:1"))
    assert login.identity == person.identity
    assert rows(writer, "MATCH (d:Device {key: 'device:1'}) RETURN d.identity") == [[person.identity]]
    merged = rows(writer, "MATCH (i:Identity {id: $id})-[:MERGED_INTO]->(p) RETURN p.id", id=anonymous.identity)
    assert merged == [[person.identity]]


def test_events_of_a_shared_device_stay_with_the_device(writer: Writer) -> None:
    put(writer, *(make.customer(f"web:{i}", "device:1") for i in range(5)), make.event("web:e1", on="device:1"))
    assert rows(writer, "MATCH (d:Device)-[:DID]->(e) RETURN d.shared, d.identity, e.key") == [[True, None, "web:e1"]]


def test_a_ban_parts_what_evidence_joined_and_the_refusal_is_marked_on_the_link(writer: Writer) -> None:
    put(writer, make.customer("web:1", "email:1"), make.customer("shop:1", "email:1"))
    ban = OperatorBan("customer:web:1", "customer:shop:1", "ann", "father and son", make.NOW)
    put(writer, ban)
    assert identity(writer, "customer:web:1") != identity(writer, "customer:shop:1")
    assert rows(writer, "MATCH ()-[l:HAS_EMAIL]->() WHERE l.refused IS NOT NULL RETURN l.refused") == [["BAN"]]
    assert verify(make.reader(writer)) == []


def test_a_bad_item_is_refused_alone_and_leaves_nothing_behind(writer: Writer) -> None:
    good, bad = put(
        writer,
        make.customer("web:1"),
        OperatorMatch("customer:web:1", "customer:web:2", "ann", "a guess", make.NOW),
    )
    assert good.identity
    assert [v.field for v in bad.violations] == ["match.b"]
    assert rows(writer, "MATCH (c:Customer) RETURN c.key") == [["web:1"]]


def test_an_older_version_of_a_record_does_not_overwrite_a_newer_one(writer: Writer) -> None:
    put(writer, make.customer("web:1", at=make.NOW, full_name="New", city="Graz"))
    put(writer, make.customer("web:1", at=make.NOW - 1, full_name="Old"))
    put(writer, make.customer("web:1", at=make.NOW + 1, full_name="Newest"))
    assert rows(writer, "MATCH (c:Customer) RETURN c.full_name, c.city") == [["Newest", None]]


def test_racing_writers_lose_nothing_and_agree_with_bulk(writer: Writer) -> None:
    items = [i for i in make.stream(11, 120) if not isinstance(i, OperatorMatch | OperatorBan)]
    parts = [items[n::4] for n in range(4)]

    def write(part: list[Item]) -> None:
        for batch in make.batches(part, len(part)):
            put(writer, *batch)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, parts))
    assert verify(make.reader(writer)) == []
    stored = {row[0] for row in rows(writer, "MATCH (n) WHERE n:Customer OR n:Order OR n:Event RETURN n.key")}
    assert {i.name.partition(":")[2] for i in items if isinstance(i, Customer | Order)} <= stored
    assert {i.key for i in items if isinstance(i, Event)} <= stored
