"""When the next order is due, of those who come back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from onefold.ml import predict
from onefold.ml.features import FloatArray, matrix
from onefold.ml.model import PredictionModel
from onefold.ml.panel import KEYS

LEAST_ORDERS: Final = 2
"""With fewer order days there is no rhythm to speak of, and no answer."""


@dataclass(frozen=True, slots=True, eq=False)
class NextOrders:
    """Of some identities, by one model; a row per identity, in days from the cutoff of the features.

    All three are NaN for who has fewer than :data:`LEAST_ORDERS` order days.
    """

    identities: tuple[str, ...]
    within_days: int
    """What is said holds for who orders within so many days; the churn score says how likely that is."""
    earliest: FloatArray
    """One in ten orders sooner."""
    median: FloatArray
    latest: FloatArray
    """One in ten orders later."""


def next_order(model: PredictionModel, features: pa.Table) -> NextOrders:
    """When all rows of a table from :func:`onefold.ml.features.compute` order next, given that they do within the
    longest horizon of the model.

    Raises :class:`onefold.graph.errors.InvalidInput` when a feature of the model is missing or infinite.
    """
    values = matrix(features, model.keys)
    days = predict.next_order(model.parts, values, model.card.horizon_days)
    days[values[:, KEYS.index("orders")] < LEAST_ORDERS] = np.nan
    earliest, median, latest = days.T
    return NextOrders(tuple(features["identity"].to_pylist()), model.card.horizon_days, earliest, median, latest)
