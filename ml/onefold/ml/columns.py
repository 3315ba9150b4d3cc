"""The columns that this package reads: orders, their lines and events, one row each, as Arrow tables.

Whoever reads the graph hands over tables of these schemas; every figure in this package is computed from them
and from nothing else. ``identity`` is whom the row belongs to under the partition that is asked about; ``record`` is
who the row hangs on under any partition: a customer, a guest order, or the device of an event.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from onefold.graph.errors import InvalidInput, Violation

INSTANT: Final = pa.timestamp("ms", "UTC")

REFUNDS: Final = pa.list_(pa.struct([("at", INSTANT), ("amount", pa.int64())]))
"""Refunds keep their instants: what an order had been refunded differs from cutoff to cutoff."""

ORDERS: Final = pa.schema(
    [
        pa.field("identity", pa.string(), nullable=False),
        pa.field("record", pa.string(), nullable=False),
        pa.field("order", pa.string(), nullable=False),
        pa.field("placed_at", INSTANT, nullable=False),
        pa.field("currency", pa.string(), nullable=False),
        pa.field("total", pa.int64(), nullable=False),
        pa.field("refunds", REFUNDS, nullable=False),
        pa.field("lines", pa.int32(), nullable=False),
        pa.field("units", pa.int64(), nullable=False),
        pa.field("products", pa.int32(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("channel", pa.string(), nullable=False),
        pa.field("has_coupon", pa.bool_(), nullable=False),
    ]
)
"""One row per order.

``total`` and the refunds' ``amount`` are micros of ``currency`` (what was charged, before refunds);
``lines`` counts the order's lines, ``units`` the pieces on them, ``products`` the distinct products;
``status`` is one of :data:`onefold.graph.model.ORDER_STATUSES` as last known (the graph keeps no history of
it, so an order cancelled later is missing from the past as well); ``channel`` may be empty.
"""

EVENTS: Final = pa.schema(
    [
        pa.field("identity", pa.string(), nullable=False),
        pa.field("record", pa.string(), nullable=False),
        pa.field("type", pa.string(), nullable=False),
        pa.field("at", INSTANT, nullable=False),
        pa.field("channel", pa.string(), nullable=False),
    ]
)
"""One row per event; ``channel`` may be empty."""

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
"""One row per line of an order.

``status`` is the order's, as in :data:`ORDERS`; ``product`` is the product's key, ``source:sku``; ``name`` and
``category`` are the product's, and may be empty; ``quantity`` counts pieces.
"""


def attributed(rows: pa.Table, partition: pa.Table) -> pa.Table:
    """The same rows with the person of their ``record`` as their ``identity``; without those that are nobody's.

    ``rows`` are in the columns of :data:`ORDERS` or :data:`EVENTS`; ``partition`` has the columns ``record`` and
    ``person``.
    """
    names = partition["record"].combine_chunks()
    place = pc.index_in(rows["record"], value_set=names)
    known = pc.is_valid(place)
    persons = partition["person"].take(place.filter(known))
    column = rows.schema.get_field_index("identity")
    return rows.filter(known).set_column(column, rows.schema.field(column), persons)


def check(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table, reduced to the schema's columns in their order.

    Raises :class:`InvalidInput` naming every column that is missing, of another type, or empty somewhere though the
    schema does not let it.
    """
    violations = [v for field in schema if (v := _violation(table, field)) is not None]
    if violations:
        raise InvalidInput(violations)
    return table.select(schema.names)


def _violation(table: pa.Table, field: pa.Field) -> Violation | None:
    if table.schema.names.count(field.name) != 1:
        return Violation(field.name, "must be there exactly once")
    column = table.column(field.name)
    if column.type != field.type:
        return Violation(field.name, f"must be {field.type}, is {column.type}")
    if column.null_count and not field.nullable:
        return Violation(field.name, f"must be known in every row, is not in {column.null_count}")
    return None
