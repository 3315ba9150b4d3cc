"""Queries over Arrow tables, by DuckDB in this process."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import duckdb
import pyarrow as pa

from onefold.ml.columns import INSTANT


def query(text: str, tables: Mapping[str, pa.Table], parameters: Mapping[str, object] | None = None) -> pa.Table:
    """What a query gives over these tables, each under its name; instants are of the type that tables have."""
    with _database().cursor() as connection:
        for name, table in tables.items():
            connection.register(name, table)
        return in_ms(connection.sql(text, params=dict(parameters or {})).to_arrow_table())


def in_ms(table: pa.Table) -> pa.Table:
    """A table that DuckDB gave, with instants in milliseconds as everywhere: it counts in microseconds."""
    zoned = [pa.types.is_timestamp(field.type) and field.type.tz is not None for field in table.schema]
    if not any(zoned):
        return table
    fields = [
        field.with_type(INSTANT) if is_zoned else field for field, is_zoned in zip(table.schema, zoned, strict=True)
    ]
    return table.cast(pa.schema(fields))


@cache
def _database() -> duckdb.DuckDBPyConnection:
    """One empty database in memory for the process: opening one costs more than most queries do."""
    return duckdb.connect()
