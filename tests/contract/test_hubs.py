"""Hubs on each engine: a device that thousands use, an email that thousands of guest orders give, before and after they
are shared, and after they are so no longer."""

from __future__ import annotations

import pytest

from onefold.graph import store
from onefold.graph.evidence import Touched
from onefold.graph.ingest import Batch, Outcome, Writer, ingest
from onefold.graph.model import Item, Withdrawal
from onefold.graph.reader import Reader
from tests import items as make
from tests.conftest import Engine
from tests.memory import groups
from tests.stored import faults, memory_of

AT_ONCE = 500
LIMIT = 4
"""How many customers a device may have before it is shared."""


@pytest.fixture
def writer(engine: Engine, endpoint: object) -> Writer:
    return make.writer(engine.endpoint, engine.driver)


@pytest.fixture
def reader(writer: Writer) -> Reader:
    return make.reader(writer)


def put(writer: Writer, items: list[Item]) -> list[Outcome]:
    outcomes = []
    for first in range(0, len(items), AT_ONCE):
        (answer,) = ingest(writer, [Batch(items[first : first + AT_ONCE])])
        assert isinstance(answer, list)
        outcomes += answer
    return outcomes


def read_for(writer: Writer, item: Item) -> set[str]:
    """The records that are read to take in an item."""
    with writer.driver.session(database=writer.database) as session, session.begin_transaction() as tx:
        names = set(store.read(tx, Touched.by([item]), writer.policy, "a lock").records)
        tx.rollback()
        return names


def test_a_device_that_thousands_use_ties_nobody_until_few_are_left(
    writer: Writer, reader: Reader, proving: bool
) -> None:
    count = 100_000 if proving else 2_000
    few: list[Item] = [make.customer(f"web:{n}", "device:1") for n in range(LIMIT)]
    put(writer, few)
    assert len(groups(memory_of(reader))) == 1
    many: list[Item] = [make.customer(f"web:{n}", "device:1") for n in range(LIMIT, count)]
    put(writer, many)
    assert shared(reader, "device:1")
    assert identities(reader) == (count, count)

    one_more = make.customer("shop:1", "device:1", "email:1")
    assert read_for(writer, one_more) == set(), "nobody of the hub is read"
    back = [Withdrawal("web", f"customer:web:{n}", "device:1", make.NOW + 1) for n in range(LIMIT, count)]
    put(writer, [one_more, *back[1:]])
    assert shared(reader, "device:1")
    put(writer, back[:1])
    assert not shared(reader, "device:1")
    assert identities(reader) == (count + 1, count + 1 - LIMIT)
    assert faults(reader, [*few, *many, one_more, *back]) == []


def test_an_email_that_thousands_of_guest_orders_give_is_one_person_until_they_tell_apart(
    writer: Writer, reader: Reader, proving: bool
) -> None:
    count = 10_000 if proving else 500
    alike: list[Item] = [make.order(f"till:{n}", "email:1") for n in range(count)]
    put(writer, alike)
    assert not shared(reader, "email:1")
    assert identities(reader) == (count, 1)

    apart: list[Item] = [make.order(f"till:x{n}", "email:1", f"device:{n}") for n in range(3)]
    put(writer, apart)
    assert shared(reader, "email:1")
    assert identities(reader) == (count + 3, count + 3)
    one_more = make.order("till:y", "email:1")
    assert read_for(writer, one_more) == set(), "nobody of the hub is read"
    put(writer, [one_more])

    corrected = make.order("till:x2", "device:2", at=make.NOW + 1)
    put(writer, [corrected])
    assert not shared(reader, "email:1")
    assert identities(reader) == (count + 4, 2)
    assert faults(reader, [*alike, *apart, one_more, corrected]) == []


def identities(reader: Reader) -> tuple[int, int]:
    """How many records there are, and how many persons they are."""
    text = "MATCH (r)-[:MEMBER_OF]->(i:Identity) RETURN count(r), count(DISTINCT i)"
    ((records, persons),) = reader.rows(text)
    return records, persons


def shared(reader: Reader, identifier: str) -> bool:
    ((is_shared,),) = reader.rows("MATCH (v:Device|Email {key: $key}) RETURN v.shared", key=identifier)
    return bool(is_shared)
