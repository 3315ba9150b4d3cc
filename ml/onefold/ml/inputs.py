"""What a model is given of each customer: the catalogue's features, what the buying process makes of them, and how far
ahead is asked.

The second step needs a fitted process (:mod:`onefold.ml.mbgnbd`), so it belongs to a model and not to the catalogue.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from onefold.ml.catalogue import BY_KEY, Feature
from onefold.ml.features import FloatArray
from onefold.ml.mbgnbd import History, MbgNbd
from onefold.ml.panel import KEYS

DAYS_A_WEEK: Final = 7.0


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure that a model adds to the catalogue's; fields as those of :class:`onefold.ml.catalogue.Feature`."""

    key: str
    meaning: str
    unit: str
    topic: str
    words: str
    otherwise: str = "not known yet"


FIGURES: Final = (
    Figure(
        "alive",
        "probability of being still a customer, by the buying process",
        "share",
        "recency",
        "last order {days_since_order} ago, which at this pace leaves {alive} for being still a customer",
    ),
    Figure(
        "no_purchase",
        "probability of no purchase within the horizon, by the buying process",
        "share",
        "recency",
        "by pace and silence alone, {no_purchase} for no order within {horizon}",
    ),
    Figure(
        "rate",
        "expected orders in 30 days while a customer, by the buying process",
        "orders",
        "frequency",
        "at the pace so far, {rate} in 30 days",
    ),
    Figure(
        "expected_orders",
        "expected orders within the horizon, by the buying process",
        "orders",
        "frequency",
        "at the pace so far, {expected_orders} within {horizon}",
    ),
    Figure("horizon", "how far ahead is asked", "days", "horizon", "asked for {horizon}"),
)
"""In the order of the columns after the catalogue's."""

ALL_KEYS: Final = (*KEYS, *(figure.key for figure in FIGURES))
"""The columns of :func:`inputs`."""

DESCRIBED: Final[dict[str, Feature | Figure]] = {figure.key: figure for figure in FIGURES}


def described(key: str) -> Feature | Figure:
    """What an input is, and how it is said."""
    return DESCRIBED[key] if key in DESCRIBED else BY_KEY[key]


def history(values: FloatArray) -> History:
    """What the buying process knows, from rows of features by :data:`onefold.ml.panel.KEYS`."""
    first, last = (values[:, KEYS.index(key)] for key in ("days_since_first_order", "days_since_order"))
    return History(
        repeats=values[:, KEYS.index("orders")] - 1.0,
        last=(first - last) / DAYS_A_WEEK,
        age=first / DAYS_A_WEEK,
    )


def inputs(process: MbgNbd, values: FloatArray, horizon: float | FloatArray) -> FloatArray:
    """The inputs, a column per :data:`ALL_KEYS`, of rows of features by :data:`onefold.ml.panel.KEYS` asked about
    ``horizon`` days, one for all or one per row."""
    known = history(values)
    days = np.broadcast_to(np.asarray(horizon, dtype=np.float64), len(values))
    figures = (
        process.alive(known),
        process.no_purchase(known, days / DAYS_A_WEEK),
        process.rate(known) * (30.0 / DAYS_A_WEEK),
        process.expected_purchases(known, days / DAYS_A_WEEK),
        days,
    )
    return np.column_stack([values, *figures])
