"""The columns that segments and insight are computed from, as Arrow tables; wider than what models read.

Whoever reads the graph hands over tables of these schemas, of what was known before an instant. ``identity`` is whom a
row belongs to. Amounts are micros. A text is as it was given: it is case-folded where rules read it.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from onefold.ml.columns import INSTANT, REFUNDS

PROPERTIES: Final = pa.map_(pa.string(), pa.string())
"""Free properties by name; a number as JSON writes it, a date as ISO 8601, a list as JSON."""

PEOPLE: Final = pa.schema(
    [
        pa.field("identity", pa.string(), nullable=False),
        pa.field("created_at", INSTANT, nullable=False),
        pa.field("gender", pa.string()),
        pa.field("birth_date", pa.date32()),
        pa.field("language", pa.string()),
        pa.field("country", pa.string()),
        pa.field("region", pa.string()),
        pa.field("city", pa.string()),
        pa.field("company", pa.string()),
        pa.field("job_title", pa.string()),
        pa.field("loyalty_tier", pa.string()),
        pa.field("loyalty_points", pa.int64()),
        pa.field("member_since", pa.date32()),
        pa.field("reachable_by", pa.list_(pa.string()), nullable=False),
        pa.field("sources", pa.list_(pa.string()), nullable=False),
        pa.field("properties", PROPERTIES, nullable=False),
    ]
)
"""One row per current identity that is not anonymous. Traits and properties are those that a profile serves.
``reachable_by`` are the kinds of their identifiers that are not shared (``email``, ``phone``); ``sources`` are those of
their records, sorted."""

ORDERS: Final = pa.schema(
    [
        pa.field("identity", pa.string(), nullable=False),
        pa.field("record", pa.string(), nullable=False),
        pa.field("order", pa.string(), nullable=False),
        pa.field("placed_at", INSTANT, nullable=False),
        pa.field("utc_offset_minutes", pa.int32()),
        pa.field("currency", pa.string(), nullable=False),
        pa.field("total", pa.int64(), nullable=False),
        pa.field("refunds", REFUNDS, nullable=False),
        pa.field("lines", pa.int32(), nullable=False),
        pa.field("units", pa.int64(), nullable=False),
        pa.field("products", pa.int32(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("channel", pa.string(), nullable=False),
        pa.field("has_coupon", pa.bool_(), nullable=False),
        pa.field("payment_method", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
    ]
)
"""One row per order: :data:`onefold.ml.columns.ORDERS` and what models do not read. ``channel`` and
``payment_method`` may be empty."""

LINES: Final = pa.schema(
    [
        pa.field("identity", pa.string(), nullable=False),
        pa.field("order", pa.string(), nullable=False),
        pa.field("placed_at", INSTANT, nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("currency", pa.string(), nullable=False),
        pa.field("product", pa.string(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("category", pa.string(), nullable=False),
        pa.field("quantity", pa.int64(), nullable=False),
        pa.field("unit_price", pa.int64()),
    ]
)
"""One row per line of an order: :data:`onefold.ml.columns.LINES` with the order's ``currency`` and the price of a
piece."""

EVENTS: Final = pa.schema(
    [
        pa.field("identity", pa.string(), nullable=False),
        pa.field("record", pa.string(), nullable=False),
        pa.field("type", pa.string(), nullable=False),
        pa.field("at", INSTANT, nullable=False),
        pa.field("utc_offset_minutes", pa.int32()),
        pa.field("channel", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("properties", PROPERTIES, nullable=False),
    ]
)
"""One row per event: :data:`onefold.ml.columns.EVENTS` with its source and its free properties, as far as they were
asked for: ``category``, ``brand``, ``product``, ``price``, ``rating``, ``text``, ``session`` and so on."""

PREDICTIONS: Final = pa.schema(
    [
        pa.field("identity", pa.string(), nullable=False),
        pa.field("churn_probability", pa.float64()),
        pa.field("expected_orders", pa.float64()),
        pa.field("predicted_spend_micros", pa.int64()),
        pa.field("next_order_at", INSTANT),
        pa.field("identity_confidence", pa.float64()),
        pa.field("weakest_merge_share", pa.float64()),
    ]
)
"""One row per identity of which anything was predicted (``docs/scores.md``)."""
