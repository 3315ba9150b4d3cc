"""Columns on a real engine: what models read is what was sent, as of an instant, whose it is now."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from onefold.graph import columns
from onefold.graph.identity import find
from onefold.graph.ingest import Batch, Writer, ingest
from onefold.graph.model import Item, Order, OrderLine, Refund
from onefold.graph.reader import Reader
from onefold.graph.subject import Subject
from onefold.ml import columns as expected
from onefold.segments import columns as expected_wide
from tests import items as make
from tests.conftest import Engine

NOW = make.NOW


@pytest.fixture
def writer(engine: Engine, endpoint: object) -> Writer:
    return make.writer(engine.endpoint, engine.driver)


@pytest.fixture
def reader(writer: Writer) -> Reader:
    return make.reader(writer)


def put(writer: Writer, *items: Item) -> None:
    ingest(writer, [Batch(items)])


def whole_order() -> Order:
    lines = (OrderLine("a", 2, 5), OrderLine("b", 1, 5), OrderLine("a", 3, 5))
    refunds = (Refund("r1", NOW + 10, 7), Refund("r2", NOW + 20, 8))
    placed = make.order("shop:1", of="web:1", at=NOW, total=30)
    return replace(placed, lines=lines, refunds=refunds, channel="app", coupons=("X",), status="shipped")


def test_the_tables_are_what_models_expect(writer: Writer, reader: Reader) -> None:
    assert columns.ORDERS == expected.ORDERS
    assert columns.EVENTS == expected.EVENTS
    assert columns.LINES == expected.LINES
    put(writer, *make.stream(3, 40))
    for read, schema in (
        (columns.orders, expected.ORDERS),
        (columns.events, expected.EVENTS),
        (columns.lines, expected.LINES),
    ):
        table = read(reader, NOW + 1)
        assert table.num_rows > 0
        assert expected.check(table, schema) == table
        assert expected.check(read(reader, -(1 << 60)), schema).num_rows == 0


def test_the_wide_tables_are_what_segments_expect_and_the_same_rows(writer: Writer, reader: Reader) -> None:
    put(writer, *make.stream(3, 40))
    for wide, narrow, schema in (
        (columns.wide_orders, columns.orders, expected_wide.ORDERS),
        (columns.wide_events, columns.events, expected_wide.EVENTS),
        (columns.wide_lines, columns.lines, expected_wide.LINES),
    ):
        table, plain = wide(reader, NOW + 1), narrow(reader, NOW + 1)
        assert table.num_rows > 0
        assert table.schema == schema
        rows = table.select(plain.schema.names).to_pylist()
        assert sorted(rows, key=repr) == sorted(plain.to_pylist(), key=repr)
        some = sorted(set(table.column("identity").to_pylist()))[::2]
        wanted = [row for row in table.to_pylist() if row["identity"] in some]
        assert sorted(wide(reader, NOW + 1, some).to_pylist(), key=repr) == sorted(wanted, key=repr)


def test_a_wide_row_has_what_models_do_not_read(writer: Writer, reader: Reader) -> None:
    placed = replace(whole_order(), payment_method="card", utc_offset_minutes=-330)
    seen = replace(
        make.event("web:e", of="web:1", at=NOW),
        utc_offset_minutes=60,
        properties={"rating": 4, "category": "Yoga", "tags": ("a", "b"), "day": date(2026, 1, 2), "aside": "x"},
    )
    put(writer, make.customer("web:1"), placed, seen, replace(seen, event_id="bare", properties={}))
    (order,) = columns.wide_orders(reader, NOW + 1).to_pylist()
    assert (order["payment_method"], order["utc_offset_minutes"], order["source"]) == ("card", -330, "shop")
    lines = columns.wide_lines(reader, NOW + 1).to_pylist()
    assert [(line["currency"], line["unit_price"]) for line in lines] == [("GBP", 5)] * 3
    asked = ("category", "rating", "tags", "day", "brand")
    events = columns.wide_events(reader, NOW + 1, properties=asked).to_pylist()
    assert {(event["utc_offset_minutes"], event["source"]) for event in events} == {(60, "web")}
    said = [("category", "Yoga"), ("day", "2026-01-02"), ("rating", "4"), ("tags", '["a", "b"]')]
    assert sorted(event["properties"] for event in events) == [[], said]
    assert {str(event["properties"]) for event in columns.wide_events(reader, NOW + 1).to_pylist()} == {"[]"}


def test_an_order_is_a_row_with_its_lines_summed_up(writer: Writer, reader: Reader) -> None:
    put(writer, make.customer("web:1", "email:1"), whole_order(), replace(make.order("till:2", "email:1"), lines=()))
    identity = find(reader, Subject.record("customer:web:1")).identity.id
    rows = {row["order"]: row for row in columns.orders(reader, NOW + 15).to_pylist()}
    assert {row["identity"] for row in rows.values()} == {identity}
    whole = rows["shop:1"]
    assert [(r["at"].timestamp() * 1000, r["amount"]) for r in whole.pop("refunds")] == [(NOW + 10, 7)]
    assert whole.pop("placed_at").timestamp() * 1000 == NOW
    assert whole == {
        "identity": identity, "record": "customer:web:1", "order": "shop:1", "currency": "GBP", "total": 30, "lines": 3,
        "units": 6, "products": 2, "status": "shipped", "channel": "app", "has_coupon": True,
    }  # fmt: skip
    guest = rows["till:2"]
    assert guest["record"] == "order:till:2"
    assert (guest["lines"], guest["units"], guest["refunds"], guest["has_coupon"], guest["channel"]) == (
        0,
        0,
        [],
        False,
        "",
    )


def test_each_line_of_an_order_is_a_row_with_its_product(writer: Writer, reader: Reader) -> None:
    lines = (OrderLine("a", 2, 5, "A mug", "kitchen"), OrderLine("b", 1, 5), OrderLine("a", 3, 4))
    gone = replace(make.order("shop:2", of="web:1", at=NOW - 1), lines=lines[1:2], status="cancelled")
    empty = replace(make.order("till:3", "email:1"), lines=())
    put(writer, make.customer("web:1", "email:1"), replace(whole_order(), lines=lines), gone, empty)
    identity = find(reader, Subject.record("customer:web:1")).identity.id
    rows = columns.lines(reader, NOW + 1).to_pylist()
    assert {row.pop("identity") for row in rows} == {identity}
    assert sorted((row["placed_at"].timestamp() * 1000, *list(row.values())[2:], row["order"]) for row in rows) == [
        (NOW - 1, "cancelled", "shop:b", "", "", 1, "shop:2"),
        (NOW, "shipped", "shop:a", "A mug", "kitchen", 2, "shop:1"),
        (NOW, "shipped", "shop:a", "A mug", "kitchen", 3, "shop:1"),
        (NOW, "shipped", "shop:b", "", "", 1, "shop:1"),
    ]


def test_nothing_of_the_instant_or_after_it_is_read(writer: Writer, reader: Reader) -> None:
    put(writer, make.customer("web:1"), whole_order(), make.event("web:e", of="web:1", at=NOW))
    assert columns.orders(reader, NOW).num_rows == 0
    assert columns.events(reader, NOW).num_rows == 0
    assert columns.lines(reader, NOW).num_rows == 0
    assert columns.lines(reader, NOW + 1).num_rows == 3
    assert columns.orders(reader, NOW + 1).to_pylist()[0]["refunds"] == []
    assert len(columns.orders(reader, NOW + 20).to_pylist()[0]["refunds"]) == 1
    assert len(columns.orders(reader, NOW + 21).to_pylist()[0]["refunds"]) == 2


def test_events_of_a_device_are_its_persons_and_those_of_a_shared_one_nobodys(writer: Writer, reader: Reader) -> None:
    put(
        writer,
        make.customer("web:1", "device:1"),
        make.event("a:1", on="device:1", type="mine"),
        make.event("a:2", on="device:2", type="anonymous"),
        *(make.customer(f"app:{i}", "device:3") for i in range(5)),
        make.event("a:3", on="device:3", type="nobodys"),
        make.event("a:4", of="app:1", type="theirs"),
    )
    rows = columns.events(reader, NOW + 1).to_pylist()
    owners = {row["type"]: row["identity"] for row in rows}
    assert owners == {
        "mine": find(reader, Subject.record("customer:web:1")).identity.id,
        "anonymous": find(reader, Subject.identifier("device:2")).identity.id,
        "theirs": find(reader, Subject.record("customer:app:1")).identity.id,
    }
    hung = {row["type"]: row["record"] for row in rows}
    assert hung == {"mine": "device:1", "anonymous": "device:2", "theirs": "customer:app:1"}


def test_some_identities_are_read_as_all_are(writer: Writer, reader: Reader) -> None:
    put(writer, *make.stream(4, 60))
    for read in (columns.orders, columns.events, columns.lines):
        everything = read(reader, NOW + 1).to_pylist()
        identities = sorted({row["identity"] for row in everything})[::2]
        some = read(reader, NOW + 1, [*identities, "0198a000-0000-7000-8000-000000000000"]).to_pylist()
        assert sorted(some, key=repr) == sorted((r for r in everything if r["identity"] in identities), key=repr)
        assert read(reader, NOW + 1, []).num_rows == 0
