"""A rebuild on a real engine: the graph becomes what its evidence says under the policy in force."""

from __future__ import annotations

import itertools
import re
import threading
from dataclasses import replace
from typing import Any

import pytest

from onefold.graph.audit import list_decisions, verify_log
from onefold.graph.bulk.changes import Changes
from onefold.graph.ingest import Batch, Writer, ingest
from onefold.graph.model import Assertion, Assurance, IdentifierLink, Item
from onefold.graph.policy import Policy, parse
from onefold.graph.rebuild import foresee, rebuild
from onefold.graph.verify import verify
from tests import items as make
from tests.conftest import Engine
from tests.engines import empty
from tests.worlds import RULES


def rules(*changes: tuple[str, str]) -> Policy:
    """The rules of the test worlds with some words replaced."""
    text = RULES
    for pattern, replacement in changes:
        text, count = re.subn(pattern, replacement, text, count=1, flags=re.DOTALL)
        assert count, pattern
    return parse(text)


LATER = {
    "surer links": rules(("link_threshold: 0.8", "link_threshold: 0.93")),
    "laxer links": rules(("link_threshold: 0.8", "link_threshold: 0.6")),
    "other limits": rules((r"(email:.*?)limit: 2", r"\1limit: 1"), (r"(member:.*?)limit: 1", r"\1limit: 3")),
    "shared sooner": rules((r"(email:.*?)shared_above: 3", r"\1shared_above: 2")),
    "shared later": rules((r"(phone:.*?)shared_above: 2", r"\1shared_above: 9"), ("above: 4", "above: 40")),
    "blocked": rules((r'"n/a"', '"n/a", "1", "2"')),
    "another deduplicated source": rules(("web: {trust: 0.9}", "web: {trust: 0.95, deduplicated: true}")),
}


@pytest.fixture
def writer(engine: Engine, endpoint: object) -> Writer:
    return make.writer(engine.endpoint, engine.driver)


def put(writer: Writer, items: list[Item], seed: int = 0) -> None:
    for batch in make.batches(items, seed):
        ingest(writer, [Batch(batch)])


def partition(writer: Writer) -> set[frozenset[str]]:
    """Who is who, ids aside."""
    groups = rows(writer, "MATCH (i:Identity)<-[:MEMBER_OF]-(r) RETURN i.id, collect(labels(r)[0] + ':' + r.key)")
    return {frozenset(names) for _, names in groups}


def rows(writer: Writer, text: str) -> list[list[Any]]:
    return [row.values() for row in make.reader(writer).rows(text)]


@pytest.mark.usefixtures("undisturbed")
@pytest.mark.parametrize("change", LATER)
def test_after_a_change_of_policy_a_rebuilt_graph_equals_one_built_from_scratch(
    writer: Writer, engine: Engine, change: str
) -> None:
    items = list(make.stream(31 + len(change), 120))  # worlds in which each of the changes parts or joins somebody
    put(writer, items)
    later = replace(writer, policy=LATER[change])
    rebuilt = rebuild(later)
    assert rebuilt.decided
    assert rebuilt.finding.differences == ()
    assert verify(make.reader(later)) == []
    assert verify_log(make.reader(later)).fault == ""
    assert list_decisions(make.reader(later), size=1).items[0].policy_version == later.policy.version
    found = partition(later)
    empty(engine.driver, engine.endpoint.database)
    put(later, items)
    assert partition(later) == found


@pytest.mark.usefixtures("undisturbed")
def test_a_kind_that_the_policy_no_longer_knows_ties_nobody_after_a_rebuild(writer: Writer) -> None:
    put(writer, [make.customer(f"{source}:1", "member:1", f"email:{source}") for source in ("web", "shop")])
    put(writer, list(make.stream(5, 60)))
    later = replace(writer, policy=rules((r"  member:.*", "")))
    assert rebuild(later).finding.differences == ()
    assert not any({"Customer:web:1", "Customer:shop:1"} <= group for group in partition(later))


@pytest.mark.usefixtures("undisturbed")
def test_what_a_rebuild_would_change_is_counted_before_it_is_changed(writer: Writer) -> None:
    put(
        writer,
        [
            # One person by a weak link, when links may be weak; two as long as they may not.
            make.customer("web:1", "email:1"),
            make.customer("shop:1", "email:1", assurance="observed"),
            # Three by a phone that fewer may have later.
            *(make.customer(f"shop:{n}", "phone:2") for n in (2, 3)),
        ],
    )
    later = replace(
        writer,
        policy=rules(
            ("link_threshold: 0.8", "link_threshold: 0.5"), (r"(phone:.*?)shared_above: 2", r"\1shared_above: 1")
        ),
    )
    (first,), _ = rows(
        writer, "MATCH (c:Customer)-[:MEMBER_OF]->(i) WHERE c.key IN ['web:1', 'shop:1'] RETURN i.id ORDER BY i.id"
    )
    changes, finding = foresee(make.reader(later))
    assert changes == Changes(merged=1, split=1, moved=2, shared=1, unshared=0)
    assert finding.differences
    assert list_decisions(make.reader(writer)).items[0].policy_version == writer.policy.version, (
        "nothing was decided yet"
    )
    assert rebuild(later).finding.differences == ()
    ids = rows(writer, "MATCH (c:Customer)-[:MEMBER_OF]->(i) WHERE c.key IN ['web:1', 'shop:1'] RETURN DISTINCT i.id")
    assert ids == [[first]], "the oldest identity keeps its id"
    assert foresee(make.reader(later))[0] == Changes(0, 0, 0, 0, 0)


def test_a_rebuild_of_what_is_as_it_should_be_writes_nothing(writer: Writer) -> None:
    put(writer, list(make.stream(3, 60)))
    head = "MATCH (h:DecisionLog) RETURN h.sequence, h.hash, h.lock"
    before = rows(writer, head)
    assert rebuild(writer).decided == 0
    assert rows(writer, head) == before


@pytest.mark.usefixtures("undisturbed")
def test_a_rebuild_that_was_stopped_goes_on_with_what_is_left(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onefold.graph.rebuild._RECORDS_AT_ONCE", 1)
    put(writer, [make.customer(f"{source}:{n}", f"phone:{n}") for n in range(6) for source in ("web", "shop")])
    later = replace(writer, policy=LATER["surer links"])

    def stop(done: int, total: int) -> None:
        if done >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rebuild(later, deciding=stop)
    assert len(verify(make.reader(later))) == 4
    assert rebuild(later).decided == 8
    assert verify(make.reader(later)) == []


def test_services_may_write_while_the_graph_is_rebuilt(writer: Writer) -> None:
    put(writer, [make.customer(f"{source}:{n}", f"phone:{n}") for n in range(40) for source in ("web", "shop")])
    later = replace(writer, policy=LATER["surer links"])
    done = threading.Event()

    def write() -> None:
        for n in itertools.cycle(range(40)):
            if done.is_set():
                return
            seen = next(clock)
            ingest(later, [Batch([make.customer(f"web:{n}", f"phone:{n}", f"phone:{(n + 1) % 40}", at=seen)])])

    clock = itertools.count(make.NOW)
    thread = threading.Thread(target=write)
    thread.start()
    try:
        assert rebuild(later).finding.differences == ()
    finally:
        done.set()
        thread.join()
    assert verify(make.reader(later)) == []


LOST = {
    "with a version, alone": "web:1",
    "with a version, one of two": "web:2",
    "that only an event speaks of": "web:3",
    "that only a link speaks of": "web:4",
    "that only an order speaks of": "web:5",
}


@pytest.mark.usefixtures("undisturbed")
@pytest.mark.parametrize("lost", LOST)
def test_a_record_that_lost_its_membership_gets_it_back(writer: Writer, lost: str) -> None:
    put(
        writer,
        [
            make.customer("web:1"),
            *(make.customer(f"{source}:2", "email:2") for source in ("web", "shop")),
            make.event("web:e", of="web:3"),
            IdentifierLink("shop", "customer:web:4", Assertion("email:4", Assurance.VERIFIED), make.NOW),
            make.order("web:o", of="web:5"),
        ],
    )
    who = "MATCH (c:Customer)-[:MEMBER_OF]->(i) RETURN c.key, i.id ORDER BY c.key"
    before = rows(writer, who)
    reader = make.reader(writer)
    with writer.driver.session(database=writer.database) as session:
        session.run("MATCH (:Customer {key: $key})-[m:MEMBER_OF]->() DELETE m", key=LOST[lost]).consume()
    assert not any("should be ended" in words for words in verify(reader))
    assert rebuild(writer).finding.differences == ()
    assert rows(writer, who) == before
    assert verify(reader) == []


def test_a_record_that_lost_its_membership_can_be_written_to(writer: Writer) -> None:
    put(writer, [make.customer("web:1", "email:1"), make.customer("shop:1", "email:1")])
    with writer.driver.session(database=writer.database) as session:
        session.run("MATCH (:Customer {key: 'web:1'})-[m:MEMBER_OF]->() DELETE m").consume()
    put(writer, [make.customer("web:1", "email:1", "phone:1", at=make.NOW + 1)])
    assert verify(make.reader(writer)) == []


@pytest.mark.usefixtures("undisturbed")
def test_a_rebuild_puts_right_what_was_changed_behind_the_services_back(writer: Writer) -> None:
    put(writer, [make.customer(f"{source}:{n}", f"email:{n}") for n in range(3) for source in ("web", "shop")])
    before = partition(writer)
    with writer.driver.session(database=writer.database) as session:
        session.run(
            "MATCH (c:Customer {key: 'web:1'})-[m:MEMBER_OF]->(), (:Customer {key: 'web:2'})-[:MEMBER_OF]->(i)"
            " DELETE m CREATE (c)-[:MEMBER_OF]->(i)"
        ).consume()
        session.run("MATCH (e:Email {key: 'email:0'}) SET e.identity = null").consume()
    assert partition(writer) != before
    assert rebuild(writer).finding.differences == ()
    assert partition(writer) == before


@pytest.mark.usefixtures("undisturbed")
def test_who_was_moved_behind_the_logs_back_is_the_identity_again_that_they_were(writer: Writer) -> None:
    put(writer, [make.customer(f"{source}:{n}", f"email:{n}") for n in (1, 2) for source in ("web", "shop")])
    membership = "MATCH (r:Customer)-[:MEMBER_OF]->(i) RETURN r.key, i.id ORDER BY r.key"
    before = rows(writer, membership)
    log = list_decisions(make.reader(writer)).items
    with writer.driver.session(database=writer.database) as session:
        session.run(
            "MATCH (a {key: 'web:1'})-[:MEMBER_OF]->(one:Identity), (b {key: 'web:2'})-[:MEMBER_OF]->(other:Identity)"
            " MATCH (r:Customer)-[m:MEMBER_OF]->(i) DELETE m"
            " CREATE (r)-[:MEMBER_OF]->(:Swapped {id: CASE i.id WHEN one.id THEN other.id ELSE one.id END})"
        ).consume()
        session.run(
            "MATCH (r:Customer)-[m:MEMBER_OF]->(s:Swapped) MATCH (i:Identity {id: s.id})"
            " DELETE m CREATE (r)-[:MEMBER_OF]->(i)"
        ).consume()
        session.run("MATCH (s:Swapped) DETACH DELETE s").consume()
    assert rows(writer, membership) != before
    assert rebuild(writer).finding.differences == ()
    assert rows(writer, membership) == before
    assert list_decisions(make.reader(writer)).items == log
    assert verify(make.reader(writer)) == []
