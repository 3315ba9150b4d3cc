"""Real order histories, as the tables that the package reads."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from onefold.ml import columns

RETAIL = Path(__file__).parents[3] / "shared" / "data" / "online_retail.csv.gz"
"""Where Online Retail is, if nobody says otherwise."""

# A line that was cancelled on its own day, in full, never was an order, unless what was billed is asked for.
_ONLINE_RETAIL = """
    WITH lines AS (
        SELECT *, InvoiceDate::DATE AS day
        FROM read_csv($path, types = {'InvoiceNo': 'VARCHAR', 'StockCode': 'VARCHAR', 'CustomerID': 'DOUBLE'})
        WHERE CustomerID IS NOT NULL
    )
    SELECT
        printf('%06d', CustomerID::BIGINT) AS identity,
        InvoiceNo AS "order",
        epoch_ms(min(InvoiceDate)) AS placed_at,
        round(sum(Quantity * UnitPrice) * 1e6)::BIGINT AS total,
        count(*) AS lines,
        sum(Quantity)::BIGINT AS units,
        count(DISTINCT StockCode) AS products
    FROM lines AS bought
    WHERE Quantity > 0 AND UnitPrice > 0 AND InvoiceNo NOT LIKE 'C%' AND ($as_billed OR NOT EXISTS (
        SELECT 1 FROM lines AS cancelled
        WHERE cancelled.InvoiceNo LIKE 'C%' AND cancelled.CustomerID = bought.CustomerID
            AND cancelled.StockCode = bought.StockCode AND cancelled.day = bought.day
            AND cancelled.Quantity = -bought.Quantity
    ))
    GROUP BY CustomerID, InvoiceNo
    ORDER BY identity, placed_at, "order"
"""


def online_retail(path: Path, as_billed: bool = False) -> pa.Table:
    """The UCI Machine Learning Repository's "Online Retail" (D. Chen, 2015), one order an invoice; ``as_billed`` with
    what was cancelled on the same day."""
    with duckdb.connect() as connection:
        parameters = {"path": str(path), "as_billed": as_billed}
        return _table(connection.sql(_ONLINE_RETAIL, params=parameters).to_arrow_table(), "GBP")


def cdnow() -> pa.Table:
    """The CDNOW master file (P. Fader and B. Hardie), from the wheel of ``lifetimes``, which need not be imported."""
    found = find_spec("lifetimes")
    if found is None or found.origin is None:
        raise SystemExit("CDNOW comes with lifetimes: pip install --no-deps lifetimes")
    rows = np.loadtxt(Path(found.origin).parent / "datasets" / "CDNOW_master.txt", skiprows=1)
    midnight = [
        int(datetime.strptime(f"{day:.0f}", "%Y%m%d").replace(tzinfo=UTC).timestamp() * 1000) for day in rows[:, 1]
    ]
    bought = pa.table(
        {
            "identity": [f"{number:06.0f}" for number in rows[:, 0]],
            "order": [f"{number:06d}" for number in range(len(rows))],
            "placed_at": midnight,
            # A disc that came for nothing was an order all the same.
            "total": np.maximum(np.round(rows[:, 3] * 1e6), 10_000).astype(np.int64),
            "lines": np.ones(len(rows), dtype=np.int64),
            "units": rows[:, 2].astype(np.int64),
            "products": np.ones(len(rows), dtype=np.int64),
        }
    )
    return _table(bought, "USD")


def _table(bought: pa.Table, currency: str) -> pa.Table:
    rows = bought.num_rows
    constant = {
        "currency": pa.array([currency] * rows),
        "refunds": pa.array([[]] * rows, columns.REFUNDS),
        "status": pa.array(["paid"] * rows),
        "channel": pa.array(["web"] * rows),
        "has_coupon": pa.array([False] * rows),
    }
    there = {name: bought[name] for name in bought.schema.names} | {"record": bought["identity"]}
    arrays = {**there, **constant}
    return pa.table([_cast(arrays[field.name], field.type) for field in columns.ORDERS], schema=columns.ORDERS)


def _cast(array: pa.Array, kind: pa.DataType) -> pa.Array:
    return array.cast(pa.int64()).cast(kind) if pa.types.is_timestamp(kind) else array.cast(kind)
