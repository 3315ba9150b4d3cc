"""Every baseline, fitted to the rows of the longest horizon that the recipe was fitted to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import lightgbm as lgb
import numpy as np
from scipy.optimize import minimize
from scipy.special import betaln, expit, gammaln
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from onefold.ml import baselines
from onefold.ml.features import FloatArray
from onefold.ml.inputs import DAYS_A_WEEK, history
from onefold.ml.mbgnbd import PENALTY, History, MbgNbd
from onefold.ml.panel import Panel

TUNED: dict[str, Any] = {
    "learning_rate": 0.03,
    "n_estimators": 200,
    "num_leaves": 15,
    "min_child_samples": 50,
    "colsample_bytree": 0.7,
}
QUIET: dict[str, Any] = {"n_jobs": 1, "verbosity": -1, "random_state": 1}


def churn(train: Panel, test: Panel, process: MbgNbd) -> dict[str, FloatArray]:
    """The probability to churn."""
    return {
        "RFM logistic": baselines.rfm_logistic(train, test),
        "RFM and tenure logistic": _logistic(_rfm_tenure(train), train, _rfm_tenure(test)),
        "logistic, all features": _logistic(_all_logs(train), train, _all_logs(test)),
        "LightGBM, library defaults": _trees(train, test),
        "LightGBM, tuned": _trees(train, test, **TUNED),
        "BG/NBD": fit_bgnbd(history(test.standing)).no_purchase(history(test.values), test.horizon / DAYS_A_WEEK),
        "MBG/NBD": process.no_purchase(history(test.values), test.horizon / DAYS_A_WEEK),
    }


def spend(train: Panel, test: Panel, process: MbgNbd) -> dict[str, FloatArray]:
    """The spend within the horizon."""
    unit = float(train.spend.mean())
    tweedie = lgb.LGBMRegressor(objective="tweedie", tweedie_variance_power=1.5, **QUIET, **TUNED)
    tweedie.fit(train.values, train.spend / unit)
    weeks = float(test.horizon[0]) / DAYS_A_WEEK
    orders = process.expected_purchases(history(test.values), weeks)
    return {
        "spend so far": np.nan_to_num(test.column("spend")),
        "pace so far": baselines.past_pace(test),
        "RFM Tweedie": baselines.rfm_tweedie(train, test),
        "MBG/NBD × mean order value": orders * shrunk_order_value(test),
        "LightGBM Tweedie, tuned": np.asarray(tweedie.predict(test.values)) * unit,
    }


def next_order(train: Panel, test: Panel, process: MbgNbd) -> dict[str, FloatArray]:
    """Days to the next order, of those who return within the horizon."""
    back = train.where(~train.churned)
    absolute = lgb.LGBMRegressor(objective="quantile", alpha=0.5, **QUIET)
    absolute.fit(back.values, back.days)
    named = baselines.next_order(train, test, process)
    return {
        "constant": named["constant"],
        "own mean gap": named["own_gap"],
        "MBG/NBD": named["mbg_nbd"],
        "LightGBM median, library defaults": np.asarray(absolute.predict(test.values)),
    }


def shrunk_order_value(panel: Panel) -> FloatArray:
    """The customer's mean order value, drawn towards all customers' by one order."""
    orders, mean = panel.column("orders"), panel.column("order_value_mean")
    usual = np.nanmean(mean)
    return np.asarray((np.nan_to_num(mean, nan=usual) * orders + usual) / (orders + 1.0))


def _rfm_tenure(panel: Panel) -> FloatArray:
    return np.column_stack([baselines.rfm(panel), np.log1p(panel.column("days_since_first_order"))])


def _all_logs(panel: Panel) -> FloatArray:
    values = np.nan_to_num(panel.values)
    return np.sign(values) * np.log1p(np.abs(values))


def _logistic(rows: FloatArray, train: Panel, test: FloatArray) -> FloatArray:
    model = make_pipeline(StandardScaler(), LogisticRegression(solver="newton-cholesky"))
    model.fit(rows, train.churned)
    return np.asarray(model.predict_proba(test)[:, 1])


def _trees(train: Panel, test: Panel, **parameters: Any) -> FloatArray:
    model = lgb.LGBMClassifier(**QUIET, **parameters)
    model.fit(train.values, train.churned)
    return np.asarray(model.predict_proba(test.values)[:, 1])


@dataclass(frozen=True)
class BgNbd:
    """P. Fader, B. Hardie, K. Lee, "Counting your customers the easy way", Marketing Science 24 (2005)."""

    r: float
    alpha: float
    a: float
    b: float

    def no_purchase(self, of: History, weeks: FloatArray) -> FloatArray:
        """The probability of no purchase within so many weeks."""
        stretch = (self.r + of.repeats) * np.log((self.alpha + of.age) / (self.alpha + of.last))
        left = np.log(self.a) - np.log(self.b + np.maximum(of.repeats, 1.0) - 1.0) + stretch
        alive = np.where(of.repeats > 0, expit(-left), 1.0)
        since = self.alpha + of.age
        return np.asarray(1.0 - alive * -np.expm1((self.r + of.repeats) * np.log(since / (since + weeks))))


def fit_bgnbd(of: History) -> BgNbd:
    """With the penalty of the MBG/NBD."""
    kinds, count = np.unique(np.column_stack([of.repeats, of.last, of.age]), axis=0, return_counts=True)
    x, last, age = kinds.T
    weight = count / count.sum()

    def loss(logs: FloatArray) -> float:
        r, alpha, a, b = np.exp(logs)
        rest = gammaln(r + x) - gammaln(r) + r * np.log(alpha) - betaln(a, b)
        stayed = betaln(a, b + x) - (r + x) * np.log(alpha + age)
        left = betaln(a + 1, b + np.maximum(x, 1) - 1) - (r + x) * np.log(alpha + last)
        likelihood = rest + np.where(x > 0, np.logaddexp(stayed, left), stayed)
        return float(-weight @ likelihood + PENALTY * (logs @ logs))

    return BgNbd(*np.exp(minimize(loss, np.zeros(4), method="L-BFGS-B", bounds=[(-8, 8)] * 4).x).tolist())
