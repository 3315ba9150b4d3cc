"""How a segment buys: order value, orders per customer, repurchases, price bands, payment, coupons (I4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from onefold.ml.features import FloatArray
from onefold.segments.insight.intervals import Figure, ratio, share
from onefold.segments.insight.relations import Relations


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the orders. It has no interval: orders of one customer are not independent."""

    value: str
    orders: int
    share: float
    """Of the segment's orders."""
    whole: float
    """Of everybody's orders."""


@dataclass(frozen=True, slots=True)
class Buying:
    """What the segment's purchases come to. Amounts are of the main currency."""

    currency: str
    buyers: Figure
    """The share of the segment that has bought anything."""
    order_value: Figure
    """What an order charged on average, before refunds."""
    orders_per_buyer: Figure
    repurchase_rate: Figure
    """The share of buyers who bought on a second day."""
    coupon_share: Figure
    """The share of orders with a coupon."""
    revenue: float
    """What the segment's orders charged."""
    revenue_share: float | None
    """Of everybody's."""
    price_bands: tuple[Part, ...]
    """Of what orders charged, by bands that each hold a fifth of everybody's orders, the cheapest first."""
    payment_methods: tuple[Part, ...]
    """The most frequent first, with one named "" for orders that do not say."""

    @property
    def concentration(self) -> float | None:
        """The share of the segment's orders in their most frequent price band; a fifth is as everybody."""
        return max((band.share for band in self.price_bands), default=None)


def buying(relations: Relations, most: int, confidence: float) -> Buying:
    """How the segment buys; ``most`` payment methods at most."""
    customers = relations.table(_CUSTOMERS)
    inside = customers["inside"].to_numpy()
    column = {name: customers[name].to_numpy().astype(np.float64) for name in customers.column_names[1:]}
    ((members, people),) = relations.rows("SELECT count(*) FILTER (inside), count(*) FROM people")
    buyers = int(inside.sum())

    def per(parts: str, wholes: str) -> Figure:
        a, b = column[parts], column[wholes]
        return Figure(ratio(a[inside], b[inside], confidence), _over(a, b), int(b[inside].sum()))

    again = column["days"] >= 2
    value = column["value"]
    return Buying(
        currency=relations.currency,
        buyers=Figure(share(buyers, members, confidence), len(inside) / people, members),
        order_value=per("value", "valued"),
        orders_per_buyer=per("orders", "one"),
        repurchase_rate=Figure(
            share(int(again[inside].sum()), buyers, confidence), float(again.mean()) if len(again) else None, buyers
        ),
        coupon_share=per("coupons", "orders"),
        revenue=float(value[inside].sum()),
        revenue_share=float(value[inside].sum() / value.sum()) if value.any() else None,
        price_bands=_bands(relations),
        payment_methods=_parts(relations.rows(_PAYMENT))[:most],
    )


def _over(parts: FloatArray, wholes: FloatArray) -> float | None:
    return float(parts.sum() / wholes.sum()) if wholes.any() else None


# By identity, so that sums of floats are the same each time.
_CUSTOMERS: Final = """
    SELECT
        inside, 1 AS one, count(*) AS orders, count(DISTINCT day) AS days, count(*) FILTER (coupon) AS coupons,
        count(value) AS valued, coalesce(sum(value), 0) / 1e6 AS value
    FROM purchases
    GROUP BY identity, inside
    ORDER BY identity
"""

_PAYMENT: Final = """
    SELECT payment_method, count(*) FILTER (inside) AS here, count(*)
    FROM purchases GROUP BY payment_method ORDER BY here DESC, payment_method
"""

_EDGES: Final = "SELECT quantile_disc(value, [0.2, 0.4, 0.6, 0.8, 1.0]) FROM purchases"

_BANDED: Final = """
    SELECT len(list_filter($edges, lambda edge: edge < value)) AS band, count(*) FILTER (inside), count(*)
    FROM purchases WHERE value IS NOT NULL GROUP BY band ORDER BY band
"""


def _parts(rows: Sequence[tuple[str, int, int]]) -> tuple[Part, ...]:
    here, everywhere = sum(row[1] for row in rows), sum(row[2] for row in rows)
    return tuple(Part(value, n, n / here, of_all / everywhere) for value, n, of_all in rows if here)


def _bands(relations: Relations) -> tuple[Part, ...]:
    """Bands end where a fifth of everybody's orders does; where many orders charge the same, there are fewer."""
    ((edges,),) = relations.rows(_EDGES)
    if edges is None:
        return ()
    ends = sorted(set(edges))
    rows = relations.rows(_BANDED, edges=ends)
    return _parts([(_span(ends, band), *counts) for band, *counts in rows])


def _span(ends: Sequence[int], band: int) -> str:
    """``up to 9.99``, ``over 9.99 to 20``, and for the last ``over 20``."""
    if not band:
        return f"up to {_money(ends[0])}"
    most = "" if band == len(ends) - 1 else f" to {_money(ends[band])}"
    return f"over {_money(ends[band - 1])}{most}"


def _money(micros: int) -> str:
    return f"{micros / 1e6:,.2f}".removesuffix(".00")
