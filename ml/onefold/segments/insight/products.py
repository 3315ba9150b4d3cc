"""What a segment buys: best sellers, categories, and what goes into one basket together (I5)."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Final

from onefold.segments.insight.buying import Part
from onefold.segments.insight.relations import Relations

SUPPORT: Final = 0.01
TOGETHER_AT_LEAST: Final = 5


@dataclass(frozen=True, slots=True)
class Product:
    """A product that the segment buys."""

    key: str
    name: str
    """The key, where no line names it."""
    orders: int
    buyers: int
    units: int
    revenue: float | None
    """In the main currency; None where no line has a price."""
    share: float
    """Of the segment's orders."""
    whole: float
    """Of everybody's orders."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two products that are bought together: of the orders with ``first``, ``confidence`` also have ``then``."""

    first: str
    then: str
    """Names of products."""
    together: int
    """Orders with both."""
    support: float
    """The share of all orders that have both."""
    confidence: float
    lift: float
    """How many times as often as by chance both are in one order."""


@dataclass(frozen=True, slots=True)
class Products:
    """What the segment buys, by orders with at least one line."""

    orders: int
    best_sellers: tuple[Product, ...]
    """By orders, the most first."""
    best_sellers_share: float | None
    """The share of the segment's revenue that these bring; None where prices are not known."""
    categories: tuple[Part, ...]
    """By orders, the most first. An order may be of several; lines without a category are of none."""
    pairs: tuple[Pair, ...]
    """What is bought together more often than by chance, by lift, the highest first; in at least ``least`` orders."""
    least: int


def products(relations: Relations, most: int) -> Products:
    """What the segment buys; ``most`` products, categories and pairs at most.

    Pairs are counted where at least 1 % of the orders, and five, have both: fewer are chance.
    """
    ((orders, everywhere, revenue),) = relations.rows(_TOTALS)
    if not orders:
        return Products(0, (), None, (), (), TOGETHER_AT_LEAST)
    least = max(TOGETHER_AT_LEAST, ceil(SUPPORT * orders))
    best = tuple(
        Product(key, name or key, n, buyers, units, earned, n / orders, of_all / everywhere)
        for key, name, n, of_all, buyers, units, earned in relations.rows(_BEST, most=most)
    )
    return Products(
        orders,
        best,
        sum(product.revenue or 0.0 for product in best) / revenue if revenue else None,
        tuple(Part(v, n, n / orders, of_all / everywhere) for v, n, of_all in relations.rows(_CATEGORIES, most=most)),
        tuple(
            Pair(
                first, then, together, together / orders, together / of_first, together * orders / (of_first * of_then)
            )
            for first, then, together, of_first, of_then in relations.rows(
                _PAIRS, least=least, orders=orders, most=most
            )
        ),
        least,
    )


_TOTALS: Final = """
    SELECT
        count(DISTINCT "order") FILTER (inside), count(DISTINCT "order"),
        sum(revenue) FILTER (inside) / 1e6
    FROM sold
"""

_BEST: Final = """
    SELECT
        product, max(name), count(DISTINCT "order") FILTER (inside) AS orders, count(DISTINCT "order"),
        count(DISTINCT identity) FILTER (inside), (sum(quantity) FILTER (inside))::BIGINT,
        sum(revenue) FILTER (inside) / 1e6
    FROM sold GROUP BY product HAVING orders > 0 ORDER BY orders DESC, product LIMIT $most
"""

_CATEGORIES: Final = """
    SELECT category, count(DISTINCT "order") FILTER (inside) AS orders, count(DISTINCT "order")
    FROM sold WHERE category <> '' GROUP BY category HAVING orders > 0 ORDER BY orders DESC, category LIMIT $most
"""

# What is seldom bought can't be often bought together: it is dropped before baskets are joined with themselves. Of two
# directions the one that says more is told: from the rarer product to the other.
_PAIRS: Final = """
    WITH baskets AS (SELECT DISTINCT "order", product FROM sold WHERE inside),
    often AS (SELECT product, count(*) AS orders FROM baskets GROUP BY product HAVING orders >= $least),
    kept AS (SELECT "order", product, orders FROM baskets JOIN often USING (product)),
    pairs AS (
        SELECT a.product AS rarer, b.product AS other, a.orders AS of_first, b.orders AS of_then, count(*) AS together
        FROM kept AS a JOIN kept AS b
            ON a."order" = b."order" AND (a.orders, a.product) < (b.orders, b.product)
        GROUP BY ALL HAVING together >= $least AND together * $orders > of_first * of_then
    ),
    names AS (SELECT product, coalesce(nullif(max(name), ''), product) AS name FROM sold GROUP BY product)
    SELECT a.name, b.name, together, of_first, of_then
    FROM pairs JOIN names AS a ON a.product = rarer JOIN names AS b ON b.product = other
    ORDER BY together / (of_first * of_then) DESC, together DESC, rarer, other LIMIT $most
"""
