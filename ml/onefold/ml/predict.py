"""What fitted parts predict, from rows of features by :data:`onefold.ml.panel.KEYS` to numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import expit

from onefold.ml import ahead, trees
from onefold.ml.ahead import Path
from onefold.ml.features import FloatArray
from onefold.ml.inputs import DAYS_A_WEEK, history, inputs
from onefold.ml.model import Rehearsal
from onefold.ml.recipe import NEXT_ORDER_PERCENTILES, Parts


def churn(parts: Parts | Rehearsal, values: FloatArray, trained: Sequence[int], asked: int) -> Path:
    """The log-odds of no purchase within ``asked`` days, which never rise with the days."""
    return ahead.path(lambda days: parts.churn.predict(inputs(parts.process, values, days)), trained, asked, sign=-1)


def spend(parts: Parts, values: FloatArray, trained: Sequence[int], asked: int) -> FloatArray:
    """The expected spend within ``asked`` days, main currency; it never falls with the days."""
    found = ahead.path(lambda days: parts.spend.predict(inputs(parts.process, values, days)), trained, asked)
    return np.asarray(np.exp(found.value))


def typical_spend(parts: Parts, values: FloatArray, trained: Sequence[int], asked: int) -> FloatArray:
    """The median of the spend within ``asked`` days: what a customer like this spends as often more as less."""

    def at(days: int) -> FloatArray:
        return np.maximum(trees.predict(parts.typical, inputs(parts.process, values, days)), 0.0)

    return np.asarray(np.expm1(ahead.path(at, trained, asked).value))


def orders(parts: Parts, values: FloatArray, asked: int) -> FloatArray:
    """The expected number of order days within ``asked`` days, by the buying process."""
    return parts.process.expected_purchases(history(values), asked / DAYS_A_WEEK)


def next_order(parts: Parts, values: FloatArray, longest: int) -> FloatArray:
    """Days to the next order of those who order within the ``longest`` horizon: the 10th, 50th and 90th percentile
    as columns, which rise."""
    known = inputs(parts.process, values, longest)
    found = np.column_stack(
        [trees.predict(parts.next_order[percentile], known) for percentile in NEXT_ORDER_PERCENTILES]
    )
    return np.asarray(np.clip(np.sort(np.expm1(found), axis=1), 0.0, longest - 1.0))


def probability(log_odds: FloatArray) -> FloatArray:
    """Of log-odds."""
    return np.asarray(expit(log_odds))
