"""The partition as it could be known at instants of the past, on a real engine."""

from __future__ import annotations

from collections import defaultdict

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from onefold.graph import columns
from onefold.graph.ingest import Batch, Writer, ingest
from onefold.graph.model import Item, OperatorBan, OperatorMatch, is_record
from onefold.graph.partitions import PARTITION, partitions
from onefold.graph.reader import Reader
from onefold.ml.columns import attributed
from tests import items as make
from tests.conftest import Engine
from tests.stored import memory_of

NOW = make.NOW
FUTURE = NOW + 1_000 * make.DAY


@pytest.fixture
def writer(engine: Engine, endpoint: object) -> Writer:
    return make.writer(engine.endpoint, engine.driver)


@pytest.fixture
def reader(writer: Writer) -> Reader:
    return make.reader(writer)


def put(writer: Writer, *items: Item) -> None:
    ingest(writer, [Batch(items)])


def persons(table: pa.Table) -> dict[str, str]:
    assert table.schema == PARTITION
    found = dict(zip(table["record"].to_pylist(), table["person"].to_pylist(), strict=True))
    assert len(found) == table.num_rows
    return found


def known(reader: Reader, *cutoffs: int) -> list[dict[str, str]]:
    return [persons(table) for _, table in partitions(reader, cutoffs)]


def test_a_merge_that_became_known_later_is_not_in_the_partition_of_before(writer: Writer, reader: Reader) -> None:
    put(writer, make.customer("web:1", "email:1", at=NOW), make.customer("shop:2", "phone:2", at=NOW))
    put(writer, make.customer("app:3", "email:1", "phone:2", at=NOW + 100))
    before, then, after = known(reader, NOW + 99, NOW + 100, NOW + 101)
    assert {before["customer:web:1"], before["customer:shop:2"]} == {"customer:web:1", "customer:shop:2"}
    assert set(then.values()) == set(after.values()) == {"customer:app:3"}


def test_what_counts_is_when_it_was_seen_not_when_it_was_imported(writer: Writer, reader: Reader) -> None:
    old = [make.order(f"till:{n}", "email:1", at=NOW, placed=NOW - n * make.DAY) for n in (9, 8, 3)]
    put(writer, *old)
    before, after = known(reader, NOW - 8 * make.DAY, NOW - 3 * make.DAY)
    assert before["order:till:9"] == before["order:till:8"] != before["order:till:3"]
    assert len(set(after.values())) == 1


def test_an_operators_word_is_known_from_when_it_was_said(writer: Writer, reader: Reader) -> None:
    put(writer, make.customer("web:1", "email:1"), make.customer("web:2", "email:2"), make.customer("web:3", "email:2"))
    put(
        writer,
        OperatorMatch("customer:web:1", "customer:web:2", "ann", "", NOW + 10),
        OperatorBan("customer:web:2", "customer:web:3", "ann", "", NOW + 20),
    )
    one, matched, banned = known(reader, NOW, NOW + 10, NOW + 20)
    assert one["customer:web:1"] != one["customer:web:2"] == one["customer:web:3"]
    assert len(set(matched.values())) == 1
    assert banned["customer:web:2"] == banned["customer:web:1"] != banned["customer:web:3"]


def test_a_device_is_its_persons_from_when_it_was_known_to_be(writer: Writer, reader: Reader) -> None:
    put(writer, make.event("web:e", on="device:1", at=NOW), make.event("web:f", on="device:2", at=NOW))
    put(writer, make.customer("web:1", "device:1", at=NOW + 100))
    put(writer, *(make.customer(f"app:{n}", "device:2", at=NOW + 200) for n in range(5)))
    before, after, shared = known(reader, NOW + 99, NOW + 100, NOW + 200)
    assert (before["device:1"], before["device:2"]) == ("device:1", "device:2")
    assert (after["device:1"], after["device:2"]) == ("customer:web:1", "device:2")
    assert "device:2" not in shared


def test_rows_are_attributed_to_the_persons_of_a_cutoff(writer: Writer, reader: Reader) -> None:
    put(
        writer,
        make.customer("web:1", "email:1"),
        make.customer("shop:2", "email:1", at=NOW + 100),
        make.order("web:9", of="web:1"),
        make.order("shop:8", of="shop:2"),
        make.event("web:e", on="device:1"),
        make.event("web:f", on="device:2"),
        *(make.customer(f"app:{n}", "device:2", at=NOW + 50) for n in range(5)),
    )
    orders, events = columns.orders(reader, NOW + 1), columns.events(reader, FUTURE)
    (_, before), (_, after) = partitions(reader, [NOW + 49, NOW + 100])
    whose = [dict(zip(t["order"].to_pylist(), t["identity"].to_pylist(), strict=True))
             for t in (attributed(orders, before), attributed(orders, after))]  # fmt: skip
    assert whose == [
        {"web:9": "customer:web:1", "shop:8": "customer:shop:2"},
        {"web:9": "customer:shop:2", "shop:8": "customer:shop:2"},
    ]
    assert attributed(orders, after).schema == orders.schema
    assert attributed(events, before)["identity"].to_pylist() == ["device:1"]
    nobodys = before.filter(pc.not_equal(before["record"], "device:1"))
    assert attributed(events, nobodys).num_rows == 0
    assert attributed(orders.slice(0, 0), before).num_rows == 0


@pytest.mark.parametrize("seed", range(4))
def test_as_of_now_it_is_the_stored_partition(writer: Writer, reader: Reader, seed: int) -> None:
    for batch in make.batches(list(make.stream(seed, 120)), seed):
        put(writer, *batch)
    (found,) = known(reader, FUTURE)
    stored = memory_of(reader)
    identity = {name: state.identity for name, state in (stored.records | stored.identifiers).items() if state.identity}
    assert {name for name in found if is_record(name)} == {name for name in identity if is_record(name)}
    of_events = set(columns.events(reader, FUTURE)["record"].to_pylist())
    assert of_events <= found.keys()
    together = defaultdict(set), defaultdict(set)
    for name, person in found.items():
        together[0][person].add(name)
        together[1][identity[name]].add(name)
    assert sorted(map(sorted, together[0].values())) == sorted(map(sorted, together[1].values()))
    orders = columns.orders(reader, FUTURE)
    assert set(orders["record"].to_pylist()) <= found.keys()
    assert all(identity[row["record"]] == row["identity"] for row in orders.to_pylist())


def test_an_empty_graph_has_nobody_at_any_time(reader: Reader) -> None:
    assert known(reader, NOW, FUTURE) == [{}, {}]
