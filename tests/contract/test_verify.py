"""Verification on a real engine: whatever is changed behind the service's back is named, and nothing else."""

from __future__ import annotations

import re
import threading
from itertools import count

import pytest

from onefold.graph.ingest import Batch, Writer, ingest
from onefold.graph.model import Assertion, Assurance, Deletion, IdentifierLink, OperatorBan, Withdrawal
from onefold.graph.scan import read_around
from onefold.graph.verify import examine, verify
from tests import items as make
from tests.conftest import Engine


@pytest.fixture
def writer(engine: Engine, endpoint: object) -> Writer:
    return make.writer(engine.endpoint, engine.driver)


@pytest.fixture
def filled(writer: Writer, undisturbed: None) -> Writer:
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
    ingest(writer, [Batch([make.customer("web:6", "email:6"), make.event("web:f", of="web:7")])])
    ingest(writer, [Batch([make.customer("shop:6", "phone:6")])])
    ingest(writer, [Batch([make.customer("shop:6", "email:6", at=make.NOW + 1)])])
    until = make.NOW + make.DAY
    ingest(writer, [Batch([OperatorBan("customer:web:1", "customer:web:2", "ann", "another", make.NOW, until)])])
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
    "all is lost that says that a visitor is somebody": (
        "MATCH (v:Device {key: 'device:v'}) SET v.identity = null, v.component = null, v.events = null",
        r"device:v has events and is not marked so",
    ),
    "a device without events is marked": (
        "MATCH (v:Device {key: 'device:k'}) SET v.events = true",
        r"device:k is marked as having events and has none",
    ),
    "a record that was only spoken of is nobody's": (
        "MATCH (:Customer {key: 'web:7'})-[m:MEMBER_OF]->() DELETE m",
        r"customer:web:7 should be of some identity and is of none",
    ),
    "a member is not there": (
        "MATCH (c:Customer {key: 'web:7'}) DETACH DELETE c",
        r"customer:web:7 is of identity none and by the log of \S+",
    ),
    "the log was cut off and its head set back": (
        "MATCH (h:DecisionLog {key: 'head'}) WITH h, h.sequence - 3 AS last MATCH (k:Decision {sequence: last})"
        " SET h.sequence = last, h.hash = k.hash"
        " WITH last MATCH (d:Decision) WHERE d.sequence > last DETACH DELETE d",
        r"customer:shop:6 is of identity \S+ and by the log of \S+",
    ),
    "the log is gone": (
        "MATCH (n) WHERE n:Decision OR n:DecisionLog DETACH DELETE n",
        r"customer:web:2 is of identity \S+ and by the log of none",
    ),
    "the log's head is gone": (
        "MATCH (h:DecisionLog) DELETE h",
        r"decision 1 lies beyond the log's head",
    ),
    "the log's head is set back": (
        "MATCH (h:DecisionLog {key: 'head'}) WITH h, h.sequence - 1 AS last MATCH (k:Decision {sequence: last})"
        " SET h.sequence = last, h.hash = k.hash",
        r"decision \d+ lies beyond the log's head",
    ),
    "a decision is there twice": (
        "MATCH (d:Decision {sequence: 2})"
        " CREATE (:Decision {id: 'another', sequence: 2, kind: d.kind, actor: d.actor, reason: d.reason,"
        " members: d.members, origins: d.origins, identity: d.identity, causes: d.causes, at: d.at,"
        " policy_version: d.policy_version, prev_hash: d.prev_hash, hash: d.hash})",
        r"decision 2 is there twice",
    ),
    "a number was left out": (
        "MATCH (d:Decision {sequence: 2}) SET d.sequence = -2",
        r"decision 2 is missing",
    ),
    "a retired identity leads nowhere": (
        "MATCH (i:Identity)-[m:MERGED_INTO]->() SET i.merged_into = null DELETE m",
        r"retired identity \S+ should have merged into one identity: it names none and leads to none",
    ),
    "a retired identity does not name its heir": (
        "MATCH (i:Identity)-[:MERGED_INTO]->() SET i.merged_into = null",
        r"retired identity \S+ should have merged into one identity: it names none and leads to \S+",
    ),
    "a retired identity leads to somebody else": (
        "MATCH (i:Identity)-[m:MERGED_INTO]->(), (:Customer {key: 'web:1'})-[:MEMBER_OF]->(j)"
        " CREATE (i)-[n:MERGED_INTO]->(j) SET n = properties(m), i.merged_into = j.id DELETE m",
        r"retired identity \S+ leads to \S+, and by the log it does not",
    ),
    "a person is said to have merged into another": (
        "MATCH (:Customer {key: 'web:1'})-[:MEMBER_OF]->(i), (:Customer {key: 'web:2'})-[:MEMBER_OF]->(j)"
        " CREATE (i)-[:MERGED_INTO {decision: 'none'}]->(j) SET i.merged_into = j.id",
        r"retired identity \S+ has members",
    ),
    "a ban that expires is not due": (
        "MATCH (x:Expiry) SET x.due_at = null",
        r"the ban of customer:web:1 and customer:web:2 expires and is not noted as due",
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
    assert (finding.records, finding.identities) == (14, 12)


def test_two_persons_with_each_others_ids_are_named(filled: Writer) -> None:
    reader = make.reader(filled)
    whose = "MATCH (c:Customer {key: $key})-[:MEMBER_OF]->(i) RETURN i.id"
    a, b = (reader.rows(whose, key=key)[0][0] for key in ("web:2", "web:3"))
    swap = "CASE n.{0} WHEN $a THEN $b WHEN $b THEN $a ELSE n.{0} END"
    with filled.driver.session(database=filled.database) as session:
        for one, other in ((a, b), (b, a)):
            session.run(
                "MATCH (n)-[m:MEMBER_OF]->(:Identity {id: $one}) MATCH (i:Identity {id: $other})"
                " DELETE m CREATE (n)-[:GOES_TO]->(i)",
                one=one, other=other,
            ).consume()  # fmt: skip
        session.run("MATCH (n)-[m:GOES_TO]->(i) DELETE m CREATE (n)-[:MEMBER_OF]->(i)").consume()
        session.run(
            "MATCH (n) WHERE (n:Customer OR n:Email) AND (n.component IN [$a, $b] OR n.identity IN [$a, $b])"
            f" SET n.component = {swap.format('component')}, n.identity = {swap.format('identity')}",
            a=a, b=b,
        ).consume()  # fmt: skip
    found = verify(reader)
    assert len(found) == 6, "three records and three emails"
    assert f"customer:web:2 is of identity {b} and by the log of {a}" in found
    assert f"email:3 is of identity {a} and by the log of {b}" in found


def test_what_was_merged_while_all_is_read_is_no_difference(writer: Writer) -> None:
    pairs = 1_200
    people = [make.customer(f"{source}:{n}", f"email:{source}{n}") for n in range(pairs) for source in ("web", "shop")]
    for start in range(0, len(people), 500):
        ingest(writer, [Batch(people[start : start + 500])])
    links = [
        IdentifierLink("web", f"customer:web:{n}", Assertion(f"email:shop{n}", Assurance.VERIFIED), make.NOW)
        for n in range(pairs)
    ]

    def merge(done: int, total: int) -> None:
        if done >= len(people) and links:  # its customers are read, its emails are not
            for start in range(0, pairs, 400):
                ingest(writer, [Batch(links[start : start + 400])])
            links.clear()

    finding = examine(make.reader(writer), progress=merge)
    assert not links
    assert (finding.differences, finding.more, finding.log.fault) == ((), 0, "")


def test_where_enough_differs_the_rest_is_not_read_again(filled: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onefold.graph.verify._AT_ONCE", 1)
    change(filled, "MATCH (c:Customer) WHERE c.key STARTS WITH 'kiosk' SET c.component = null")
    looked: list[int] = []
    reader = make.reader(filled)
    monkeypatch.setattr("onefold.graph.verify.read_around", lambda *of: looked.append(1) or read_around(*of))
    finding = examine(reader, limit=2)
    assert (len(finding.differences), finding.more) == (2, 3)
    assert len(looked) == 12, "two parts, six times each"


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
