"""Orders, their lines and events of all identities, or of some, as columns: what models and notebooks compute from.

Whom a row belongs to is what the graph says now; what a row says is as of an instant, as far as the graph keeps
history: refunds do, an order's status does not. ``record`` is what ties a row to a person, so that rows can be
attributed by another partition: :func:`onefold.ml.columns.attributed`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import pyarrow as pa

from onefold.graph.model import Instant
from onefold.graph.reader import Reader
from onefold.graph.timeline import OWNERS, events_of, orders_of

INSTANT: Final = pa.timestamp("ms", "UTC")

ORDERS: Final = pa.schema(
    [
        pa.field("identity", pa.string(), nullable=False),
        pa.field("record", pa.string(), nullable=False),
        pa.field("order", pa.string(), nullable=False),
        pa.field("placed_at", INSTANT, nullable=False),
        pa.field("currency", pa.string(), nullable=False),
        pa.field("total", pa.int64(), nullable=False),
        pa.field("refunds", pa.list_(pa.struct([("at", INSTANT), ("amount", pa.int64())])), nullable=False),
        pa.field("lines", pa.int32(), nullable=False),
        pa.field("units", pa.int64(), nullable=False),
        pa.field("products", pa.int32(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("channel", pa.string(), nullable=False),
        pa.field("has_coupon", pa.bool_(), nullable=False),
    ]
)
"""One row per order; ``record`` is its customer's name or, of a guest order, its own; ``total`` and a refund's
``amount`` are micros of ``currency``, ``channel`` may be empty."""

EVENTS: Final = pa.schema(
    [
        pa.field("identity", pa.string(), nullable=False),
        pa.field("record", pa.string(), nullable=False),
        pa.field("type", pa.string(), nullable=False),
        pa.field("at", INSTANT, nullable=False),
        pa.field("channel", pa.string(), nullable=False),
    ]
)
"""One row per event; ``record`` is the name of its customer or the key of its device; ``channel`` may be empty."""

LINES: Final = pa.schema(
    [
        pa.field("identity", pa.string(), nullable=False),
        pa.field("order", pa.string(), nullable=False),
        pa.field("placed_at", INSTANT, nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("product", pa.string(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("category", pa.string(), nullable=False),
        pa.field("quantity", pa.int64(), nullable=False),
    ]
)
"""One row per line of an order; ``product`` is the product's key, ``name`` and ``category`` may be empty."""

_ORDERS: Final = f"""
{OWNERS}
{orders_of("true")}
CALL (placed) {{
  UNWIND placed AS p WITH p[0] AS o, coalesce('customer:' + p[1], 'order:' + p[0].key) AS record
  WHERE o.placed_at.epochMillis < $as_of
  CALL (o) {{
    MATCH (o)-[l:CONTAINS]->(p:Product)
    RETURN count(*) AS lines, sum(l.quantity) AS units, count(DISTINCT p) AS products
  }}
  RETURN collect([record, o.key, o.placed_at.epochMillis, o.currency, o.total_micros,
    COLLECT {{ MATCH (o)-[:REFUNDED]->(f:Refund) WHERE f.at.epochMillis < $as_of
      RETURN {{at: f.at.epochMillis, amount: f.amount_micros}} }},
    lines, units, products, o.status, coalesce(o.channel, ''), size(coalesce(o.coupons, [])) > 0]) AS rows
}}
WITH i, rows WHERE size(rows) > 0
RETURN i.id, rows
"""

_LINES: Final = f"""
{OWNERS}
{orders_of("true")}
CALL (placed) {{
  UNWIND placed AS p WITH p[0] AS o WHERE o.placed_at.epochMillis < $as_of
  MATCH (o)-[l:CONTAINS]->(p:Product)
  RETURN collect([o.key, o.placed_at.epochMillis, o.status, p.key, p.name, p.category, l.quantity]) AS rows
}}
WITH i, rows WHERE size(rows) > 0
RETURN i.id, rows
"""

_EVENTS: Final = f"""
{OWNERS}
CALL (customers, devices) {{
  {events_of("true")} WHERE e.at.epochMillis < $as_of
  RETURN collect([CASE WHEN n:Device THEN n.key ELSE 'customer:' + n.key END,
    e.type, e.at.epochMillis, coalesce(e.channel, '')]) AS rows
}}
WITH i, rows WHERE size(rows) > 0
RETURN i.id, rows
"""
"""A row per identity, not per event: the driver takes six times as long over rows as over lists in a row."""

_ALL: Final = "MATCH (i:Identity)"
_SOME: Final = "UNWIND $identities AS id MATCH (i:Identity {id: id})"

_IDENTITIES_AT_ONCE: Final = 1_000
_ROWS_A_BATCH: Final = 1 << 16


def orders(reader: Reader, as_of: Instant, identities: Sequence[str] | None = None) -> pa.Table:
    """The orders placed before ``as_of`` with the refunds given before it, in the columns of :data:`ORDERS`.

    All of them or, with ``identities``, those of the identities of these (current) ids.
    In no order. Raises DeadlineExceeded, and Unavailable when the engine can't be reached or goes away.
    """
    return _table(reader, _ORDERS, ORDERS, as_of, identities)


def lines(reader: Reader, as_of: Instant, identities: Sequence[str] | None = None) -> pa.Table:
    """The lines of the orders placed before ``as_of``, in the columns of :data:`LINES`.

    All of them or, with ``identities``, those of the identities of these (current) ids.
    In no order; an order without lines has none. Raises as :func:`orders` does.
    """
    return _table(reader, _LINES, LINES, as_of, identities)


def events(reader: Reader, as_of: Instant, identities: Sequence[str] | None = None) -> pa.Table:
    """The events before ``as_of``, those of people's devices with theirs, in the columns of :data:`EVENTS`.

    All of them or, with ``identities``, those of the identities of these (current) ids.
    In no order; those of shared devices are nobody's. Raises as :func:`orders` does.
    """
    return _table(reader, _EVENTS, EVENTS, as_of, identities)


def _table(
    reader: Reader,
    body: str,
    schema: pa.Schema,
    as_of: Instant,
    identities: Sequence[str] | None,
) -> pa.Table:
    if identities is None:
        found = reader.stream(_ALL + body, batch=_IDENTITIES_AT_ONCE, as_of=as_of)
    else:
        found = iter(reader.rows(_SOME + body, as_of=as_of, identities=list(identities)))
    return pa.Table.from_batches(_batches(found, schema), schema)


def _batches(found: Iterator[Sequence[Any]], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    columns: list[list[Any]] = [[] for _ in schema]
    for identity, rows in found:
        columns[0] += [identity] * len(rows)
        for column, values in zip(columns[1:], zip(*rows, strict=True), strict=True):
            column += values
        if len(columns[0]) >= _ROWS_A_BATCH:
            yield _batch(columns, schema)
            columns = [[] for _ in schema]
    yield _batch(columns, schema)


def _batch(columns: list[list[Any]], schema: pa.Schema) -> pa.RecordBatch:
    arrays = [pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
