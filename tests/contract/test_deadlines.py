"""Deadlines hold on each engine whatever it does: one that hangs, one that is slow, a race that is never won."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from onefold.graph.audit import verify_log
from onefold.graph.errors import DeadlineExceeded
from onefold.graph.identity import find
from onefold.graph.ingest import Batch, Writer, ingest
from onefold.graph.lane import WriterLanes
from onefold.graph.past import find_as_of
from onefold.graph.reader import Reader
from onefold.graph.subject import Subject
from onefold.graph.verify import verify
from tests import items as make
from tests.conftest import Engine
from tests.engines import driver_of
from tests.hanging import Wire, ends_at_its_deadline

NOW = make.NOW
SECONDS = 0.5


@pytest.fixture
def wire(engine: Engine, endpoint: object) -> Iterator[Wire]:
    with Wire(engine.endpoint) as wire:
        yield wire


@pytest.fixture
def writer(wire: Wire) -> Iterator[Writer]:
    """Over the wire, with connections that wait in the driver's pool."""
    with driver_of(wire.endpoint) as driver:
        writer = make.writer(wire.endpoint, driver)
        ingest(writer, [Batch([make.customer("web:1", "email:1")])])
        yield writer


@pytest.fixture
def reader(writer: Writer) -> Reader:
    return make.reader(writer)


def test_a_read_of_an_engine_that_hangs_ends_at_its_deadline(wire: Wire, reader: Reader) -> None:
    wire.hang()
    ends_at_its_deadline(lambda: reader.within(SECONDS).rows("RETURN 1"))
    ends_at_its_deadline(lambda: reader.within(SECONDS).rows("RETURN 1"))  # by a connection that is still to be made
    wire.go_on()
    assert reader.within(30).rows("RETURN 1")[0][0] == 1


def test_so_does_one_whose_rows_stop_coming(wire: Wire, reader: Reader) -> None:
    rows = reader.within(5 * SECONDS).stream("UNWIND range(1, 100000) AS n RETURN n", batch=10)
    assert next(rows)[0] == 1
    wire.hang()
    ends_at_its_deadline(lambda: list(rows))


def test_a_connection_forgets_the_deadline_of_whom_it_served(reader: Reader) -> None:
    reader.within(SECONDS).rows("RETURN 1")
    time.sleep(1.5 * SECONDS)
    assert reader.rows("RETURN 1")[0][0] == 1
    reader.driver.verify_connectivity()


def test_one_answer_that_is_late_costs_no_other_connection(wire: Wire, reader: Reader) -> None:
    held = [reader.stream("UNWIND range(1, 100) AS n RETURN n", batch=10) for _ in range(2)]
    assert [next(rows)[0] for rows in held] == [1, 1]
    assert [len(list(rows)) for rows in held] == [99, 99]  # both connections wait in the pool now
    made = wire.connections
    wire.hang()
    ends_at_its_deadline(lambda: reader.within(SECONDS).rows("RETURN 1"))
    wire.go_on()
    assert reader.rows("RETURN 1")[0][0] == 1
    assert wire.connections == made


def test_all_statements_of_a_question_share_its_time(wire: Wire, reader: Reader) -> None:
    subject = Subject.record("customer:web:1")
    wire.delay = 0.2
    assert find_as_of(reader.within(30), subject, NOW).identity.record_count == 1
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        find_as_of(reader.within(SECONDS), subject, NOW)
    assert time.monotonic() - began < 2 * SECONDS


def test_a_write_to_an_engine_that_hangs_ends_at_its_deadline(wire: Wire, writer: Writer, reader: Reader) -> None:
    batch = Batch([make.customer("web:2", "email:1")])
    wire.hang()
    ends_at_its_deadline(lambda: ingest(writer, [batch], SECONDS))
    wire.go_on()
    ingest(writer, [batch], 30)  # it may have been committed; a repeat changes nothing
    assert whole(reader)


def test_a_write_that_never_wins_its_race_ends_at_its_deadline(engine: Engine, writer: Writer, reader: Reader) -> None:
    with contended(engine, writer) as loser:
        ends_at_its_deadline(lambda: ingest(loser, [Batch([make.customer("web:2", "email:1")])], SECONDS))
    assert whole(reader)


@contextmanager
def contended(engine: Engine, writer: Writer) -> Iterator[Writer]:
    """A writer that always finds another one in its way."""
    if engine.name == "neo4j":  # it waits for who has the component of ``web:1``
        with engine.driver.session(database=engine.endpoint.database) as session, session.begin_transaction() as tx:
            tx.run("MATCH (i:Identity) SET i.lock = 'another'").consume()
            yield writer
            tx.rollback()
    else:  # it waits for its turn
        with writer.turn(None):
            yield writer


def test_an_engine_that_hangs_does_not_hold_a_writer_lane(wire: Wire, writer: Writer, reader: Reader) -> None:
    with closing(WriterLanes(lambda batches, seconds: ingest(writer, batches, seconds))) as lanes:
        wire.hang()
        batch = Batch([make.customer("web:2", "email:1")])
        for _ in range(3):  # each has its turn, since the one before it has left
            ends_at_its_deadline(lambda: lanes.submit(batch, SECONDS).result())
        wire.go_on()
        (outcome,) = lanes.submit(batch, 30).result()
    assert find(reader, Subject.record("customer:web:2")).identity.id == outcome.identity
    assert whole(reader)


def whole(reader: Reader) -> bool:
    """Whether the graph is as it should be, whatever was committed."""
    return verify(reader) == [] and verify_log(reader).fault == ""
