"""What a churn model has to beat, trained on the same rows: the base rate, and recency–frequency–money."""

from __future__ import annotations

from typing import Final

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from onefold.ml.features import FloatArray
from onefold.ml.panel import Panel

RFM: Final = ("days_since_order", "orders", "spend")


def base_rate(train: Panel, test: Panel) -> FloatArray:
    """The same probability for every row of ``test``: the share that churned in ``train``."""
    return np.full(len(test.churned), train.churned.mean())


def rfm_logistic(train: Panel, test: Panel) -> FloatArray:
    """A logistic regression on the logarithms of recency, order days and spend, as most teams would write it:
    without row weights, which also makes it the stronger opponent."""
    model = make_pipeline(StandardScaler(), LogisticRegression())
    model.fit(_rfm(train), train.churned)
    return np.asarray(model.predict_proba(_rfm(test))[:, 1], dtype=np.float64)


def _rfm(panel: Panel) -> FloatArray:
    columns = [np.nan_to_num(panel.column(key), nan=0.0) for key in RFM]
    return np.log1p(np.maximum(np.column_stack(columns), 0.0))
