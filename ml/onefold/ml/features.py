"""Features as of a cutoff: the catalogue computed over tables of orders and events.

One query serves a whole population and a single customer; what differs is only which rows are handed in.
Figures of the whole population that formulas refer to come in as :class:`Population`, measured once.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from hashlib import sha256
from typing import Final

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from onefold.graph.errors import InvalidInput, Violation
from onefold.graph.model import Instant
from onefold.ml import columns
from onefold.ml.catalogue import CATALOGUE, PURCHASES, RELATIONS, Feature, Source, of_source
from onefold.ml.prepared import Pool, Prepared, literal

FloatArray = npt.NDArray[np.float64]

SCHEMA: Final = pa.schema([pa.field("identity", pa.string()), *(pa.field(f.key, pa.float64()) for f in CATALOGUE)])
"""What :func:`compute` gives."""

FEW_ROWS: Final = 10_000
"""Up to here a query that is planned already, on one thread, is faster than planning one for all threads."""


@dataclass(frozen=True, slots=True)
class Population:
    """What all customers together were as of a cutoff."""

    customers: int
    """Identities with a purchase."""
    returning: int
    """Of those, the ones with a second order day."""
    order_days: int
    first_order: Instant | None
    """Midnight of the first order day; None where there is no purchase."""
    currency: str
    """The currency of most order days; empty where there is none."""
    mean_gap: float | None
    """Mean days between an identity's order days; None where nobody ordered twice."""


def population(orders: pa.Table, as_of: Instant) -> Population:
    """The population as of a cutoff, from :data:`onefold.ml.columns.ORDERS`.

    Raises :class:`onefold.graph.errors.InvalidInput` when the table has other columns.
    """
    tables = {"orders": columns.check(orders, columns.ORDERS), "cutoffs": _cutoffs([as_of])}
    currency = _query(_MAIN_CURRENCY, tables, {"as_of": as_of})["currency"].to_pylist()
    home = currency[0] if currency else ""
    (row,) = _query(_POPULATION, tables, {"currency": home}).to_pylist()
    return Population(currency=home, **row)


def compute(orders: pa.Table, events: pa.Table, as_of: Instant, against: Population) -> pa.Table:
    """The features, by :data:`SCHEMA`, of every identity with a purchase before the cutoff, in their order.

    Rows at or after ``as_of`` change nothing. Unknown is null. ``against`` is the population that relative
    features refer to; a model is scored against the population it was trained with. Raises
    :class:`onefold.graph.errors.InvalidInput` when a table has other columns.
    """
    (table,) = compute_at(orders, events, [as_of], against)
    return table


def compute_at(orders: pa.Table, events: pa.Table, cutoffs: Sequence[Instant], against: Population) -> list[pa.Table]:
    """What :func:`compute` gives at each of some distinct cutoffs, to the last bit; several at once take much less
    time than one by one."""
    tables = {
        "orders": columns.check(orders, columns.ORDERS),
        "events": columns.check(events, columns.EVENTS),
        "cutoffs": _cutoffs(cutoffs),
    }
    if orders.num_rows + events.num_rows <= FEW_ROWS:
        found = _planned(against.currency, against.mean_gap).run(tables)
    else:
        found = _query(_FEATURES, tables, {"currency": against.currency, "mean_gap": against.mean_gap})
    ends = np.searchsorted(found["place"].to_numpy(), np.arange(len(cutoffs) + 1))
    table = found.drop_columns(["place"]).cast(SCHEMA)
    return [table.slice(start, end - start) for start, end in itertools.pairwise(ends.tolist())]


def purchases(orders: pa.Table, as_of: Instant, currency: str) -> pa.Table:
    """The purchases before ``as_of``, as for the features, by identity and time.

    Columns: ``identity``, ``placed`` (milliseconds) and ``value``, what was charged less what was refunded before
    ``as_of``, in units of ``currency``; zero in another currency.
    """
    tables = {"orders": columns.check(orders, columns.ORDERS), "cutoffs": _cutoffs([as_of])}
    return _query(_PURCHASES, tables, {"currency": currency})


def fingerprint(orders: pa.Table, events: pa.Table, as_of: Instant) -> str:
    """A short text that two sets of rows share when they are the same before the cutoff, in any order."""
    tables = {
        "orders": columns.check(orders, columns.ORDERS),
        "events": columns.check(events, columns.EVENTS),
    }
    (row,) = _query(_FINGERPRINT, tables, {"as_of": as_of}).to_pylist()
    return sha256(repr(sorted(row.items())).encode()).hexdigest()[:16]


def matrix(features: pa.Table, keys: Sequence[str]) -> FloatArray:
    """The named columns as float64, one row per identity; unknown is NaN.

    Raises :class:`InvalidInput` naming every column that is missing or holds an infinite value.
    """
    there = set(features.schema.names)
    missing = [Violation(key, "is not among the features") for key in keys if key not in there]
    if missing:
        raise InvalidInput(missing)
    batches = features.select(keys).combine_chunks().to_batches()
    if not batches:
        return np.empty((0, len(keys)))
    values: FloatArray = batches[0].to_tensor(null_to_nan=True).to_numpy()
    if np.isinf(values).any():
        infinite = [key for key, bad in zip(keys, np.isinf(values).T, strict=True) if bad.any()]
        raise InvalidInput([Violation(key, "must be finite or unknown") for key in infinite])
    return values


def _selected(features: tuple[Feature, ...]) -> str:
    return ",\n".join(f"({feature.formula})::DOUBLE AS {feature.key}" for feature in features)


_MAIN_CURRENCY: Final = """
    SELECT currency
    FROM orders
    WHERE epoch_ms(placed_at) < $as_of AND status <> 'cancelled' AND total > 0
    GROUP BY currency
    ORDER BY count(*) DESC, currency
    LIMIT 1
"""

_PURCHASES: Final = f"""
    WITH {PURCHASES}
    SELECT identity, placed, CASE WHEN home THEN (total - returned) / 1e6 ELSE 0.0 END AS value
    FROM purchases
    ORDER BY identity, placed, value
"""

# A sum of row digests does not depend on the order of rows, and unlike an xor it counts repeated ones.
_FINGERPRINT: Final = """
    WITH digests AS (
        SELECT 'orders' AS name, md5_number_lower(concat_ws(chr(31),
            identity, "order", epoch_ms(placed_at), currency, total, lines, units, products, status, channel,
            has_coupon,
            list_sort([(epoch_ms(r."at"), r.amount) FOR r IN refunds IF epoch_ms(r."at") < $as_of])
        )) AS digest
        FROM orders
        WHERE epoch_ms(placed_at) < $as_of
        UNION ALL
        SELECT 'events', md5_number_lower(concat_ws(chr(31), identity, type, epoch_ms("at"), channel))
        FROM events
        WHERE epoch_ms("at") < $as_of
    )
    SELECT
        count(*) FILTER (name = 'orders') AS orders,
        count(*) FILTER (name = 'events') AS events,
        coalesce(sum(digest), 0)::VARCHAR AS digest
    FROM digests
"""

_POPULATION: Final = f"""
    SELECT
        count(DISTINCT identity) AS customers,
        count(DISTINCT identity) FILTER (gap IS NOT NULL) AS returning,
        count(*) AS order_days,
        min(day) * 86400000 AS first_order,
        avg(gap) AS mean_gap
    FROM ({RELATIONS[Source.ORDER_DAYS]})
"""

# An identity without events has zero of them, so the counts come from a row that the join never misses.
_FEATURES: Final = f"""
    WITH bought AS (
        SELECT identity, as_of, {_selected(of_source(Source.ORDER_DAYS))}
        FROM ({RELATIONS[Source.ORDER_DAYS]})
        GROUP BY identity, as_of
    ),
    happened AS (
        SELECT bought.identity, bought.as_of, {_selected(of_source(Source.EVENTS))}
        FROM bought LEFT JOIN ({RELATIONS[Source.EVENTS]}) AS events USING (identity, as_of)
        GROUP BY bought.identity, bought.as_of
    ),
    joined AS (SELECT * FROM bought JOIN happened USING (identity, as_of))
    SELECT identity, {", ".join(f.key for f in CATALOGUE if f.source is not Source.FEATURES)},
        {_selected(of_source(Source.FEATURES))},
        place
    FROM joined JOIN cutoffs USING (as_of)
    ORDER BY place, identity
"""


@lru_cache(maxsize=4)
def _planned(currency: str, mean_gap: float | None) -> Pool:
    """The feature query for one population. A service has one, that of the model in use."""
    text = _FEATURES.replace("$currency", literal(currency)).replace("$mean_gap", literal(mean_gap))
    schemas = {"orders": columns.ORDERS, "events": columns.EVENTS, "cutoffs": _CUTOFFS}
    return Pool(lambda: Prepared(text, schemas))


_CUTOFFS: Final = pa.schema([pa.field("place", pa.int64()), pa.field("as_of", pa.int64())])


def _cutoffs(instants: Sequence[Instant]) -> pa.Table:
    """The table that the relations of the catalogue are joined to."""
    return pa.table({"place": range(len(instants)), "as_of": instants}, schema=_CUTOFFS)


@cache
def _database() -> duckdb.DuckDBPyConnection:
    """One empty database in memory for the process: opening one costs more than most queries do."""
    return duckdb.connect()


def _query(text: str, tables: Mapping[str, pa.Table], parameters: Mapping[str, object]) -> pa.Table:
    with _database().cursor() as connection:
        for name, table in tables.items():
            connection.register(name, table)
        return connection.sql(text, params=dict(parameters)).to_arrow_table()
