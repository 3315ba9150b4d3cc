"""Queries over Arrow tables, by DuckDB in this process."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import duckdb
import pyarrow as pa


def query(text: str, tables: Mapping[str, pa.Table], parameters: Mapping[str, object] | None = None) -> pa.Table:
    """What a query gives over these tables, each under its name."""
    with _database().cursor() as connection:
        for name, table in tables.items():
            connection.register(name, table)
        return connection.sql(text, params=dict(parameters or {})).to_arrow_table()


@cache
def _database() -> duckdb.DuckDBPyConnection:
    """One empty database in memory for the process: opening one costs more than most queries do."""
    return duckdb.connect()
