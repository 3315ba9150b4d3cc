"""DuckDB queries over Arrow tables that are planned once and run often: over the rows of one customer, planning takes
many times as long as everything else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import duckdb
import pyarrow as pa


class Prepared:
    """One query, planned once, over tables that are others at each run. One thread at a time may use it."""

    def __init__(self, text: str, schemas: Mapping[str, pa.Schema]) -> None:
        """``text`` without parameters, over tables of these names."""
        self._slots = {name: _Slot(schema) for name, schema in schemas.items()}
        self._connection = _database().cursor()
        for name, slot in self._slots.items():
            self._connection.register(name, slot)
        self._connection.execute(f"PREPARE planned AS {text}")

    def run(self, tables: Mapping[str, pa.Table]) -> pa.Table:
        """What the query gives over these tables, which have the schemas that it was planned for."""
        for name, slot in self._slots.items():
            slot.table = tables[name]
        try:
            return self._connection.sql("EXECUTE planned").to_arrow_table()
        finally:
            for slot in self._slots.values():
                slot.clear()


class Pool:
    """As many of a prepared query as threads run it at once. All threads may use it."""

    def __init__(self, make: Callable[[], Prepared]) -> None:
        self._make = make
        self._idle: list[Prepared] = []

    def run(self, tables: Mapping[str, pa.Table]) -> pa.Table:
        """As :meth:`Prepared.run`."""
        try:
            query = self._idle.pop()
        except IndexError:
            query = self._make()
        found = query.run(tables)
        self._idle.append(query)  # one that failed is not used again
        return found


class _Slot:
    """Stands for a table in a plan: DuckDB asks it for its rows at each run, and a registered table only once."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self.clear()

    def clear(self) -> None:
        """Hold no rows."""
        self.table = self._schema.empty_table()

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self.table.__arrow_c_stream__(requested_schema)


@cache
def _database() -> duckdb.DuckDBPyConnection:
    """For the process. Over few rows, more threads than one only cost."""
    return duckdb.connect(config={"threads": 1})


def literal(value: float | str | None) -> str:
    """The value in SQL, to the last bit."""
    match value:
        case None:
            return "NULL"
        case str():
            return "'" + value.replace("'", "''") + "'"
        case _:
            return f"'{value!r}'::DOUBLE"
