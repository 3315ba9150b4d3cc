"""What sources say, as columns: what their records know, which identifiers they give, and when they last said anything.

From these tables :mod:`onefold.segments.quality` tells how good the data are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Final

import pyarrow as pa

from onefold.graph.cypher import RECORD_LINK_TYPES
from onefold.graph.model import TRAITS, Instant, kind_of
from onefold.graph.reader import Reader

_INSTANT: Final = pa.timestamp("ms", "UTC")

RECORDS: Final = pa.schema(
    [
        pa.field("identity", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("observed_at", _INSTANT, nullable=False),
        *(pa.field(trait, pa.string()) for trait in TRAITS),
    ]
)
"""One row per customer record that its source has described: its traits as texts, null where the record does not know.
Records that others only spoke of are no rows."""

LINKS: Final = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("identifier", pa.string(), nullable=False),
        pa.field("first_seen", _INSTANT, nullable=False),
    ]
)
"""One row per link of a record to an identifier: who gave it, and when first."""

SAID: Final = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("what", pa.string(), nullable=False),
        pa.field("items", pa.int64(), nullable=False),
        pa.field("recent", pa.int64(), nullable=False),
        pa.field("newest", _INSTANT, nullable=False),
    ]
)
"""One row per source and ``what`` it sends: ``customer``, ``order`` or ``event``. How many there are, how many of them
since an instant, and when the newest was observed or, of an event, happened."""

_LINK_TYPES: Final = "|".join(sorted({type for types in RECORD_LINK_TYPES.values() for type in types.values()}))

_RECORDS: Final = f"""
MATCH (i:Identity)
CALL (i) {{
  MATCH (i)<-[:MEMBER_OF]-(r:Customer) WHERE r.observed_at IS NOT NULL
  RETURN collect([r.source, r.observed_at.epochMillis, {", ".join(f"r.{trait}" for trait in TRAITS)}]) AS rows
}}
WITH i, rows WHERE size(rows) > 0
RETURN i.id, rows
"""

_LINKS: Final = f"""
MATCH (i:Identity)
CALL (i) {{
  MATCH (i)<-[:MEMBER_OF]-(r)-[l:{_LINK_TYPES}]->(v)
  RETURN collect([l.source, v.key, l.first_seen.epochMillis]) AS rows
}}
WITH i, rows WHERE size(rows) > 0
RETURN rows
"""

_SAID: Final = """
CALL () {
  MATCH (n:Customer) WHERE n.observed_at IS NOT NULL AND n.deleted_at IS NULL
  RETURN n.source AS source, 'customer' AS what, count(*) AS items,
    sum(CASE WHEN n.observed_at.epochMillis >= $since THEN 1 ELSE 0 END) AS recent,
    max(n.observed_at.epochMillis) AS newest
  UNION ALL
  MATCH (n:Order) WHERE n.observed_at IS NOT NULL AND n.deleted_at IS NULL
  RETURN n.source AS source, 'order' AS what, count(*) AS items,
    sum(CASE WHEN n.observed_at.epochMillis >= $since THEN 1 ELSE 0 END) AS recent,
    max(n.observed_at.epochMillis) AS newest
  UNION ALL
  MATCH (n:Event)
  RETURN n.source AS source, 'event' AS what, count(*) AS items,
    sum(CASE WHEN n.at.epochMillis >= $since THEN 1 ELSE 0 END) AS recent,
    max(n.at.epochMillis) AS newest
}
RETURN source, what, items, recent, newest ORDER BY source, what
"""

_AT_ONCE: Final = 1_000
_ROWS_A_BATCH: Final = 1 << 16


def records(reader: Reader) -> pa.Table:
    """What records know, in the columns of :data:`RECORDS`; in no order.

    Raises DeadlineExceeded, and Unavailable when the engine can't be reached or goes away.
    """
    rows = (
        (identity, source, observed_at, *map(_text, traits))
        for identity, found in reader.stream(_RECORDS, batch=_AT_ONCE)
        for source, observed_at, *traits in found
    )
    return _table(rows, RECORDS)


def links(reader: Reader) -> pa.Table:
    """Which identifiers records have, in the columns of :data:`LINKS`; in no order. Raises as :func:`records` does."""
    rows = (
        (source, kind_of(identifier), identifier, first_seen)
        for (found,) in reader.stream(_LINKS, batch=_AT_ONCE)
        for source, identifier, first_seen in found
    )
    return _table(rows, LINKS)


def said(reader: Reader, since: Instant) -> pa.Table:
    """How much each source has said, in the columns of :data:`SAID`, by source and what it is; ``recent`` is from
    ``since`` on. Raises as :func:`records` does."""
    return _table((tuple(row) for row in reader.stream(_SAID, batch=_AT_ONCE, since=since)), SAID)


def _text(value: Any) -> str | None:
    """A trait as text: a day as ISO 8601."""
    return None if value is None else str(value)


def _table(rows: Iterator[Sequence[Any]], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_batches(_batches(rows, schema), schema)


def _batches(rows: Iterator[Sequence[Any]], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    while batch := list(islice(rows, _ROWS_A_BATCH)):
        columns = [pa.array(values, field.type) for values, field in zip(zip(*batch, strict=True), schema, strict=True)]
        yield pa.RecordBatch.from_arrays(columns, schema=schema)
