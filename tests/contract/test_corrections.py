"""What sources take back: corrections, withdrawals and deletions, on a real engine."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest

from onefold.graph.fetch import fetch_component_as_of
from onefold.graph.ingest import Batch, Outcome, Writer, ingest
from onefold.graph.model import (
    Assertion,
    Assurance,
    BanExpiry,
    Deletion,
    IdentifierLink,
    Item,
    OperatorBan,
    OwnItem,
    Recheck,
    Withdrawal,
)
from onefold.graph.past import find_as_of
from onefold.graph.subject import Subject
from onefold.graph.upkeep import due_bans, forget_answers
from onefold.graph.verify import verify
from tests import items as make
from tests.conftest import Engine
from tests.engines import empty
from tests.items import DAY, NOW, customer, order

ANN, LEE = "customer:web:ann", "customer:shop:lee"


@pytest.fixture
def writer(engine: Engine, endpoint: object) -> Writer:
    return make.writer(engine.endpoint, engine.driver)


def put(writer: Writer, *items: Item | OwnItem, request_id: str = "") -> list[Outcome]:
    (answer,) = ingest(writer, [Batch(items, request_id)])
    assert isinstance(answer, list)
    assert verify(make.reader(writer)) == []
    return answer


def rows(writer: Writer, text: str, **parameters: object) -> list[list[object]]:
    return [row.values() for row in make.reader(writer).rows(text, **parameters)]


def one_person(writer: Writer, a: str, b: str) -> bool:
    found = "MATCH (r {key: $key})-[:MEMBER_OF]->(i:Identity) RETURN i.id"
    left, right = (rows(writer, found, key=name.partition(":")[2]) for name in (a, b))
    return left == right != []


def kinds(writer: Writer) -> list[object]:
    return [row[0] for row in rows(writer, "MATCH (d:Decision) RETURN d.kind ORDER BY d.sequence")]


def test_what_a_new_version_leaves_out_is_ended_and_parts_who_it_joined(writer: Writer) -> None:
    (before, _) = put(writer, customer("web:ann", "email:1"), customer("shop:lee", "email:1"))
    assert one_person(writer, ANN, LEE)
    (after,) = put(writer, customer("web:ann", "email:2", at=NOW + 1))
    assert not one_person(writer, ANN, LEE)
    assert after.identity_before == before.identity
    ended = "MATCH (c:Customer {key: 'web:ann'})-[h:HAD]->(v) RETURN v.key, h.ended_at IS NOT NULL"
    assert rows(writer, ended) == [["email:1", True]]
    assert kinds(writer)[-1] == "SPLIT"
    causes = "MATCH (d:Decision) UNWIND d.causes AS cause RETURN cause"
    assert ["customer:web:ann -/-> email:1 (web)"] in rows(writer, causes)


def test_an_older_version_that_comes_late_takes_nothing_back(writer: Writer) -> None:
    put(writer, customer("web:ann", "email:1", at=NOW), customer("shop:lee", "email:1"))
    (late,) = put(writer, customer("web:ann", "email:2", at=NOW - DAY))
    assert late.changed
    assert one_person(writer, ANN, LEE)
    assert rows(writer, "MATCH (:Customer {key: 'web:ann'})-[:HAS_EMAIL]->(v) RETURN v.key") == [["email:1"]]


def test_a_version_keeps_what_an_order_said(writer: Writer) -> None:
    put(writer, customer("web:ann"), order("web:1", "email:1", of="web:ann"), customer("shop:lee", "email:1"))
    put(writer, customer("web:ann", full_name="Ann", at=NOW + 1))
    assert one_person(writer, ANN, LEE)


def test_a_withdrawn_identifier_counts_again_once_it_is_seen_again(writer: Writer) -> None:
    put(writer, customer("web:ann", "email:1"), customer("shop:lee", "email:1"))
    put(writer, Withdrawal("web", ANN, "email:1", NOW + 5))
    assert not one_person(writer, ANN, LEE)
    put(writer, customer("web:ann", "email:1", at=NOW + 3))
    assert not one_person(writer, ANN, LEE)
    put(writer, customer("web:ann", "email:1", at=NOW + 6))
    assert one_person(writer, ANN, LEE)
    assert put(writer, Withdrawal("web", ANN, "email:1", NOW + 5))[0].changed is False


def test_one_source_can_not_take_back_the_word_of_another(writer: Writer) -> None:
    put(writer, customer("web:ann", "email:1"), customer("shop:lee", "email:1"))
    put(writer, Withdrawal("shop", ANN, "email:1", NOW + 5))
    assert one_person(writer, ANN, LEE)


def test_a_deleted_record_is_nobodys_and_an_identity_without_records_still_resolves(writer: Writer) -> None:
    ann, _ = put(writer, customer("web:ann", "email:1"), customer("shop:lee", "email:1"))
    (gone,) = put(writer, Deletion(ANN, NOW + 1))
    assert (gone.identity_before, gone.identity) == (ann.identity, "")
    (last,) = put(writer, Deletion(LEE, NOW + 1))
    assert last.identity == ""
    erased = rows(writer, "MATCH (i:Identity {id: $id}) RETURN i.erased_at IS NOT NULL", id=ann.identity)
    assert erased == [[True]]
    assert kinds(writer)[-2:] == ["CHANGED", "ERASED"]
    (back,) = put(writer, customer("web:ann", "email:1", at=NOW + 2))
    assert back.identity not in ("", ann.identity)


def test_a_record_comes_back_without_its_links_of_a_kind_that_the_policy_has_dropped(writer: Writer) -> None:
    put(writer, customer("web:ann"), customer("web:ann", "phone:1", "email:1"), Deletion(ANN, NOW + 1))
    kinds_kept = {kind: rule for kind, rule in writer.policy.kinds.items() if kind != "phone"}
    later = replace(writer, policy=writer.policy.model_copy(update={"kinds": kinds_kept}))
    (answer,) = ingest(later, [Batch([customer("web:ann", "email:1", at=NOW + 2)])])
    assert isinstance(answer, list)
    assert answer[0].identity


def test_a_guest_order_may_become_a_customers_and_a_guests_again(writer: Writer) -> None:
    put(writer, order("shop:1", "email:1"), customer("web:ann", "email:2"))
    owner = "MATCH (c:Customer)-[:PLACED]->(:Order {key: 'shop:1'}) RETURN c.key"
    guest = "MATCH (:Order {key: 'shop:1'})-[:MEMBER_OF]->(i) RETURN count(i)"
    put(writer, order("shop:1", "email:1", of="web:ann", at=NOW + 1))
    assert (rows(writer, owner), rows(writer, guest)) == ([["web:ann"]], [[0]])
    put(writer, order("shop:1", "email:1", of="shop:lee", at=NOW + 2))
    assert (rows(writer, owner), rows(writer, guest)) == ([["shop:lee"]], [[0]])
    put(writer, order("shop:1", "email:1", at=NOW + 3))
    assert (rows(writer, owner), rows(writer, guest)) == ([], [[1]])
    put(writer, Deletion("order:shop:1", NOW + 4))
    assert (rows(writer, owner), rows(writer, guest)) == ([], [[0]])
    versions = "MATCH (:Order {key: 'shop:1'})-[:WAS]->(v) RETURN v.customer ORDER BY v.observed_at"
    assert rows(writer, versions) == [[None], ["web:ann"], ["shop:lee"]]


MISATTRIBUTED = (customer("web:ann"), order("shop:1", "email:1", of="web:ann"), customer("shop:lee", "email:1"))
"""The shop took Lee's order for Ann's, and so gave Ann Lee's address."""

TAKES_BACK: dict[str, Item] = {
    "it is another customer's": order("shop:1", "email:1", of="shop:lee", at=NOW + 5),
    "it is a guest's": order("shop:1", "email:1", at=NOW + 5),
    "it has another address": order("shop:1", "email:2", of="web:ann", at=NOW + 5),
    "it has no address": order("shop:1", of="web:ann", at=NOW + 5),
    "it is deleted": Deletion("order:shop:1", NOW + 5),
}
"""What may become of that order."""

GIVEN = """MATCH (:Customer {key: 'web:ann'})-[l:HAS_EMAIL {source: 'shop'}]->(v)
RETURN v.key, l.ordered_at.epochMillis ORDER BY v.key"""
"""What Ann has by orders."""


@pytest.mark.parametrize("word", TAKES_BACK)
def test_an_order_that_says_something_else_parts_who_it_joined(writer: Writer, word: str) -> None:
    put(writer, *MISATTRIBUTED)
    assert one_person(writer, ANN, LEE)
    put(writer, TAKES_BACK[word])
    assert not one_person(writer, ANN, LEE)
    ended = "MATCH (:Customer {key: 'web:ann'})-[h:HAD]->(v) RETURN v.key, h.source, h.ended_at IS NOT NULL"
    assert rows(writer, ended) == [["email:1", "shop", True]]
    causes = "MATCH (d:Decision) UNWIND d.causes AS cause RETURN cause"
    assert ["customer:web:ann -/-> email:1 (shop)"] in rows(writer, causes)
    assert not any(outcome.changed for outcome in put(writer, *MISATTRIBUTED))
    assert not one_person(writer, ANN, LEE)


@pytest.mark.parametrize("word", TAKES_BACK)
def test_what_an_order_said_before_joins_nobody_when_it_comes_late(writer: Writer, word: str) -> None:
    put(writer, TAKES_BACK[word])
    put(writer, *MISATTRIBUTED)
    assert not one_person(writer, ANN, LEE)
    assert ["email:1"] not in rows(writer, "MATCH (:Customer {key: 'web:ann'})-[:HAS_EMAIL]->(v) RETURN v.key")


@pytest.mark.parametrize("word", TAKES_BACK)
def test_what_an_order_no_longer_says_holds_as_long_as_another_one_says_so(writer: Writer, word: str) -> None:
    put(writer, *MISATTRIBUTED, order("shop:2", "email:1", of="web:ann", at=NOW - DAY))
    assert rows(writer, GIVEN) == [["email:1", NOW]]
    put(writer, TAKES_BACK[word])
    assert ["email:1", NOW - DAY] in rows(writer, GIVEN)
    assert one_person(writer, ANN, LEE)
    put(writer, Deletion("order:shop:2", NOW + 5))
    assert ["email:1"] not in [row[:1] for row in rows(writer, GIVEN)]
    assert not one_person(writer, ANN, LEE)


def test_an_order_of_another_source_or_customer_or_of_less_assurance_keeps_no_link(writer: Writer) -> None:
    less = order("shop:3", "email:1", of="web:ann")
    less = replace(less, assertions=(Assertion("email:1", Assurance.OBSERVED),))
    others = (order("till:2", "email:1", of="web:ann"), order("shop:4", "email:1", of="shop:lee"), less)
    put(writer, *MISATTRIBUTED, *others)
    put(writer, Deletion("order:shop:1", NOW + 5))
    links = "MATCH (:Customer {key: 'web:ann'})-[l:HAS_EMAIL]->() RETURN l.source, l.assurance ORDER BY l.source"
    assert rows(writer, links) == [["shop", "observed"], ["till", "verified"]]


def test_what_one_batch_says_and_takes_back_is_as_if_it_had_come_apart(writer: Writer) -> None:
    earlier = order("shop:2", "email:1", of="web:ann", at=NOW - DAY)
    put(writer, *MISATTRIBUTED, earlier, TAKES_BACK["it is deleted"])
    assert rows(writer, GIVEN) == [["email:1", NOW - DAY]]
    later = order("shop:3", "email:1", of="web:ann", at=NOW + DAY)
    put(writer, Deletion("order:shop:2", NOW + 5), later, order("shop:3", at=NOW + DAY + 1, of="web:ann"))
    assert rows(writer, GIVEN) == []
    assert not one_person(writer, ANN, LEE)


def test_an_order_corrected_back_gives_again_what_it_gave(writer: Writer) -> None:
    put(writer, *MISATTRIBUTED)
    put(writer, order("shop:1", "email:1", of="shop:lee", at=NOW + 1))
    put(writer, order("shop:1", "email:1", of="web:ann", at=NOW + 2))
    assert one_person(writer, ANN, LEE)
    put(writer, Deletion("order:shop:1", NOW + 3))
    assert not one_person(writer, ANN, LEE)
    put(writer, order("shop:1", "email:1", of="web:ann", at=NOW + 4))
    assert one_person(writer, ANN, LEE)


def test_an_older_version_of_an_order_that_comes_late_changes_nothing_of_what_holds(writer: Writer) -> None:
    put(writer, *MISATTRIBUTED)
    put(writer, order("shop:1", "email:2", of="shop:lee", at=NOW - DAY), Deletion("order:shop:1", NOW - DAY))
    assert one_person(writer, ANN, LEE)
    assert rows(writer, GIVEN) == [["email:1", NOW]]
    assert rows(writer, "MATCH (:Customer {key: 'shop:lee'})-[:HAS_EMAIL]->(v) RETURN v.key") == [["email:1"]]


def test_an_order_that_was_placed_at_another_instant_is_withdrawn_by_that(writer: Writer) -> None:
    put(writer, *MISATTRIBUTED, Withdrawal("shop", ANN, "email:1", NOW - 1))
    assert one_person(writer, ANN, LEE)
    put(writer, order("shop:1", "email:1", of="web:ann", at=NOW + 1, placed=NOW - 2))
    assert not one_person(writer, ANN, LEE)
    put(writer, order("shop:2", "email:1", of="web:ann", at=NOW + 1, placed=NOW))
    assert one_person(writer, ANN, LEE)


def test_a_corrected_order_leaves_what_its_customer_has_otherwise(writer: Writer) -> None:
    link = IdentifierLink("shop", ANN, Assertion("email:1", Assurance.VERIFIED), NOW - DAY)
    put(writer, *MISATTRIBUTED)
    put(writer, link)
    put(writer, TAKES_BACK["it is another customer's"])
    assert one_person(writer, ANN, LEE)
    put(writer, Withdrawal("shop", ANN, "email:1", NOW - 1))
    assert not one_person(writer, ANN, LEE)


def test_an_order_of_a_deleted_customer_may_be_corrected(writer: Writer) -> None:
    put(writer, *MISATTRIBUTED)
    put(writer, Deletion(ANN, NOW - 1))
    put(writer, TAKES_BACK["it is another customer's"])
    put(writer, customer("web:ann", at=NOW + 1))
    assert rows(writer, GIVEN) == []
    assert not one_person(writer, ANN, LEE)


def test_before_it_was_corrected_the_order_joined_them(writer: Writer) -> None:
    instants = iter(range(NOW, NOW + 10))
    clocked = replace(writer, clock=lambda: next(instants))
    put(clocked, *MISATTRIBUTED)
    put(clocked, TAKES_BACK["it is another customer's"])
    reader = make.reader(writer)

    def who(at: int) -> list[str]:
        return [find_as_of(reader, Subject.record(name), at).identity.id for name in (ANN, LEE)]

    then, now = who(NOW), who(NOW + 1)
    assert then[0] == then[1]
    assert now[0] != now[1]
    component = fetch_component_as_of(reader, Subject.record(ANN), NOW)
    assert ("email:1", "shop", "verified") in component.evidence.records[ANN].links


def test_what_orders_said_before_it_was_kept_which_of_them_stays_until_it_is_withdrawn(writer: Writer) -> None:
    put(writer, *MISATTRIBUTED)
    with writer.driver.session(database=writer.database) as session:
        session.run(
            "MATCH ()-[l:HAS_EMAIL {source: 'shop'}]->() SET l.ordered_at = null, l.stated_by = CASE "
            "WHEN startNode(l).key = 'shop:lee' THEN l.stated_by END"
        ).consume()
        session.run("MATCH (o:Order) SET o.said = null").consume()
    put(writer, TAKES_BACK["it is another customer's"])
    assert one_person(writer, ANN, LEE)
    put(writer, Withdrawal("shop", ANN, "email:1", NOW + 6))
    assert not one_person(writer, ANN, LEE)


def test_words_for_and_against_come_to_the_same_in_every_order(writer: Writer, engine: Engine) -> None:
    said = [
        customer("web:ann", "email:1", "phone:1"),
        customer("web:ann", "phone:1", at=NOW + 2),
        Withdrawal("web", ANN, "phone:1", NOW + 1),
        Deletion(ANN, NOW + 1),
    ]
    ends = set()
    for arrival in permutations(said):
        empty(engine.driver, engine.endpoint.database)
        for item in arrival:
            put(writer, item)
        links = "MATCH (c:Customer {key: 'web:ann'})-[:HAS_EMAIL|HAS_PHONE]->(v) RETURN collect(v.key)"
        ends.add(str(rows(writer, links)))
    assert ends == {"[[['phone:1']]]"}


def test_a_shared_identifier_is_shared_no_longer_once_enough_let_go_of_it(writer: Writer) -> None:
    put(writer, *(customer(f"web:{n}", "phone:1", f"email:{n}") for n in range(3)))
    shared = "MATCH (v:Phone {key: 'phone:1'}) RETURN v.shared"
    assert rows(writer, shared) == [[True]]
    put(writer, Withdrawal("web", "customer:web:0", "phone:1", NOW + 1))
    assert rows(writer, shared) == [[False]]
    put(writer, customer("web:3", "phone:1"))
    assert rows(writer, shared) == [[True]]


def test_a_ban_holds_until_the_service_has_said_that_it_is_over(writer: Writer) -> None:
    put(writer, customer("web:ann", "email:1"), customer("shop:lee", "email:1"))
    put(writer, OperatorBan(ANN, LEE, "ann", "brothers", NOW - 10, NOW + 5))
    later = replace(writer, clock=lambda: NOW + 6)
    put(later, customer("web:ann", "email:1", full_name="Ann", at=NOW + 1))
    assert not one_person(writer, ANN, LEE)
    reader = make.reader(writer)
    assert due_bans(reader, NOW + 4) == []
    (due,) = due_bans(reader, NOW + 5)
    assert due == BanExpiry(LEE, ANN, NOW - 10)
    put(later, due)
    assert one_person(writer, ANN, LEE)
    assert due_bans(reader, NOW + 5) == []
    assert "BAN_EXPIRED" in kinds(writer)
    put(writer, OperatorBan(ANN, LEE, "ann", "brothers indeed", NOW))
    assert not one_person(writer, ANN, LEE)
    assert put(writer, due)[0].changed is False


def test_a_ban_that_was_over_before_it_came_is_known_and_moves_nobody(writer: Writer) -> None:
    put(writer, customer("web:ann", "email:1"), customer("shop:lee", "email:1"))
    before = rows(writer, "MATCH (i:Identity) RETURN i.id ORDER BY i.id")
    ban = OperatorBan(ANN, LEE, "ann", "brothers", NOW - 10, NOW)
    (outcome,) = put(writer, ban)
    assert outcome.changed
    assert outcome.identity == outcome.identity_before
    assert outcome.refused == ()
    assert kinds(writer) == ["CREATED", "OPERATOR_BAN", "BAN_EXPIRED"]
    assert rows(writer, "MATCH (i:Identity) RETURN i.id ORDER BY i.id") == before
    assert rows(writer, "MATCH ()-[b:NEVER_SAME]->() RETURN b.reason, b.lapsed") == [["brothers", True]]
    assert due_bans(make.reader(writer), NOW) == []
    assert put(writer, ban)[0].changed is False


def test_a_later_ban_outlasts_one_that_was_over_before_it_came_with_it(writer: Writer) -> None:
    put(writer, customer("web:ann", "email:1"), customer("shop:lee", "email:1"))
    put(writer, OperatorBan(ANN, LEE, "ann", "brothers", NOW - 10, NOW - 5), OperatorBan(ANN, LEE, "bob", "no", NOW))
    assert not one_person(writer, ANN, LEE)
    assert "BAN_EXPIRED" not in kinds(writer)
    put(writer, OperatorBan(ANN, LEE, "ann", "brothers", NOW - 8, NOW - 5))
    assert not one_person(writer, ANN, LEE)


def test_a_ban_that_is_said_anew_in_the_commit_in_which_it_ends_holds(writer: Writer) -> None:
    put(writer, customer("web:ann", "email:1"), customer("shop:lee", "email:1"))
    put(writer, OperatorBan(ANN, LEE, "ann", "brothers", NOW - 10, NOW + 5))
    put(writer, BanExpiry(ANN, LEE, NOW - 10), OperatorBan(ANN, LEE, "bob", "brothers indeed", NOW + 5))
    assert not one_person(writer, ANN, LEE)
    put(writer, customer("web:ann", "email:1", full_name="Ann", at=NOW + 1))
    assert not one_person(writer, ANN, LEE)


def test_two_bans_end_each_at_its_time_however_their_records_are_named(writer: Writer) -> None:
    pairs = [("customer:a:1 a:2", "customer:a:3"), ("customer:a:1", "customer:a:2 a:3")]
    put(writer, *(customer(name.partition(":")[2], f"email:{n}") for n, pair in enumerate(pairs) for name in pair))
    put(writer, *(OperatorBan(*pair, "ann", "brothers", NOW, NOW + 5 + n) for n, pair in enumerate(pairs)))
    reader = make.reader(writer)
    for now, (a, b) in enumerate(pairs, start=NOW + 5):
        assert not one_person(writer, a, b)
        put(writer, *due_bans(reader, now))
        assert one_person(writer, a, b)
    assert due_bans(reader, NOW + 10) == []


def test_a_recheck_of_what_is_right_changes_nothing(writer: Writer) -> None:
    put(writer, *(customer(f"web:{n}", "phone:1", f"email:{n}") for n in range(3)))
    before = kinds(writer)
    put(writer, Recheck(frozenset({"customer:web:0"}), frozenset({"phone:1", "email:1"})))
    assert kinds(writer) == before


def test_a_large_component_is_told(writer: Writer) -> None:
    told: list[int] = []
    few = writer.policy.model_copy(update={"max_component": 3})
    loud = replace(writer, policy=few, on_large_component=lambda component, records: told.append(records))
    put(loud, customer("web:0", "email:1"), customer("shop:0", "email:1"))
    assert told == []
    put(loud, customer("app:0", "email:1"))
    assert told == [3]


def test_answers_are_forgotten_when_they_are_old(writer: Writer) -> None:
    request = "7d0cf3c4-2f07-4a5b-8f5e-0a8a1c3b1a11"
    (first,) = put(writer, customer("web:ann"), request_id=request)
    assert put(writer, customer("web:ann"), request_id=request) == [first]
    assert forget_answers(writer.driver, writer.database, NOW) == 0
    assert forget_answers(writer.driver, writer.database, NOW + 1) == 1
    assert not put(writer, customer("web:ann"), request_id=request)[0].changed
