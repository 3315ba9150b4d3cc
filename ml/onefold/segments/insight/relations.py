"""What insight is computed from, in one DuckDB database: who is in the segment, and what everybody did before an
instant, in local time."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import duckdb
import pyarrow as pa

from onefold.graph.errors import InvalidInput, Violation
from onefold.graph.model import Instant
from onefold.ml.catalogue import PURCHASES
from onefold.segments import columns
from onefold.segments.problems import did_you_mean

Rows = list[tuple[Any, ...]]

VISITS: Final = r"(^|[._])(visits?|views?|search(es)?|carts?|sessions?)([._]|$)"
"""Types of events in which a person looks around in the shop, as a regular expression."""


class Relations:
    """Tables and views in a database of their own. Each has a row's ``identity``, and whether it is ``inside`` the
    segment:

    * ``people``: the frame.
    * ``purchases``: orders that were not cancelled, not given back on their own day, and charged something, with
      ``placed`` (milliseconds), ``day`` (local), ``local`` (time), ``value`` (micros charged; null in another currency
      than the main one), ``currency``, ``coupon``, ``payment_method``, ``order``.
    * ``sold``: their lines, with ``product``, ``name``, ``category``, ``quantity``, and ``revenue`` (micros of the
      main currency, null where there was no price).
    * ``happened``: events, with ``type``, ``placed`` (milliseconds), ``local``, and their ``properties``.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, columns: Collection[str], currency: str) -> None:
        self._connection = connection
        self.columns = columns
        """Those of the frame."""
        self.currency = currency
        """The main currency: that of most purchases of everybody; empty where nobody has bought anything."""

    def rows(self, text: str, **parameters: object) -> Rows:
        """The rows of a query."""
        return self._connection.execute(text, parameters or None).fetchall()

    def table(self, text: str, **parameters: object) -> pa.Table:
        """The rows of a query as columns."""
        return self._connection.sql(text, params=parameters or None).to_arrow_table()


@contextmanager
def opened(
    members: Collection[str] | pa.Array | pa.ChunkedArray,
    frame: pa.Table,
    orders: pa.Table,
    lines: pa.Table,
    events: pa.Table,
    as_of: Instant,
    time_zone: str,
) -> Iterator[Relations]:
    """The relations, until the block ends.

    ``orders``, ``lines`` and ``events`` are in the columns of :mod:`onefold.segments.columns`; rows of whom the frame
    does not know, and those at or after ``as_of``, count for nothing. ``time_zone`` is where a row without an offset
    of its own happened. Raises InvalidInput, for an empty segment too.
    """
    tables: Mapping[str, pa.Table] = {
        "frame": frame,
        "orders": _reduced(orders, columns.ORDERS, "orders"),
        "lines": _reduced(lines, columns.LINES, "lines"),
        "events": _reduced(events, columns.EVENTS, "events"),
        "members": pa.table({"identity": _names(members)}),
        "cutoffs": pa.table({"as_of": pa.array([as_of], pa.int64())}),
    }
    with duckdb.connect() as connection:
        _require_zone(connection, time_zone)
        for name, table in tables.items():
            connection.register(name, table)
        connection.execute("SET VARIABLE as_of = $as_of", {"as_of": as_of})
        connection.execute("SET VARIABLE zone = $zone", {"zone": time_zone})
        connection.execute(_PEOPLE)
        _require_members(connection)
        found = connection.execute(_MAIN_CURRENCY).fetchone()
        currency = str(found[0]) if found else ""
        connection.execute(_PURCHASES, {"currency": currency})
        connection.execute(_SOLD, {"currency": currency})
        connection.execute(_HAPPENED)
        yield Relations(connection, frame.column_names, currency)


def _names(members: Collection[str] | pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    if isinstance(members, (pa.Array, pa.ChunkedArray)):
        return members
    return pa.array(list(members), pa.string())


def _reduced(table: pa.Table, schema: pa.Schema, name: str) -> pa.Table:
    missing = [f"{name}.{field.name}" for field in schema if field.name not in table.schema.names]
    if missing:
        raise InvalidInput([Violation(path, "must be there") for path in missing])
    return table.select(schema.names)


def _require_zone(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    known = {row[0] for row in connection.execute("SELECT name FROM pg_timezone_names()").fetchall()}
    if name not in known:
        rule = f"there is no time zone {name}, as Europe/London is one{did_you_mean(name, known)}"
        raise InvalidInput([Violation("time_zone", rule)])


def _require_members(connection: duckdb.DuckDBPyConnection) -> None:
    stray = connection.execute(_STRAY).fetchone()
    if stray and stray[0]:
        rule = f"must be in the frame; {stray[0]:,} are not, as {stray[1]}"
        raise InvalidInput([Violation("members", rule)])
    inside = connection.execute("SELECT count(*) FILTER (inside) FROM people").fetchone()
    if not inside or not inside[0]:
        raise InvalidInput([Violation("members", "there is nobody in the segment, so there is nothing to describe")])


_PEOPLE: Final = """
    CREATE TEMP VIEW people AS
    SELECT frame.*, frame.identity IN (SELECT identity FROM members) AS inside FROM frame
"""

_STRAY: Final = """
    SELECT count(*), min(identity) FROM members WHERE identity NOT IN (SELECT identity FROM frame)
"""


def _local(instant: str) -> str:
    """The local time of an instant: by the offset that its source gave, else in the zone."""
    return f"""CASE WHEN utc_offset_minutes IS NULL THEN timezone(getvariable('zone'), {instant})
        ELSE make_timestamp_ms(epoch_ms({instant}) + utc_offset_minutes * 60000) END"""


_MAIN_CURRENCY: Final = """
    SELECT currency
    FROM orders JOIN people USING (identity)
    WHERE epoch_ms(placed_at) < getvariable('as_of') AND status <> 'cancelled' AND total > 0
    GROUP BY currency
    ORDER BY count(*) DESC, currency
    LIMIT 1
"""

_PURCHASES: Final = f"""
    CREATE TEMP TABLE purchases AS
    WITH {PURCHASES},
    known AS (SELECT identity, inside FROM people)
    SELECT
        identity, inside, "order", placed, currency, has_coupon AS coupon, payment_method,
        {_local("placed_at")} AS local,
        local::DATE AS day,
        CASE WHEN home THEN total END AS value
    FROM purchases JOIN known USING (identity)
"""

_SOLD: Final = """
    CREATE TEMP TABLE sold AS
    SELECT
        identity, inside, "order", product, name, category, quantity,
        CASE WHEN lines.currency = $currency THEN quantity * unit_price END AS revenue
    FROM lines JOIN purchases USING (identity, "order")
"""

_HAPPENED: Final = f"""
    CREATE TEMP VIEW happened AS
    SELECT identity, inside, type, epoch_ms("at") AS placed, {_local('"at"')} AS local, properties
    FROM events JOIN (SELECT identity, inside FROM people) USING (identity)
    WHERE epoch_ms("at") < getvariable('as_of')
"""
