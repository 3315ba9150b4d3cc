"""The feed of changes on a real engine: nothing is missed, nothing comes twice, whoever writes meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from onefold.graph.audit import Logged, read_log, replay
from onefold.graph.decide import DecisionKind
from onefold.graph.errors import InvalidInput, Unavailable
from onefold.graph.ingest import Batch, Outcome, Writer, ingest
from onefold.graph.model import Item, OperatorBan
from onefold.graph.reader import Reader
from onefold.graph.watch import MOVES_SHOWN, Stretch, end_of_log, read_on
from onefold.service.feed import IDENTITIES, Feed
from tests import items as make
from tests.conftest import Engine


@pytest.fixture
def writer(engine: Engine, endpoint: object) -> Writer:
    return make.writer(engine.endpoint, engine.driver)


@pytest.fixture
def reader(writer: Writer) -> Reader:
    return make.reader(writer)


@pytest.fixture
def feed(reader: Reader) -> Iterator[Feed]:
    feed = Feed(reader, IDENTITIES, heartbeat_seconds=0.3, lag_seconds=0.2)
    yield feed
    feed.close()


def put(writer: Writer, *items: Item) -> list[Outcome]:
    (answer,) = ingest(writer, [Batch(items)])
    assert isinstance(answer, list)
    return answer


def always() -> bool:
    return True


def until(stretches: Iterator[Stretch], sequence: int) -> list[Stretch]:
    """What is told until a place in the log is reached."""
    told = []
    for stretch in stretches:
        told.append(stretch)
        if stretch.sequence >= sequence:
            return told
    raise AssertionError("the feed ended")


def test_an_empty_log_has_nothing_to_tell(reader: Reader, feed: Feed) -> None:
    assert (end_of_log(reader), read_on(reader, 0)) == (0, Stretch((), 0))
    assert next(feed.watch(None, (), always)) == Stretch((), 0)


def test_who_watches_from_the_beginning_is_told_all_that_the_log_has(writer: Writer, feed: Feed) -> None:
    for batch in make.batches(list(make.stream(3, 80)), 3):
        put(writer, *batch)
    reader = make.reader(writer)
    told = [c for s in until(feed.watch(0, (), always), end_of_log(reader)) for c in s.changes]
    words = {DecisionKind.OPERATOR_MATCH, DecisionKind.OPERATOR_BAN, DecisionKind.BAN_EXPIRED}
    assert told == [logged for logged in read_log(reader) if logged.decision.kind not in words]


def test_who_watches_from_now_on_is_told_what_comes(writer: Writer, feed: Feed) -> None:
    put(writer, make.customer("web:1", "email:1"))
    stretches = feed.watch(None, (), always)
    assert next(stretches).changes == ()
    (later,) = put(writer, make.customer("web:2", "email:2"))
    feed.ring()
    (change,) = next(stretches).changes
    assert (change.decision.kind, change.decision.identities) == (DecisionKind.CREATED, (later.identity,))


def test_who_hears_nothing_is_told_where_to_go_on_all_the_same(writer: Writer, feed: Feed) -> None:
    put(writer, make.customer("web:1"), make.customer("web:2"))
    stretches = feed.watch(None, {DecisionKind.MERGED}, always)
    began = next(stretches).sequence
    put(writer, OperatorBan("customer:web:1", "customer:web:2", "ann", "no", make.NOW), make.customer("web:3"))
    assert next(stretches) == Stretch((), began + 2)


def test_a_place_beyond_the_end_is_refused_but_not_before_a_follower_may_have_caught_up(
    writer: Writer, feed: Feed
) -> None:
    put(writer, make.customer("web:1"))
    with pytest.raises(InvalidInput) as caught:
        next(feed.watch(2, (), always))
    assert [v.field for v in caught.value.violations] == ["after_sequence"]
    late = threading.Timer(0.05, put, (writer, make.customer("web:2")))
    late.start()
    patient = Feed(make.reader(writer), IDENTITIES, lag_seconds=10)
    assert next(patient.watch(2, (), always)).sequence == 2
    late.join()


def test_a_gap_that_is_only_the_writing_is_waited_for(writer: Writer, reader: Reader) -> None:
    for n in range(3):
        put(writer, make.customer(f"web:{n}"))
    change = "MATCH (d:Decision {sequence: $from}) SET d.sequence = $to"
    with writer.driver.session(database=writer.database) as session:
        session.run(change, {"from": 2, "to": 99}).consume()
        assert [c.sequence for c in read_on(reader, 0).changes] == [1]
        session.run(change, {"from": 99, "to": 2}).consume()
    assert [c.sequence for c in read_on(reader, 0).changes] == [1, 2, 3]


def test_a_message_has_as_many_changes_as_fit_and_at_least_one(writer: Writer, reader: Reader) -> None:
    for n in range(7):
        put(writer, make.order(f"till:{n}", *(f"email:{n}-{i}" for i in range(MOVES_SHOWN))))
    stretch = read_on(reader, 0)
    assert (len(stretch.changes), stretch.sequence, stretch.more) == (5, 5, True)
    rest = read_on(reader, stretch.sequence)
    assert ([c.sequence for c in rest.changes], rest.more) == ([6, 7], False)


def test_a_feed_that_is_closed_tells_its_watchers_to_go_on_elsewhere(feed: Feed) -> None:
    stretches = feed.watch(None, (), always)
    next(stretches)
    threading.Timer(0.05, feed.close).start()
    began = time.monotonic()
    with pytest.raises(Unavailable, match="go on after"):
        for _ in stretches:
            pass
    assert time.monotonic() - began < 5


def test_a_watcher_that_is_gone_is_let_go(feed: Feed) -> None:
    there = [True]
    stretches = feed.watch(None, (), lambda: there[0])
    next(stretches)
    there[0] = False
    assert list(stretches) == []


def test_watchers_that_lag_and_reconnect_see_each_change_once_and_in_order_while_many_write(
    writer: Writer, reader: Reader, feed: Feed
) -> None:
    items = [i for i in make.stream(5, 160) if not isinstance(i, OperatorBan)]
    over = threading.Event()

    def write(part: list[Item]) -> None:
        for batch in make.batches(part, len(part)):
            put(writer, *batch)
            feed.ring()

    def watch(patience: int, pause: float) -> list[tuple[int, Logged]]:
        """Follows the feed by streams of a few messages each, until all is written."""
        seen: list[tuple[int, Logged]] = []
        sequence = 0
        while not (over.is_set() and sequence >= end_of_log(reader)):
            for number, stretch in enumerate(feed.watch(sequence, (), always)):
                seen += [(c.sequence, c) for c in stretch.changes]
                sequence = stretch.sequence
                time.sleep(pause)
                if number == patience:
                    break
        return seen

    with ThreadPoolExecutor(6) as pool:
        watchers = [pool.submit(watch, *args) for args in ((1, 0.0), (3, 0.02))]
        list(pool.map(write, [items[n::4] for n in range(4)]))
        over.set()
        first, second = (watcher.result() for watcher in watchers)
    assert first == second
    sequences = [sequence for sequence, _ in first]
    assert sequences == sorted(set(sequences))
    members = "MATCH (c:Customer)-[:MEMBER_OF]->(i:Identity) RETURN 'customer:' + c.key, i.id"
    stored = {row[0]: row[1] for row in reader.rows(members)}
    told = replay(change for _, change in first)
    assert {name: told.get(name) for name in stored} == stored
