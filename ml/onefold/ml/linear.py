"""Linear models on standardised terms: what small data can bear, and what trees start from."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Final

import numpy as np
from scipy.special import logit
from sklearn.linear_model import LogisticRegression, TweedieRegressor

from onefold.ml.features import FloatArray
from onefold.ml.inputs import ALL_KEYS
from onefold.ml.panel import BoolArray

STRENGTH: Final = 100.0
"""Of the ridge penalty, against a sum over customers: scikit-learn's ``C`` of 0.01."""

TWEEDIE_POWER: Final = 1.5


@dataclass(frozen=True, slots=True)
class Term:
    """One column of the design; unknown counts as the mean."""

    input: str
    """The input whose reason it is."""
    of: Callable[[Callable[[str], FloatArray]], FloatArray]
    """From a function that gives the column of an input."""


def _log1p(key: str) -> Term:
    return Term(key, lambda column: np.log1p(np.maximum(column(key), 0.0)))


def _log(key: str) -> Term:
    return Term(key, lambda column: np.log(np.maximum(column(key), 1e-6)))


def _as_is(key: str) -> Term:
    return Term(key, lambda column: column(key))


def _logit(key: str) -> Term:
    return Term(key, lambda column: logit(np.clip(column(key), 1e-6, 1.0 - 1e-6)))


def _ahead(days: FloatArray) -> FloatArray:
    return np.asarray(np.log(days / 60.0))


TERMS: Final[Mapping[str, Term]] = {
    "log orders": _log1p("orders"),
    "log days since order": _log1p("days_since_order"),
    "log days since first order": _log1p("days_since_first_order"),
    "quiet share": _as_is("quiet_share"),
    "log overdue": _log1p("overdue"),
    "log expected gap": _log1p("gap_expected"),
    "gap variation": _as_is("gap_variation"),
    "log orders 30d": _log1p("orders_30d"),
    "log orders 60d": _log1p("orders_60d"),
    "log orders 90d": _log1p("orders_90d"),
    "log orders 180d": _log1p("orders_180d"),
    "log orders faded 15d": _log1p("orders_faded_15d"),
    "log orders faded 60d": _log1p("orders_faded_60d"),
    "log orders faded 240d": _log1p("orders_faded_240d"),
    "order trend": _as_is("order_trend"),
    "log spend": _log1p("spend"),
    "log mean order value": _log1p("order_value_mean"),
    "log typical order value": _log1p("order_value_typical"),
    "log last order value ratio": _log("order_value_last_ratio"),
    "log lines": _log1p("lines_mean"),
    "log products": _log1p("products_mean"),
    "log returned orders": _log1p("returned_orders"),
    "weekend share": _as_is("weekend_share"),
    "log events 30d": _log1p("events_30d"),
    "log events 90d": _log1p("events_90d"),
    "logit alive": _logit("alive"),
    "logit no purchase": _logit("no_purchase"),
    "log rate": _log("rate"),
    "log expected orders": _log("expected_orders"),
    "log horizon": Term("horizon", lambda column: _ahead(column("horizon"))),
    "log horizon × log days since order": Term(
        "days_since_order",
        lambda column: _ahead(column("horizon")) * np.log1p(np.maximum(column("days_since_order"), 0.0)),
    ),
    "log horizon × log rate": Term("rate", lambda column: _ahead(column("horizon")) * np.log(column("rate"))),
}


@dataclass(frozen=True, slots=True)
class Weighed:
    """One term of a fitted model: it adds ``weight · (term − mean) / scale``."""

    mean: float
    scale: float
    weight: float


@dataclass(frozen=True, slots=True)
class Linear:
    """A fitted linear model, on the scale of its link."""

    intercept: float
    terms: Mapping[str, Weighed]
    """By the names of :data:`TERMS`."""

    def predict(self, inputs: FloatArray) -> FloatArray:
        """Its value for each row of :func:`onefold.ml.inputs.inputs`."""
        return np.asarray(self.intercept + self._parts(inputs).sum(axis=1))

    def contributions(self, inputs: FloatArray) -> FloatArray:
        """What each input adds to the intercept, a column per :data:`onefold.ml.inputs.ALL_KEYS`."""
        added = np.zeros((len(inputs), len(ALL_KEYS)))
        for name, part in zip(self.terms, self._parts(inputs).T, strict=True):
            added[:, ALL_KEYS.index(TERMS[name].input)] += part
        return added

    def times(self, share: float) -> Linear:
        """The model whose value is ``share`` times this one's."""
        weighed = {name: replace(term, weight=share * term.weight) for name, term in self.terms.items()}
        return Linear(share * self.intercept, weighed)

    def plus(self, name: str, weight: float) -> Linear:
        """The model whose value is this one's plus ``weight`` times the bare term."""
        term = self.terms[name]
        weighed = {**self.terms, name: replace(term, weight=term.weight + weight * term.scale)}
        return Linear(self.intercept + weight * term.mean, weighed)

    def lifted(self, by: float) -> Linear:
        """The model whose value is this one's plus a constant."""
        return replace(self, intercept=self.intercept + by)

    def document(self) -> dict[str, object]:
        """It as JSON."""
        return asdict(self)

    def _parts(self, inputs: FloatArray) -> FloatArray:
        means, scales, weights = np.array([[t.mean, t.scale, t.weight] for t in self.terms.values()]).T
        standard = (design(inputs) - means) / scales
        return np.asarray(np.nan_to_num(standard, nan=0.0) * weights)


def design(inputs: FloatArray) -> FloatArray:
    """The bare terms, a column per :data:`TERMS`; unknown is NaN."""

    def column(key: str) -> FloatArray:
        return np.asarray(inputs[:, ALL_KEYS.index(key)])

    return np.column_stack([term.of(column) for term in TERMS.values()])


def fit_logistic(
    inputs: FloatArray,
    happened: BoolArray,
    weight: FloatArray,
    *,
    names: Collection[str] = TERMS.keys(),
    strength: float = STRENGTH,
) -> Linear:
    """Logistic regression: its value is a log-odds. The terms that are not among ``names`` weigh nothing."""
    standard, means, scales = _standardised(design(inputs), weight)
    chosen = [name in names for name in TERMS]
    model = LogisticRegression(C=1.0 / strength, solver="newton-cholesky", tol=1e-8)
    model.fit(standard[:, chosen], happened, sample_weight=weight)
    weights = np.zeros(len(TERMS))
    weights[chosen] = model.coef_[0]
    return _linear(float(model.intercept_[0]), weights, means, scales)


def fit_tweedie(inputs: FloatArray, amount: FloatArray, weight: FloatArray) -> Linear:
    """A generalised linear model of amounts of which many are zero (Tweedie, power 1.5): its value is the log of the
    expected amount. ``amount`` should have a mean near one, which makes the penalty that of the logistic."""
    standard, means, scales = _standardised(design(inputs), weight)
    model = TweedieRegressor(
        power=TWEEDIE_POWER, alpha=STRENGTH / weight.sum(), link="log", solver="newton-cholesky", tol=1e-8
    )
    model.fit(standard, amount, sample_weight=weight)
    return _linear(float(model.intercept_), model.coef_, means, scales)


def _linear(intercept: float, weights: FloatArray, means: FloatArray, scales: FloatArray) -> Linear:
    rows = zip(TERMS, means.tolist(), scales.tolist(), weights.tolist(), strict=True)
    return Linear(intercept, {name: Weighed(mean, scale, weight) for name, mean, scale, weight in rows})


def _standardised(terms: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The terms with mean zero and deviation one, unknown as zero; the means, and the deviations."""
    known = ~np.isnan(terms)
    counted = weight[:, None] * known
    total = np.maximum(counted.sum(axis=0), 1e-12)
    means = (counted * np.nan_to_num(terms)).sum(axis=0) / total
    centred = np.where(known, terms - means, 0.0)
    scales = np.sqrt((counted * centred**2).sum(axis=0) / total)
    scales[scales < 1e-9] = 1.0
    return centred / scales, means, scales
