"""What a model has to beat, trained on the same rows: what most teams would write first."""

from __future__ import annotations

from typing import Final

import numpy as np
from sklearn.linear_model import LogisticRegression, TweedieRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from onefold.ml.features import FloatArray
from onefold.ml.inputs import DAYS_A_WEEK, history
from onefold.ml.linear import TWEEDIE_POWER
from onefold.ml.mbgnbd import MbgNbd
from onefold.ml.panel import Panel

RFM: Final = ("days_since_order", "orders", "spend")


def churn(train: Panel, test: Panel, process: MbgNbd) -> dict[str, FloatArray]:
    """The probability to churn of each row of ``test``, by baseline; both panels are of one and the same horizon."""
    return {
        "base_rate": base_rate(train, test),
        "rfm_logistic": rfm_logistic(train, test),
        "mbg_nbd": process.no_purchase(history(test.values), test.horizon / DAYS_A_WEEK),
    }


def base_rate(train: Panel, test: Panel) -> FloatArray:
    """The same probability for every row of ``test``: the share that churned in ``train``."""
    return np.full(len(test.churned), train.churned.mean())


def rfm_logistic(train: Panel, test: Panel) -> FloatArray:
    """A logistic regression on the logarithms of recency, order days and spend, as most teams would write it:
    without row weights, which also makes it the stronger opponent."""
    model = make_pipeline(StandardScaler(), LogisticRegression())
    model.fit(rfm(train), train.churned)
    return np.asarray(model.predict_proba(rfm(test))[:, 1], dtype=np.float64)


def spend(train: Panel, test: Panel) -> dict[str, FloatArray]:
    """The spend within the horizon of each row of ``test``, by baseline."""
    return {"past_pace": past_pace(test), "rfm_tweedie": rfm_tweedie(train, test)}


def past_pace(test: Panel) -> FloatArray:
    """What was spent so far, at the same pace over the horizon; a customer counts as known for 30 days at least."""
    known = np.maximum(test.column("days_since_first_order"), 30.0)
    return np.nan_to_num(test.column("spend")) / known * test.horizon


def rfm_tweedie(train: Panel, test: Panel) -> FloatArray:
    """A Tweedie regression on the logarithms of recency, order days and spend, without row weights."""
    unit = float(train.spend.mean()) or 1.0
    model = make_pipeline(
        StandardScaler(), TweedieRegressor(power=TWEEDIE_POWER, alpha=1e-3, link="log", max_iter=1_000)
    )
    model.fit(rfm(train), train.spend / unit)
    return np.asarray(model.predict(rfm(test)) * unit, dtype=np.float64)


def next_order(train: Panel, test: Panel, process: MbgNbd) -> dict[str, FloatArray]:
    """Days to the next order, of those who return within the horizon, of each row of ``test``, by baseline."""
    horizon = float(test.horizon[0])
    weeks = process.return_quantile(history(test.values), horizon / DAYS_A_WEEK, 0.5)
    return {
        "constant": np.full(len(test.days), np.nanmedian(train.days)),
        "own_gap": own_gap(train, test),
        "mbg_nbd": np.floor(weeks * DAYS_A_WEEK),
    }


def own_gap(train: Panel, test: Panel) -> FloatArray:
    """The customer's mean gap after the last order; where that is past or unknown, what is usual for all."""
    due = test.column("gap_mean") - test.column("days_since_order")
    usual = np.nanmedian(train.days)
    return np.where(np.isnan(due) | (due < 0), usual, np.clip(due, 0.0, test.horizon))


def rfm(panel: Panel) -> FloatArray:
    """Recency, order days and spend, on logarithms."""
    columns = [np.nan_to_num(panel.column(key), nan=0.0) for key in RFM]
    return np.log1p(np.maximum(np.column_stack(columns), 0.0))
