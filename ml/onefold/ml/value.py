"""Customer lifetime value: what was spent, and what is to be expected within a horizon."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from onefold.ml import predict
from onefold.ml.features import FloatArray, matrix
from onefold.ml.model import PredictionModel
from onefold.ml.panel import KEYS


@dataclass(frozen=True, slots=True, eq=False)
class Values:
    """Of some identities, by one model; arrays hold a row per identity, amounts are in ``currency``."""

    identities: tuple[str, ...]
    horizon_days: int
    historic: FloatArray
    """Charged less refunded so far; 0 where nothing was bought in the currency."""
    predicted: FloatArray
    """The mean of what customers like this spend within the horizon: add these up for what all will spend."""
    typical: FloatArray
    """The median of the same: half of the customers like this spend less, often nothing."""
    expected_orders: FloatArray
    """Order days within the horizon."""
    currency: str

    @property
    def total(self) -> FloatArray:
        """Historic and predicted together."""
        return self.historic + self.predicted


def value(model: PredictionModel, features: pa.Table, horizon_days: int | None = None) -> Values:
    """The values of all rows of a table from :func:`onefold.ml.features.compute`, at any horizon from one day to the
    longest that the model learned, which is also the default.

    Raises :class:`onefold.graph.errors.InvalidInput` when a feature of the model is missing or infinite, or for a
    horizon out of range.
    """
    asked = model.card.horizon_days if horizon_days is None else horizon_days
    values = matrix(features, model.keys)
    orders, spend = expected(model, features, asked)
    return Values(
        identities=tuple(features["identity"].to_pylist()),
        horizon_days=asked,
        historic=np.nan_to_num(values[:, KEYS.index("spend")]),
        predicted=spend,
        typical=predict.typical_spend(model.parts, values, model.card.horizons, asked),
        expected_orders=orders,
        currency=model.card.population.currency,
    )


def expected(model: PredictionModel, features: pa.Table, horizon_days: int) -> tuple[FloatArray, FloatArray]:
    """The means alone, in two thirds of the time: order days within the horizon, and what is spent on them. Raises as
    :func:`value`."""
    values = matrix(features, model.keys)
    spend = predict.spend(model.parts, values, model.card.horizons, horizon_days)
    return predict.orders(model.parts, values, horizon_days), spend
