"""The online path on each engine: whatever comes in which order and in which batches, what is stored equals bulk
resolution of all that was said."""

import random
from collections.abc import Sequence

import pytest

from onefold.graph.ingest import Batch, Outcome, Writer, ingest
from onefold.graph.model import Deletion, Item, OperatorMatch, OwnItem
from onefold.graph.verify import verify
from tests import items as make
from tests.conftest import Engine
from tests.engines import empty
from tests.memory import groups
from tests.stored import faults, memory_of

ORDERS = 2
"""How many orders of arrival each world is told in."""


@pytest.fixture
def writer(engine: Engine, endpoint: object) -> Writer:
    return make.writer(engine.endpoint, engine.driver)


def put(writer: Writer, *items: Item | OwnItem) -> list[Outcome]:
    (answer,) = ingest(writer, [Batch(items)])
    assert isinstance(answer, list)
    return answer


def test_no_order_of_arrival_makes_a_difference_and_all_of_them_equal_bulk(
    writer: Writer, engine: Engine, proving: bool
) -> None:
    def commit(items: Sequence[Item | OwnItem]) -> list[bool | None]:
        return [None if outcome.violations else outcome.changed for outcome in put(writer, *items)]

    reader = make.reader(writer)
    for seed in range(120 if proving else 4):
        items = make.upheavals(1_000_000 + seed)
        told = set()
        for n in range(ORDERS):
            empty(engine.driver, engine.endpoint.database)
            said: list[Item | OwnItem] = []
            for said in make.tell(items, random.Random(f"{seed}/{n}"), commit):
                if len(said) % 5 == 0:
                    assert verify(reader) == [], (seed, n)
            assert faults(reader, said) == [], (seed, n)
            told.add(tuple(groups(memory_of(reader))))
        assert len(told) == 1, seed


def test_a_record_that_comes_back_is_one_again_with_the_one_that_an_operator_matched_it_with(writer: Writer) -> None:
    said: list[Item] = [
        make.customer("web:1"),
        make.customer("web:2"),
        OperatorMatch("customer:web:1", "customer:web:2", "ann", "same", make.NOW),
        Deletion("customer:web:2", make.NOW + 1),
        make.customer("web:2", at=make.NOW + 2),
    ]
    for item in said:
        put(writer, item)
    assert groups(memory_of(make.reader(writer))) == [("customer:web:1", "customer:web:2")]
    assert faults(make.reader(writer), said) == []


def test_a_link_that_holds_again_is_as_sure_as_it_was_before(writer: Writer) -> None:
    said: list[Item] = [
        make.customer("web:1", "device:1"),
        make.event("web:e1", of="web:1", on="device:1", at=make.NOW + 5),
        Deletion("customer:web:1", make.NOW + 2),
        make.customer("web:1", at=make.NOW + 6),
        make.customer("web:1", at=make.NOW + 7, full_name="New"),
    ]
    for item in said:
        put(writer, item)
    assert memory_of(make.reader(writer)).records["customer:web:1"].links, "the event tells of the device for good"
    assert faults(make.reader(writer), said) == []
