"""Verification on a real engine: whatever is changed behind the service's back is named, and nothing else."""

from __future__ import annotations

import re
import threading
from itertools import count

import pytest

from onefold.graph.ingest import Batch, Writer, ingest
from onefold.graph.model import Deletion, OperatorBan, Withdrawal
from onefold.graph.verify import examine, verify
from tests import items as make
from tests.conftest import Engine


@pytest.fixture
def writer(engine: Engine, endpoint: object) -> Writer:
    return make.writer(engine.endpoint, engine.driver)


@pytest.fixture
def filled(writer: Writer) -> Writer:
    """Two persons with two records each, one of them banned from a fifth record; a kiosk's device; a visitor."""
    items = [
        *(make.customer(f"{source}:{n}", f"email:{n}") for n in (1, 2) for source in ("web", "shop")),
        make.customer("till:1", "email:1"),
        OperatorBan("customer:web:1", "customer:till:1", "ann", "another", make.NOW),
        *(make.customer(f"kiosk:{n}", "device:k") for n in range(5)),
        make.event("web:e", on="device:v"),
        make.customer("web:3", "email:3", "phone:3"),
        Withdrawal("web", "customer:web:3", "phone:3", make.NOW + 1),
        make.customer("web:4", "email:4"),
        Deletion("customer:web:4", make.NOW + 1),
        make.order("web:5", "email:5", of="web:3"),
    ]
    ingest(writer, [Batch(items)])
    assert verify(make.reader(writer)) == []
    return writer


def change(writer: Writer, text: str) -> None:
    with writer.driver.session(database=writer.database) as session:
        assert session.run(text).consume().counters.contains_updates, text


MEMBER = "(:Customer {key: 'web:2'})-[m:MEMBER_OF]->(i)"
DAMAGES = {
    "a record is another person's": (
        f"MATCH {MEMBER}, (:Customer {{key: 'web:1'}})-[:MEMBER_OF]->(j), (c:Customer {{key: 'web:2'}})"
        " DELETE m CREATE (c)-[:MEMBER_OF]->(j)",
        r"customer:web:2 should be of one identity with customer:shop:2 and is of .+, not of .+"
        r"|customer:shop:2 should be of one identity with customer:web:2 and is of .+, not of .+",
    ),
    "a record is nobody's": (
        f"MATCH {MEMBER} DELETE m",
        r"customer:\w+:2 should be of one identity with customer:\w+:2 and is of (none, not of .+|.+, not of none)",
    ),
    "a record is two persons'": (
        "MATCH (:Customer {key: 'web:1'})-[:MEMBER_OF]->(i), (c:Customer {key: 'web:2'}) CREATE (c)-[:MEMBER_OF]->(i)",
        r"customer:web:2 should be of one identity and is of .+, .+",
    ),
    "two persons are one": (
        "MATCH (c:Customer)-[m:MEMBER_OF]->(), (:Customer {key: 'web:1'})-[:MEMBER_OF]->(i)"
        " WHERE c.key IN ['web:2', 'shop:2'] DELETE m CREATE (c)-[:MEMBER_OF]->(i)",
        r"customer:\w+:\d should not be of one identity with customer:\w+:\d",
    ),
    "a deleted record is somebody's": (
        "MATCH (c:Customer {key: 'web:4'}), (:Customer {key: 'web:1'})-[:MEMBER_OF]->(i) CREATE (c)-[:MEMBER_OF]->(i)",
        r"customer:web:4 should be nobody's and is of identity .+",
    ),
    "a customer's order is a record": (
        "MATCH (o:Order {key: 'web:5'}), (:Customer {key: 'web:1'})-[:MEMBER_OF]->(i) CREATE (o)-[:MEMBER_OF]->(i)",
        r"order:web:5 should be nobody's and is of identity .+",
    ),
    "an identifier follows the wrong person": (
        "MATCH (:Customer {key: 'web:1'})-[:MEMBER_OF]->(i), (v:Email {key: 'email:2'}) SET v.identity = i.id",
        r"email:2 should be of one identity with customer:\w+:2 and is of .+, not of .+",
    ),
    "a shared identifier follows somebody": (
        "MATCH (:Customer {key: 'web:1'})-[:MEMBER_OF]->(i), (v:Device {key: 'device:k'}) SET v.identity = i.id",
        r"device:k should be of no identity and is of .+",
    ),
    "a visitor is nobody": (
        "MATCH (v:Device {key: 'device:v'}) SET v.identity = null",
        r"device:v should be of some identity and is of none",
    ),
    "a visitor is somebody": (
        "MATCH (:Customer {key: 'web:1'})-[:MEMBER_OF]->(i), (v:Device {key: 'device:v'}) SET v.identity = i.id",
        r"device:v should not be of one identity with customer:\w+:1",
    ),
    "a hub is not marked": (
        "MATCH (v:Device {key: 'device:k'}) SET v.shared = false",
        r"device:k is not marked as shared and should be",
    ),
    "what few have is marked": (
        "MATCH (v:Email {key: 'email:2'}) SET v.shared = true",
        r"email:2 is marked as shared and should not be",
    ),
    "a component is torn": (
        "MATCH (c:Customer {key: 'web:2'}), (:Customer {key: 'web:1'})-[:MEMBER_OF]->(i) SET c.component = i.id",
        r".+ should be of one component with .+ and is of .+, not of .+",
    ),
    "a record is in no component": (
        "MATCH (c:Customer {key: 'web:3'}) SET c.component = null",
        r".+ should be of one component with .+ and is of (none, not of .+|.+, not of none)",
    ),
    "a hub is in a component": (
        "MATCH (c:Customer {key: 'web:1'}), (v:Device {key: 'device:k'}) SET v.component = c.component",
        r"device:k should be of no component and is of .+",
    ),
    "a component has a name of nobody": (
        "MATCH (c) WHERE c.key IN ['web:2', 'shop:2', 'email:2'] SET c.component = 'nobody'",
        r"the component of customer:\w+:2 is not named after one of its own identities",
    ),
    "a refusal is not marked": (
        "MATCH ()-[l:HAS_EMAIL]->() WHERE l.refused IS NOT NULL SET l.refused = null",
        r"customer:\w+:1 -> email:1 is marked as not refused and should be as BAN",
    ),
    "what is not refused is marked": (
        "MATCH (:Customer {key: 'web:2'})-[l:HAS_EMAIL]->() SET l.refused = 'BAN'",
        r"customer:web:2 -> email:2 is marked as BAN and should be as not refused",
    ),
    "a link that was taken back holds": (
        "MATCH (c:Customer {key: 'web:3'})-[h:HAD]->(v:Phone) WHERE h.first_seen IS NOT NULL"
        " CREATE (c)-[l:HAS_PHONE]->(v) SET l = properties(h) DELETE h",
        r"customer:web:3 -> phone:3 \(web\) holds no longer and should be ended",
    ),
    "a link that holds is ended": (
        "MATCH (c:Customer {key: 'web:3'})-[h:HAS_EMAIL]->(v) CREATE (c)-[l:HAD]->(v) SET l = properties(h) DELETE h",
        r"customer:web:3 -> email:3 \(web\) holds and should not be ended",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_damage_is_named(filled: Writer, damage: str) -> None:
    text, words = DAMAGES[damage]
    change(filled, text)
    found = verify(make.reader(filled))
    assert any(re.fullmatch(words, difference) for difference in found), found


def test_only_the_first_differences_are_named_and_the_others_counted(filled: Writer) -> None:
    change(filled, "MATCH (c:Customer) WHERE c.key STARTS WITH 'kiosk' SET c.component = null")
    finding = examine(make.reader(filled), limit=2)
    assert (len(finding.differences), finding.more) == (2, 3)
    assert (finding.records, finding.identities) == (11, 10)


def test_a_graph_that_is_written_to_is_found_as_it_should_be(writer: Writer) -> None:
    done, clock = threading.Event(), count(make.NOW)

    def write() -> None:
        while not done.is_set():
            n = next(clock) % 7
            both = [f"phone:{n}", f"phone:{n + 1}"]
            ingest(writer, [Batch([make.customer(f"web:{n}", *both[: 1 + next(clock) % 2], at=next(clock))])])

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(10):
            assert verify(make.reader(writer)) == []
    finally:
        done.set()
        thread.join()
