"""The features of everybody, against one plain DuckDB group-by over the same rows for each group-by that they take."""

from __future__ import annotations

import time
from collections.abc import Callable

import duckdb
import pyarrow as pa

from onefold.ml import features
from tests.bench import customers
from tests.bench.ingest import Ratio

CUSTOMERS = 100_000
ORDERS_EACH = 20
ROUNDS = 5
BAR = 1.5

GROUPS = ("orders by customer and day", "gaps between a customer's days", "days by customer", "events by customer")
"""What the one query of the features groups: three ``GROUP BY`` and a ``PARTITION BY``."""

PLAIN = """
SELECT identity, epoch_ms(placed_at) // 86400000 AS day, count(*), sum(total), min(placed_at), max(placed_at)
FROM orders GROUP BY identity, day
"""


def measure(people: int = CUSTOMERS) -> list[Ratio]:
    """The best of rounds in turn, all threads on both sides, from Arrow tables to an Arrow table."""
    made = customers.purchases(people, people * ORDERS_EACH)
    orders, events = customers.orders_table(made), customers.events_table(made)
    known = features.population(orders, customers.END)
    if known.customers != people:
        raise RuntimeError(f"{known.customers} of {people} customers have bought something")
    ours, plain = [], []
    for _ in range(ROUNDS):
        ours.append(_seconds(lambda: features.compute(orders, events, customers.END, known)))
        plain.append(_seconds(lambda: _grouped(orders)))
    reference = min(plain) * len(GROUPS)
    ratio = min(ours) / reference
    name = f"features of {people:,} customers with {len(orders):,} orders (s)"
    return [Ratio(name, min(ours), reference, ratio, f"≤ {BAR:g} × {len(GROUPS)} group-bys", ratio <= BAR)]


def _grouped(orders: pa.Table) -> pa.Table:
    with duckdb.connect() as connection:
        connection.register("orders", orders)
        return connection.sql(PLAIN).to_arrow_table()


def _seconds(call: Callable[[], pa.Table]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began
