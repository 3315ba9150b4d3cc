"""How good predictions were, once the outcomes are known, and how sure that is.

Every measure takes a weight per row, so that a bootstrap resample is the same rows weighed by how often each was
drawn. Measures are bound to outcome and prediction first (``auc(happened, probability)``) and asked with weights then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from onefold.ml.features import FloatArray
from onefold.ml.panel import BoolArray

BINS: Final = 10
RESAMPLES: Final = 200

Measure = Callable[[FloatArray], float]
"""From a weight per row."""

_SEED: Final = 1997
_CLIP: Final = 1e-15


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % interval: the 2.5th and 97.5th percentile of bootstrap resamples of customers."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether a difference is more than chance."""
        return self.low > 0.0 or self.high < 0.0


@dataclass(frozen=True, slots=True)
class Metrics:
    """Of one churn model on one held-out window."""

    rows: int
    base_rate: float
    """Share for which the predicted outcome came true."""
    auc: float
    """Chance that one who churned was ranked above one who did not; 0.5 for a coin."""
    log_loss: float
    brier: float
    ece: float
    """Expected calibration error over ten bins of equal width: mean distance of promise and outcome."""


def measure(happened: BoolArray, probability: FloatArray) -> Metrics:
    """The metrics; both outcomes must have occurred."""
    one = np.ones(len(happened))
    return Metrics(
        rows=len(happened),
        base_rate=float(happened.mean()),
        **{name: bound(one) for name, bound in churn_measures(happened, probability).items()},
    )


def churn_measures(happened: BoolArray, probability: FloatArray) -> dict[str, Measure]:
    """The measures of a churn model, by name."""
    return {
        "auc": auc(happened, probability),
        "log_loss": mean_of(log_losses(happened, probability)),
        "brier": mean_of((probability - happened) ** 2),
        "ece": calibration_error(happened, probability),
    }


def auc(happened: BoolArray, score: FloatArray) -> Measure:
    """Area under the ROC curve; ties count half."""
    ranks = _mid_ranks(score)

    def measured(weight: FloatArray) -> float:
        rank, positive, negative = ranks(weight), weight * happened, weight * ~happened
        apart = (rank @ positive) / positive.sum() - (rank @ negative) / negative.sum()
        return float(apart / weight.sum() + 0.5)

    return measured


def log_losses(happened: BoolArray, probability: FloatArray) -> FloatArray:
    """Each row's negative log-likelihood."""
    p = np.clip(probability, _CLIP, 1.0 - _CLIP)
    return np.asarray(-np.where(happened, np.log(p), np.log1p(-p)))


def calibration_error(happened: BoolArray, probability: FloatArray) -> Measure:
    """Mean over all rows of |mean prediction − share that came true| of the row's bin."""
    bin_of = np.minimum((probability * BINS).astype(np.int64), BINS - 1)
    apart = probability - happened

    def measured(weight: FloatArray) -> float:
        return float(np.abs(np.bincount(bin_of, weights=weight * apart, minlength=BINS)).sum() / weight.sum())

    return measured


def normalised_gini(amount: FloatArray, score: FloatArray) -> Measure:
    """How well a score ranks amounts: 1 as the amounts themselves would, 0 for chance; ties count half."""
    by_score, by_amount = _mid_ranks(score), _mid_ranks(amount)

    def measured(weight: FloatArray) -> float:
        centred = weight * (amount - np.average(amount, weights=weight))
        return float((centred @ by_score(weight)) / (centred @ by_amount(weight)))

    return measured


def ratio_of_totals(amount: FloatArray, predicted: FloatArray) -> Measure:
    """What was predicted of all together ÷ what came."""
    return lambda weight: float((weight @ predicted) / (weight @ amount))


def median_error(amount: FloatArray, predicted: FloatArray) -> Measure:
    """The median distance of prediction and outcome."""
    error = np.abs(amount - predicted)
    order = np.argsort(error, kind="stable")
    rising = error[order]

    def measured(weight: FloatArray) -> float:
        reached = np.cumsum(weight[order])
        below, above = np.searchsorted(reached, [reached[-1] / 2, np.nextafter(reached[-1] / 2, np.inf)])
        return float((rising[below] + rising[above]) / 2)

    return measured


def mean_of(values: FloatArray) -> Measure:
    """The mean of a figure that each row has."""
    return lambda weight: float((weight @ values) / weight.sum())


@dataclass(frozen=True, slots=True, eq=False)
class Resampled:
    """A figure, and what it is on each resample. The same rows are drawn whatever is measured on them, so that
    differences are paired."""

    value: float
    drawn: FloatArray

    @property
    def estimate(self) -> Estimate:
        """The figure with its interval."""
        low, high = np.nanpercentile(self.drawn, [2.5, 97.5])
        return Estimate(self.value, float(low), float(high))

    def less(self, other: Resampled) -> Estimate:
        """By how much the figure exceeds another on the same rows."""
        return Resampled(self.value - other.value, self.drawn - other.drawn).estimate


def resampled(measures: Mapping[str, Measure], rows: int, resamples: int = RESAMPLES) -> dict[str, Resampled]:
    """Each measure on all rows and on each resample of them."""
    drawn: dict[str, list[float]] = {name: [] for name in measures}
    for weight in _resamples(rows, resamples):
        for name, bound in measures.items():
            drawn[name].append(bound(weight))
    one = np.ones(rows)
    return {name: Resampled(bound(one), np.array(drawn[name])) for name, bound in measures.items()}


def _resamples(rows: int, resamples: int) -> Iterator[FloatArray]:
    random = np.random.default_rng(_SEED)
    for _ in range(resamples):
        yield np.bincount(random.integers(0, rows, rows), minlength=rows).astype(np.float64)


def _mid_ranks(values: FloatArray) -> Callable[[FloatArray], FloatArray]:
    """From weights to each row's rank, the mean one among its equals; sorted once for all weights."""
    distinct, place = np.unique(values, return_inverse=True)

    def ranks(weight: FloatArray) -> FloatArray:
        held = np.bincount(place, weights=weight, minlength=len(distinct))
        return np.asarray((np.cumsum(held) - held / 2)[place])

    return ranks
