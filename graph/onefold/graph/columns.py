"""Orders, their lines and events of all identities, or of some, as columns: what models and notebooks compute from.

Whom a row belongs to is what the graph says now; what a row says is as of an instant, as far as the graph keeps
history: refunds do, an order's status does not. ``record`` is what ties a row to a person, so that rows can be
attributed by another partition: :func:`onefold.ml.columns.attributed`.

The wide tables are for segments and insight: the same rows with columns that models do not read.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import date
from typing import Any, Final

import pyarrow as pa

from onefold.graph.model import PROPERTY_PREFIX, Instant, PropertyValue
from onefold.graph.reader import Reader
from onefold.graph.timeline import OWNERS, events_of, orders_of, properties_of

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

PROPERTIES: Final = pa.map_(pa.string(), pa.string())
"""Free properties by name; a number as JSON writes it, a date as ISO 8601, a list as JSON."""

WIDE_ORDERS: Final = pa.schema(
    [
        *(ORDERS.field(name) for name in ("identity", "record", "order", "placed_at")),
        pa.field("utc_offset_minutes", pa.int32()),
        *(ORDERS.field(name) for name in ORDERS.names[4:]),
        pa.field("payment_method", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
    ]
)
"""As :data:`ORDERS`; ``utc_offset_minutes`` is what local time was ahead of UTC by where the order was placed,
``payment_method`` may be empty."""

WIDE_EVENTS: Final = pa.schema(
    [
        *(EVENTS.field(name) for name in ("identity", "record", "type", "at")),
        pa.field("utc_offset_minutes", pa.int32()),
        EVENTS.field("channel"),
        pa.field("source", pa.string(), nullable=False),
        pa.field("properties", PROPERTIES, nullable=False),
    ]
)
"""As :data:`EVENTS`, with the free properties that were asked for."""

WIDE_LINES: Final = pa.schema(
    [
        *(LINES.field(name) for name in ("identity", "order", "placed_at", "status")),
        pa.field("currency", pa.string(), nullable=False),
        *(LINES.field(name) for name in ("product", "name", "category", "quantity")),
        pa.field("unit_price", pa.int64()),
    ]
)
"""As :data:`LINES`; ``unit_price`` is micros of ``currency``."""

_OF_ORDER: Final = {
    "record": "record",
    "order": "o.key",
    "placed_at": "o.placed_at.epochMillis",
    "utc_offset_minutes": "o.utc_offset_minutes",
    "currency": "o.currency",
    "total": "o.total_micros",
    "refunds": """COLLECT { MATCH (o)-[:REFUNDED]->(f:Refund) WHERE f.at.epochMillis < $as_of
      RETURN {at: f.at.epochMillis, amount: f.amount_micros} }""",
    "lines": "lines",
    "units": "units",
    "products": "products",
    "status": "o.status",
    "channel": "coalesce(o.channel, '')",
    "has_coupon": "size(coalesce(o.coupons, [])) > 0",
    "payment_method": "coalesce(o.payment_method, '')",
    "source": "o.source",
}

_OF_LINE: Final = {
    "order": "o.key",
    "placed_at": "o.placed_at.epochMillis",
    "status": "o.status",
    "currency": "o.currency",
    "product": "p.key",
    "name": "p.name",
    "category": "p.category",
    "quantity": "l.quantity",
    "unit_price": "l.unit_price_micros",
}

_OF_EVENT: Final = {
    "record": "CASE WHEN n:Device THEN n.key ELSE 'customer:' + n.key END",
    "type": "e.type",
    "at": "e.at.epochMillis",
    "utc_offset_minutes": "e.utc_offset_minutes",
    "channel": "coalesce(e.channel, '')",
    "source": "e.source",
    "properties": "[k IN keys(e) WHERE k IN $properties | [k, e[k]]]",
}
"""What a column of the tables is in the graph."""


def _collected(schema: pa.Schema, said: Mapping[str, str]) -> str:
    """The Cypher that gathers an identity's rows; :func:`_table` has the identity from elsewhere."""
    return f"collect([{', '.join(said[name] for name in schema.names[1:])}])"


def _orders(schema: pa.Schema) -> str:
    return f"""
{OWNERS}
{orders_of("true")}
CALL (placed) {{
  UNWIND placed AS p WITH p[0] AS o, coalesce('customer:' + p[1], 'order:' + p[0].key) AS record
  WHERE o.placed_at.epochMillis < $as_of
  CALL (o) {{
    MATCH (o)-[l:CONTAINS]->(p:Product)
    RETURN count(*) AS lines, sum(l.quantity) AS units, count(DISTINCT p) AS products
  }}
  RETURN {_collected(schema, _OF_ORDER)} AS rows
}}
{_ROWS}"""


def _lines(schema: pa.Schema) -> str:
    return f"""
{OWNERS}
{orders_of("true")}
CALL (placed) {{
  UNWIND placed AS p WITH p[0] AS o WHERE o.placed_at.epochMillis < $as_of
  MATCH (o)-[l:CONTAINS]->(p:Product)
  RETURN {_collected(schema, _OF_LINE)} AS rows
}}
{_ROWS}"""


def _events(schema: pa.Schema) -> str:
    return f"""
{OWNERS}
CALL (customers, devices) {{
  {events_of("true")} WHERE e.at.epochMillis < $as_of
  RETURN {_collected(schema, _OF_EVENT)} AS rows
}}
{_ROWS}"""


_ROWS: Final = """
WITH i, rows WHERE size(rows) > 0
RETURN i.id, rows
"""
"""A row per identity, not per event: the driver takes six times as long over rows as over lists in a row."""

_ORDERS: Final = _orders(ORDERS)
_LINES: Final = _lines(LINES)
_EVENTS: Final = _events(EVENTS)
_WIDE_ORDERS: Final = _orders(WIDE_ORDERS)
_WIDE_LINES: Final = _lines(WIDE_LINES)
_WIDE_EVENTS: Final = _events(WIDE_EVENTS)

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


def wide_orders(reader: Reader, as_of: Instant, identities: Sequence[str] | None = None) -> pa.Table:
    """What :func:`orders` gives, in the columns of :data:`WIDE_ORDERS`."""
    return _table(reader, _WIDE_ORDERS, WIDE_ORDERS, as_of, identities)


def wide_lines(reader: Reader, as_of: Instant, identities: Sequence[str] | None = None) -> pa.Table:
    """What :func:`lines` gives, in the columns of :data:`WIDE_LINES`."""
    return _table(reader, _WIDE_LINES, WIDE_LINES, as_of, identities)


def wide_events(
    reader: Reader, as_of: Instant, identities: Sequence[str] | None = None, properties: Collection[str] = ()
) -> pa.Table:
    """What :func:`events` gives, in the columns of :data:`WIDE_EVENTS`, with the free properties of these names."""
    names = [f"{PROPERTY_PREFIX}{name}" for name in properties]
    return _table(reader, _WIDE_EVENTS, WIDE_EVENTS, as_of, identities, properties=names)


def as_text(value: PropertyValue) -> str:
    """A free property as a value of :data:`PROPERTIES`."""
    match value:
        case str():
            return value
        case date():
            return value.isoformat()
        case _:
            return json.dumps(value, ensure_ascii=False)


def _table(
    reader: Reader,
    body: str,
    schema: pa.Schema,
    as_of: Instant,
    identities: Sequence[str] | None,
    **parameters: Any,
) -> pa.Table:
    if identities is None:
        found = reader.stream(_ALL + body, batch=_IDENTITIES_AT_ONCE, as_of=as_of, **parameters)
    else:
        found = iter(reader.rows(_SOME + body, as_of=as_of, identities=list(identities), **parameters))
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
    arrays = [_array(values, field) for values, field in zip(columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _array(values: list[Any], field: pa.Field) -> pa.Array:
    if field.type == PROPERTIES:
        values = [[(k, as_text(v)) for k, v in properties_of(pairs).items()] for pairs in values]
    return pa.array(values, field.type)
