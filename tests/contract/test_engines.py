"""What the store may count on with every engine, and where the engines differ: docs/engines.md, as tests."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import neo4j
import pytest
from neo4j.exceptions import ClientError, ConstraintError, Neo4jError, TransientError

from onefold.graph.endpoint import Endpoint
from tests.conftest import Engine

LOCK = "MATCH (i:Identity {key: $key}) SET i.lock = $unique"
LONG_S = 0.3
"""Long enough to tell a statement that waits for a lock from one that does not."""


@dataclass(frozen=True, slots=True)
class Graph:
    """An empty database whose customers and identities have unique keys."""

    engine: str
    driver: neo4j.Driver
    database: str

    def run(self, query: str, **parameters: object) -> list[list[object]]:
        result = self.driver.execute_query(query, parameters, database_=self.database)
        return [record.values() for record in result.records]

    def session(self, access: str = neo4j.WRITE_ACCESS) -> neo4j.Session:
        return self.driver.session(database=self.database, default_access_mode=access)


@pytest.fixture
def graph(engine: Engine, endpoint: Endpoint) -> Graph:
    graph = Graph(engine.name, engine.driver, endpoint.database)
    for label in ("Customer", "Identity"):
        name = f"{label.lower()}_key"
        graph.run(f"CREATE CONSTRAINT {name} IF NOT EXISTS FOR (n:{label}) REQUIRE n.key IS UNIQUE")
    return graph


@pytest.fixture
def other() -> Iterator[ThreadPoolExecutor]:
    """A second thread, for what a second writer does meanwhile."""
    with ThreadPoolExecutor(1) as pool:
        yield pool


def waits(future: Future[None]) -> bool:
    time.sleep(LONG_S)
    return not future.done()


def test_a_database_is_empty_for_every_test(graph: Graph) -> None:
    assert graph.run("MATCH (n) RETURN count(n)") == [[0]]
    graph.run("CREATE (:Customer {key: 'a'})-[:HAS_EMAIL]->(:Email {key: 'b'})")


def test_a_key_that_exists_is_a_constraint_error(graph: Graph) -> None:
    graph.run("CREATE (:Customer {key: 'a'})")
    with pytest.raises(ConstraintError) as caught:
        graph.run("CREATE (:Customer {key: 'a'})")
    assert caught.value.code == "Neo.ClientError.Schema.ConstraintValidationFailed"
    assert not caught.value.is_retryable()


def test_of_two_that_create_one_key_at_once_the_loser_gets_a_constraint_error(
    graph: Graph, other: ThreadPoolExecutor
) -> None:
    def create_second() -> None:
        with graph.session() as session, session.begin_transaction() as second:
            second.run("CREATE (:Customer {key: 'a'})").consume()
            second.commit()

    with graph.session() as session:
        first = session.begin_transaction()
        first.run("CREATE (:Customer {key: 'a'})").consume()
        creating = other.submit(create_second)
        if graph.engine == "neo4j":
            assert waits(creating), "the second waits until the first has committed"
            first.commit()
            with pytest.raises(ConstraintError):
                creating.result()
        else:
            creating.result()
            with pytest.raises(ConstraintError):
                first.commit()  # whoever commits first wins, and a commit is where the other is told
    assert graph.run("MATCH (c:Customer) RETURN count(c)") == [[1]]


def test_of_two_that_lock_one_node_one_waits_or_has_to_try_again(graph: Graph, other: ThreadPoolExecutor) -> None:
    graph.run("CREATE (:Identity {key: 'i'})")

    def lock_second() -> None:
        with graph.session() as session, session.begin_transaction() as second:
            second.run(LOCK, key="i", unique="second").consume()
            second.commit()

    with graph.session() as session:
        first = session.begin_transaction()
        first.run(LOCK, key="i", unique="first").consume()
        locking = other.submit(lock_second)
        if graph.engine == "neo4j":
            assert waits(locking), "a lock is held until the commit"
            first.commit()
            locking.result()
        else:
            locking.result()
            with pytest.raises(TransientError) as caught:
                first.commit()  # no lock: the commit finds that another was faster
            assert caught.value.is_retryable()
    assert graph.run("MATCH (i:Identity) RETURN i.lock") == [["second"]]


def test_what_is_read_under_the_lock_holds_until_the_commit(graph: Graph) -> None:
    graph.run("CREATE (:Identity {key: 'i', n: 0})")
    lost = []

    def add_one() -> None:
        with graph.session() as session, session.begin_transaction() as transaction:
            locked = f"{LOCK} WITH i RETURN i.n AS n"
            row = transaction.run(locked, key="i", unique=uuid.uuid4().hex).single(strict=True)
            transaction.run("MATCH (i:Identity {key: 'i'}) SET i.n = $n", n=row["n"] + 1).consume()
            transaction.commit()

    def add_ten() -> None:
        added = 0
        while added < 10:
            try:
                add_one()
                added += 1
            except Neo4jError as error:
                if not error.is_retryable():
                    lost.append(error)
                    return

    threads = [threading.Thread(target=add_ten) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not lost
    assert graph.run("MATCH (i:Identity) RETURN i.n") == [[30]]


def test_a_lock_needs_a_value_that_is_new(graph: Graph, other: ThreadPoolExecutor) -> None:
    graph.run("CREATE (:Identity {key: 'i', lock: 'same'})")

    def lock_second() -> None:
        with graph.session() as session, session.begin_transaction() as second:
            second.run(LOCK, key="i", unique="same").consume()
            second.commit()

    with graph.session() as session:
        first = session.begin_transaction()
        first.run(LOCK, key="i", unique="same").consume()
        locking = other.submit(lock_second)
        if graph.engine == "neo4j":
            assert waits(locking)
        else:
            locking.result()  # nothing was written, so nothing can collide
        first.commit()
        locking.result()


def test_two_that_lock_in_opposite_order_do_not_both_commit(graph: Graph, other: ThreadPoolExecutor) -> None:
    graph.run("UNWIND ['a', 'b'] AS key CREATE (:Identity {key: key})")
    both_hold_one = threading.Barrier(2)

    def lock_both(keys: str) -> str:
        with graph.session() as session, session.begin_transaction() as transaction:
            transaction.run(LOCK, key=keys[0], unique=uuid.uuid4().hex).consume()
            both_hold_one.wait(10)
            transaction.run(LOCK, key=keys[1], unique=uuid.uuid4().hex).consume()
            transaction.commit()
        return "committed"

    def outcome(keys: str) -> str | None:
        try:
            return lock_both(keys)
        except TransientError as error:
            return error.code if error.is_retryable() else "final"

    meanwhile = other.submit(outcome, "ba")
    deadlock = "Neo.TransientError.Transaction.DeadlockDetected"
    assert {outcome("ab"), meanwhile.result()} == {"committed", deadlock}


def test_only_neo4j_heeds_the_time_limit_of_a_transaction(graph: Graph) -> None:
    endless = "UNWIND range(1, 10000) AS a UNWIND range(1, 10000) AS b RETURN max(a * b)"
    short = "UNWIND range(1, 500) AS a UNWIND range(1, 500) AS b RETURN max(a * b)"
    with graph.session() as session:
        if graph.engine == "neo4j":
            with pytest.raises(ClientError) as caught, session.begin_transaction(timeout=0.1) as limited:
                limited.run(endless).consume()
            assert caught.value.code == "Neo.ClientError.Transaction.TransactionTimedOutClientConfiguration"
            assert not caught.value.is_retryable()
        else:
            with session.begin_transaction(timeout=0.001) as limited:
                assert limited.run(short).single(strict=True)[0] == 250_000


def test_only_neo4j_refuses_to_write_in_a_read_session(graph: Graph) -> None:
    with graph.session(neo4j.READ_ACCESS) as session:
        if graph.engine == "neo4j":
            with pytest.raises(ClientError) as caught:
                session.run("CREATE (:Customer {key: 'a'})").consume()
            assert caught.value.code == "Neo.ClientError.Statement.AccessMode"
        else:
            session.run("CREATE (:Customer {key: 'a'})").consume()
            assert graph.run("MATCH (c:Customer) RETURN count(c)") == [[1]]


def test_a_key_is_unique_whatever_other_labels_its_node_has(graph: Graph) -> None:
    graph.run("CREATE (:Customer:Vip {key: 'a'})")
    for labels in ("Customer", "Customer:Vip", "Gold:Customer"):
        with pytest.raises(ConstraintError):
            graph.run(f"CREATE (:{labels} {{key: 'a'}})")
