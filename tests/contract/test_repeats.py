"""What networks and clocks do, on each engine: items that come twice and late, answers that are lost, time that runs
backwards. The partition is the same, and so is the answer."""

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count

import pytest

from onefold.graph.audit import list_decisions
from onefold.graph.ingest import Answer, Batch, Writer, ingest
from onefold.graph.model import Item, OwnItem
from onefold.graph.reader import Reader
from tests import items as make
from tests.conftest import Engine
from tests.engines import driver_of
from tests.racing import commit
from tests.stored import faults


@pytest.fixture
def writer(engine: Engine, endpoint: object) -> Writer:
    return make.writer(engine.endpoint, engine.driver)


@pytest.fixture
def reader(writer: Writer) -> Reader:
    return make.reader(writer)


@pytest.mark.parametrize("seed", range(2))
def test_a_clock_that_runs_backwards_moves_nobody_and_no_place_in_the_log(
    writer: Writer, reader: Reader, seed: int
) -> None:
    tick = count(make.NOW, -make.DAY)
    backwards = replace(writer, clock=lambda: next(tick))
    *_, said = make.tell(make.upheavals(seed), random.Random(seed), lambda items: commit(backwards, items))
    assert faults(reader, said) == []
    newest_first = [logged.at for logged in list_decisions(reader, size=500).items]
    assert newest_first == sorted(newest_first, reverse=True)


@pytest.mark.parametrize("seed", range(2))
def test_what_comes_twice_and_in_another_order_is_there_once(writer: Writer, reader: Reader, seed: int) -> None:
    items = make.upheavals(seed)
    *_, said = make.tell([*items, *items, *items], random.Random(seed), lambda items: commit(writer, items))
    assert faults(reader, said) == []
    stored = "MATCH (n:Event) RETURN count(n), count(DISTINCT n.key)"
    ((events, distinct),) = reader.rows(stored)
    assert events == distinct


def test_who_lost_an_answer_gets_it_again_from_any_process_whatever_came_between(
    writer: Writer, reader: Reader, engine: Engine
) -> None:
    items = make.upheavals(3, 60)
    batches = [Batch(items[n : n + 6], f"request-{n}") for n in range(0, len(items), 6)]
    first = [ingest(writer, [batch]) for batch in batches]
    with driver_of(engine.endpoint) as driver:
        other = replace(writer, driver=driver)
        again = [ingest(other, [batch]) for batch in reversed(batches)]
    assert again[::-1] == first
    ((requests,),) = reader.rows("MATCH (q:Request) RETURN count(q)")
    assert requests == len(batches)


def test_one_request_that_comes_from_several_at_once_is_answered_alike_and_written_once(
    writer: Writer, reader: Reader
) -> None:
    items: Sequence[Item | OwnItem] = [make.customer("web:1", "email:1"), make.order("shop:1", "email:1")]

    def ask(_: int) -> list[Answer]:
        return ingest(writer, [Batch(items, "request")])

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(ask, range(4)))
    assert answers == [answers[0]] * 4
    assert faults(reader, items) == []
    ((decisions,),) = reader.rows("MATCH (d:Decision) RETURN count(d)")
    assert decisions == 1
