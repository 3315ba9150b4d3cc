"""The customers of whom the benches predict: each buys at a pace of their own, and leaves one day."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from onefold.ml import columns
from onefold.v1 import identity_service_pb2, record_pb2

DAY = 86_400_000
START = 19_000 * DAY
END = START + 500 * DAY
"""When the shop opens, and the end of its books."""


@dataclass(frozen=True, slots=True)
class Purchases:
    """Orders as arrays, an entry each; those of one customer together, by time."""

    customer: NDArray[np.int64]
    placed: NDArray[np.int64]
    cents: NDArray[np.int64]
    lines: NDArray[np.int64]


def purchases(customers: int, orders: int, seed: int = 1) -> Purchases:
    """``orders`` of ``customers``, everybody's first among them: few buy often, most seldom."""
    rng = np.random.default_rng(seed)
    share = rng.gamma(0.8, 1.0, customers)
    often = np.ones(customers, np.int64) + rng.multinomial(orders - customers, share / share.sum())
    customer = np.repeat(np.arange(customers), often)
    begun = rng.integers(0, 400 * DAY, customers)
    stayed = (END - START - begun) * rng.beta(1.0, 1.0, customers)
    placed = START + begun[customer] + (stayed[customer] * rng.random(orders)).astype(np.int64)
    by_time = np.lexsort((placed, customer))
    cents = (np.exp(rng.normal(3.0, 0.7, customers))[customer] * rng.uniform(0.5, 1.5, orders) * 100).astype(np.int64)
    return Purchases(customer, placed[by_time], cents + 1, rng.integers(1, 5, orders))


def orders_table(made: Purchases) -> pa.Table:
    """The same in the columns that features are computed from, one order in ten partly refunded; customer by customer,
    as they come from a graph, and these in an order of chance."""
    count = len(made.customer)
    names = _names(made.customer)
    refunded = np.arange(count) % 10 == 0
    total = made.cents * 10_000
    refunds = pa.StructArray.from_arrays(
        [pa.array(made.placed[refunded] + 3 * DAY).cast(columns.INSTANT), pa.array(total[refunded] // 4)],
        fields=list(columns.REFUNDS.value_type),
    )
    of_each: dict[str, Any] = {
        "identity": names,
        "record": names,
        "order": _texts("order-", np.arange(count)),
        "placed_at": pa.array(made.placed).cast(columns.INSTANT),
        "currency": pa.array(["GBP"]).take(pa.array(np.zeros(count, np.int8))),
        "total": total,
        "refunds": pa.ListArray.from_arrays(np.cumsum([0, *refunded]).astype(np.int32), refunds),
        "lines": made.lines.astype(np.int32),
        "units": made.lines * 2,
        "products": made.lines.astype(np.int32),
        "status": pa.array(["paid"]).take(pa.array(np.zeros(count, np.int8))),
        "channel": pa.array(["web", "shop", "app"]).take(pa.array(made.customer % 3)),
        "has_coupon": pa.array(made.cents % 7 == 0),
    }
    return pa.table(of_each, schema=columns.ORDERS)


def events_table(made: Purchases) -> pa.Table:
    """A view of a product before every second order, in the columns that features are computed from."""
    customer, placed = made.customer[::2], made.placed[::2]
    names, same = _names(customer), pa.array(np.zeros(len(customer), np.int8))
    of_each = {
        "identity": names,
        "record": names,
        "type": pa.array(["product_view"]).take(same),
        "at": pa.array(placed - DAY // 4).cast(columns.INSTANT),
        "channel": pa.array(["web"]).take(same),
    }
    return pa.table(of_each, schema=columns.EVENTS)


def _names(customer: NDArray[np.int64]) -> pa.Array:
    """As long as an identity's id, and not in the order of the numbers."""
    return _texts("0199c7a2-0000-7000-8000-", customer * 7_919 % 1_000_003 + 100_000_000_000)


def _texts(prefix: str, numbers: NDArray[np.int64]) -> pa.Array:
    return pc.binary_join_element_wise(prefix, pc.cast(pa.array(numbers), pa.string()), "")


def messages(made: Purchases, batch: int) -> Iterator[identity_service_pb2.StreamRecordsRequest]:
    """The customers, every other one under two records that have an email in common, and their orders and events, for
    the stream."""
    items = list(_items(made))
    for start in range(0, len(items), batch):
        yield identity_service_pb2.StreamRecordsRequest(sequence=start, items=items[start : start + batch])


def key(customer: int, nth: int = 0) -> record_pb2.CustomerKey:
    """The record under which a customer places the ``nth`` of the orders."""
    return record_pb2.CustomerKey(source="web" if customer % 2 and nth % 2 else "shop", source_id=f"c-{customer}")


def _items(made: Purchases) -> Iterator[record_pb2.Item]:
    known = -1
    for nth, (customer, placed) in enumerate(zip(made.customer.tolist(), made.placed.tolist(), strict=True)):
        if customer != known:
            known = customer
            for record in range(1 + customer % 2):
                yield _customer(customer, record, placed)
        yield _order(customer, nth, placed, int(made.cents[nth]), int(made.lines[nth]))
        if nth % 2:
            yield _event(customer, nth, placed)


def _customer(customer: int, record: int, placed: int) -> record_pb2.Item:
    item = record_pb2.Item()
    item.customer.key.CopyFrom(key(customer, record))
    item.customer.observe_time.FromMilliseconds(placed)
    item.customer.identifiers.add(
        kind="email", value=f"c{customer}@example.org", assurance=record_pb2.ASSURANCE_VERIFIED
    )
    return item


def _order(customer: int, nth: int, placed: int, cents: int, lines: int) -> record_pb2.Item:
    item = record_pb2.Item()
    item.order.key.source, item.order.key.order_id = "shop", str(nth)
    item.order.customer.CopyFrom(key(customer, nth))
    item.order.place_time.FromMilliseconds(placed)
    item.order.status, item.order.currency_code, item.order.channel = record_pb2.ORDER_STATUS_PAID, "GBP", "web"
    for line in range(lines):
        part = item.order.lines.add(sku=f"sku-{(nth + line) % 500}", quantity=1)
        part.unit_price.currency_code, part.unit_price.units = "GBP", cents // 100 + 1
    return item


def _event(customer: int, nth: int, placed: int) -> record_pb2.Item:
    item = record_pb2.Item()
    item.event.source, item.event.event_id, item.event.type = "web", str(nth), "product_view"
    item.event.event_time.FromMilliseconds(placed - DAY // 4)
    item.event.customer.CopyFrom(key(customer, 0))
    return item
