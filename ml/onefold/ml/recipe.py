"""The recipe: every part of a model, fitted to one panel of past snapshots and horizons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import lightgbm as lgb
import numpy as np

from onefold.ml import trees
from onefold.ml.blend import SHARE, Blend, halved
from onefold.ml.features import FloatArray
from onefold.ml.gates import Kind
from onefold.ml.inputs import inputs
from onefold.ml.linear import TWEEDIE_POWER, Linear, fit_logistic, fit_tweedie
from onefold.ml.mbgnbd import MbgNbd
from onefold.ml.panel import Panel
from onefold.ml.trees import Did

SPEND_CAP: Final = 0.999
"""Spend above this quantile of its horizon counts as that quantile, or one wholesaler would be the whole model."""

TYPICAL_ROWS: Final = 100_000

NEXT_ORDER_PERCENTILES: Final = (10, 50, 90)
NEXT_ORDER_PACE: Final = 0.05

FEW_TERMS: Final = ("log days since order", "log orders", "log spend", "log horizon")
"""What the small model's logistic regression knows beside the buying process: recency, frequency, spend, and how far
ahead is asked."""

FEW_STRENGTH: Final = 10.0
"""Of its ridge penalty: few terms need less of it than many."""

_CHURN_RISES: Final = ("days_since_order", "no_purchase")


@dataclass(frozen=True, slots=True)
class Parts:
    """A fitted model."""

    process: MbgNbd
    churn: Blend
    """Log-odds of no purchase within the horizon."""
    spend: Blend
    """Logarithm of the expected spend within the horizon."""
    typical: lgb.Booster
    """Median of ``log1p`` of the spend within the horizon."""
    next_order: Mapping[int, lgb.Booster]
    """By percentile: ``log1p`` of the days to the next order of one who orders within the longest horizon."""


def fit(rows: Panel, process: MbgNbd, kind: Kind, did: Did = lambda done, of: None) -> Parts:
    """The parts for these rows; ``did`` is told after every tree how many of how many are grown."""
    steps = _Steps(did, (4 if kind == "full" else 0) + 1 + len(NEXT_ORDER_PERCENTILES))
    known = inputs(process, rows.values, rows.horizon)
    data = trees.dataset(known, rows.weight)
    return Parts(
        process=process,
        churn=_churn(rows, known, data, kind, steps),
        spend=_spend(rows, known, data, kind, steps),
        typical=_typical(rows, known, steps),
        next_order=_next_order(rows, known, steps),
    )


def fit_churn(rows: Panel, process: MbgNbd, kind: Kind) -> Blend:
    """The part that speaks about churn alone."""
    known = inputs(process, rows.values, rows.horizon)
    return _churn(rows, known, trees.dataset(known, rows.weight), kind, _Steps(lambda done, of: None, 2))


def _churn(rows: Panel, known: FloatArray, data: lgb.Dataset, kind: Kind, steps: _Steps) -> Blend:
    if kind == "small":
        few = fit_logistic(known, rows.churned, rows.weight, names=FEW_TERMS, strength=FEW_STRENGTH)
        return with_process(few)
    logistic = fit_logistic(known, rows.churned, rows.weight)
    label = rows.churned.astype(np.float64)

    def boosted(start: FloatArray | None) -> lgb.Booster:
        return trees.fit(
            data, label, start=start, rising=_CHURN_RISES, falling=["horizon"], did=steps.next(), objective="binary"
        )

    return halved(logistic, boosted(logistic.predict(known)), boosted(None))


def with_process(logistic: Linear) -> Blend:
    """The mean log-odds of a logistic regression and of the buying process."""
    return Blend(logistic.times(SHARE).plus("logit no purchase", SHARE), ())


def _spend(rows: Panel, known: FloatArray, data: lgb.Dataset, kind: Kind, steps: _Steps) -> Blend:
    spend = capped(rows)
    unit = float(np.average(spend, weights=rows.weight)) or 1.0
    general = fit_tweedie(known, spend / unit, rows.weight)

    def boosted(start: FloatArray | None) -> lgb.Booster:
        return trees.fit(
            data,
            spend / unit,
            start=start,
            rising=["horizon"],
            did=steps.next(),
            objective="tweedie",
            tweedie_variance_power=TWEEDIE_POWER,
        )

    if kind == "small":
        blend = Blend(general, ())
    else:
        blend = halved(general, boosted(general.predict(known)), boosted(None))
    return Blend(blend.linear.lifted(_level(rows, known, blend)), blend.boosters)


def _level(rows: Panel, known: FloatArray, blend: Blend) -> float:
    """What to add to the logarithms, so that over the longest horizon all rows together are to spend what they did:
    a cap, a geometric mean and weights that favour newer customers all take from it."""
    at = rows.horizon == rows.horizon.max()
    predicted, spent = np.exp(blend.predict(known[at])).sum(), rows.spend[at].sum()
    return float(np.log(spent / predicted)) if spent > 0 else 0.0


def capped(rows: Panel) -> FloatArray:
    """The spend of each row, at most the :data:`SPEND_CAP` quantile of its horizon."""
    spend = rows.spend.copy()
    for horizon in np.unique(rows.horizon):
        at = rows.horizon == horizon
        spend[at] = np.minimum(spend[at], np.quantile(spend[at], SPEND_CAP))
    return spend


def _typical(rows: Panel, known: FloatArray, steps: _Steps) -> lgb.Booster:
    """Of every so many of the rows: a median needs fewer than a mean, and each of its trees takes twice the time."""
    some = slice(None, None, -(-len(known) // TYPICAL_ROWS))
    data = trees.dataset(known[some], rows.weight[some])
    return trees.fit(data, np.log1p(rows.spend[some]), did=steps.next(), objective="quantile", alpha=0.5)


def _next_order(rows: Panel, known: FloatArray, steps: _Steps) -> dict[int, lgb.Booster]:
    returned = ~rows.churned & (rows.horizon == rows.horizon.max())
    data = trees.dataset(known[returned], rows.weight[returned])
    days = np.log1p(rows.days[returned])
    return {
        percentile: trees.fit(
            data,
            days,
            did=steps.next(),
            objective="quantile",
            alpha=percentile / 100,
            learning_rate=NEXT_ORDER_PACE,
        )
        for percentile in NEXT_ORDER_PERCENTILES
    }


class _Steps:
    """Tells one count of trees over several boosters."""

    def __init__(self, did: Did, boosters: int) -> None:
        self._did = did
        self._of = boosters * trees.ROUNDS
        self._begun = 0

    def next(self) -> Did:
        """What the next booster tells."""
        before = self._begun
        self._begun += trees.ROUNDS
        return lambda done, _: self._did(before + done, self._of)
