"""RFM: how recently, how often and for how much each person bought, and how that compares with everybody.

Purchases are those of :data:`onefold.ml.catalogue.PURCHASES`, counted one by one; two on a day are two. What the tiers
of a catalogue ask of a person is here; the tiers themselves are rules (``docs/groups.md``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from onefold.graph.model import Instant
from onefold.ml import columns, features
from onefold.ml.catalogue import PURCHASES
from onefold.ml.features import FloatArray
from onefold.ml.panel import DAY
from onefold.segments import ranks
from onefold.segments.query import query
from onefold.segments.ranks import Bands

RECENT_DAYS: Final = 30

SCHEMA: Final = pa.schema(
    [
        pa.field("identity", pa.string()),
        pa.field("purchases", pa.int64()),
        pa.field("purchases_30d", pa.int64()),
        pa.field("order_value_ratio", pa.float64()),
        pa.field("repeat_share", pa.float64()),
        pa.field("recency_score", pa.int64()),
        pa.field("frequency_score", pa.int64()),
        pa.field("monetary_score", pa.int64()),
    ]
)
"""What :func:`figures` gives.

``purchases`` counts them, ``purchases_30d`` those of the last 30 days. ``order_value_ratio`` is the mean charged per
purchase ÷ that of all purchases of the population, both in the main currency. ``repeat_share`` is (order days − 1) ÷
order days: what the repurchase rate, a figure of groups, is for one person. The scores are quintiles, 5 for the latest
purchase, the most purchases, and the most spent less refunds. Unknown is null.
"""


@dataclass(frozen=True, slots=True)
class Population:
    """What the figures of one person are held against."""

    currency: str
    """The main currency; amounts in others count as unknown."""
    order_value_mean: float | None
    """Charged per purchase, over all purchases and not over people; None without any."""
    ages: Bands
    """Quintiles of the days since the last purchase."""
    purchases: Bands
    spend: Bands


def population(orders: pa.Table, as_of: Instant) -> Population:
    """The population as of an instant, from orders that have the columns of :data:`onefold.ml.columns.ORDERS`.

    Raises :class:`onefold.graph.errors.InvalidInput` when the table has other columns.
    """
    currency = features.population(orders, as_of).currency
    bought = _bought(orders, as_of, currency)
    charged = query("SELECT sum(charged) / sum(purchases_home) / 1e6 AS mean FROM bought", {"bought": bought})
    return Population(
        currency=currency,
        order_value_mean=charged["mean"][0].as_py(),
        ages=ranks.bands(_column(bought, "age")),
        purchases=ranks.bands(_column(bought, "purchases")),
        spend=ranks.bands(_column(bought, "spend")),
    )


def figures(orders: pa.Table, as_of: Instant, against: Population) -> pa.Table:
    """The figures, by :data:`SCHEMA`, of everybody with a purchase before ``as_of``, in their order.

    A person's figures depend on nothing but their own orders and ``against``. Raises
    :class:`onefold.graph.errors.InvalidInput` when the table has other columns.
    """
    bought = _bought(orders, as_of, against.currency)
    mean = against.order_value_mean or np.nan
    arrays = {
        "identity": bought["identity"],
        "purchases": bought["purchases"],
        "purchases_30d": bought["purchases_30d"],
        "order_value_ratio": _known(_column(bought, "charged") / _column(bought, "purchases_home") / 1e6 / mean),
        "repeat_share": bought["repeat_share"],
        "recency_score": _known(6.0 - against.ages.of(_column(bought, "age"))),
        "frequency_score": _known(against.purchases.of(_column(bought, "purchases"))),
        "monetary_score": _known(against.spend.of(_column(bought, "spend"))),
    }
    return pa.table([arrays[field.name].cast(field.type) for field in SCHEMA], schema=SCHEMA)


# Sums of whole micros, so that nothing depends on the order of the rows.
_BOUGHT: Final = f"""
    WITH {PURCHASES}
    SELECT
        identity,
        ($as_of - max(placed)) / 86400000.0 AS age,
        count(*) AS purchases,
        count(*) FILTER (placed >= $as_of - {RECENT_DAYS * DAY}) AS purchases_30d,
        count(*) FILTER (home) AS purchases_home,
        sum(total) FILTER (home)::DOUBLE AS charged,
        sum(total - returned) FILTER (home)::DOUBLE AS spend,
        (count(DISTINCT day) - 1) / count(DISTINCT day) AS repeat_share
    FROM purchases
    GROUP BY identity
    ORDER BY identity
"""


def _bought(orders: pa.Table, as_of: Instant, currency: str) -> pa.Table:
    tables = {"orders": columns.check(orders, columns.ORDERS), "cutoffs": pa.table({"as_of": pa.array([as_of])})}
    return query(_BOUGHT, tables, {"as_of": as_of, "currency": currency})


def _column(bought: pa.Table, name: str) -> FloatArray:
    """A column as numbers, NaN where it is unknown."""
    return np.asarray(bought[name].cast(pa.float64()).to_numpy(), dtype=np.float64)


def _known(values: FloatArray) -> pa.Array:
    """Numbers as a column, null where they are unknown."""
    return pa.array(values, pa.float64(), from_pandas=True)
