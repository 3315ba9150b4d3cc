"""What a recipe would have said one horizon ago, beside what its baselines would, and what then came."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from onefold.graph.errors import NotReady
from onefold.ml import baselines, metrics, predict, recipe
from onefold.ml.features import FloatArray
from onefold.ml.gates import Gate, Kind
from onefold.ml.inputs import history
from onefold.ml.mbgnbd import MbgNbd
from onefold.ml.mbgnbd import fit as fit_process
from onefold.ml.metrics import Measure, Metrics
from onefold.ml.model import Measured
from onefold.ml.panel import BoolArray, Panel
from onefold.ml.recipe import Parts
from onefold.ml.trees import Did


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """A back-test."""

    kind: Kind
    choice: str
    """Why this kind, in words."""
    metrics: Metrics
    baselines: Mapping[str, Metrics]
    measured: Mapping[str, Measured]
    parts: Parts
    """The fit that was tried."""
    rates: FloatArray
    """The probability of churn that it told of each held-out row."""


def run(
    train: Panel, test: Panel, gates: tuple[Gate, ...], trained: tuple[int, ...], did: Did = lambda done, of: None
) -> Outcome:
    """The kind of model that the gates allow and the held-out rows do not speak against, and its figures there.

    The gates choose; the other kind is taken instead only if its log loss is lower with a 95 % interval that excludes
    zero. ``train`` holds all horizons, ``test`` the longest. Raises :class:`NotReady` if the choice is worse than
    telling every customer the share that churned.
    """
    process = fit_process(history(test.standing))
    shut = [gate for gate in gates if gate.kind == "full" and not gate.is_open]
    kind: Kind = "small" if shut else "full"
    choice = "; ".join(gate.words for gate in shut) or "there is enough data for trees"
    parts = recipe.fit(train, process, kind, did)
    rates = _churn_rates(parts, test, trained)
    if kind == "full":
        small = replace(parts, churn=recipe.fit_churn(train, process, "small"))
        others = _churn_rates(small, test, trained)
        if _surely_better(test.churned, others, rates):
            kind, choice = "small", "trees had the greater log loss on the held-out window"
            parts = recipe.fit(train, process, kind, did)
            rates = others
    longest = train.where(train.horizon == train.horizon.max())
    opponents = baselines.churn(longest, test, process)
    if _surely_better(test.churned, opponents["base_rate"], rates):
        raise NotReady("churn model", "on the held-out window it did worse than the share that churned before")
    return Outcome(
        kind=kind,
        choice=choice,
        metrics=metrics.measure(test.churned, rates),
        baselines={name: metrics.measure(test.churned, told) for name, told in opponents.items()},
        measured=_measured(longest, test, process, parts, rates, opponents, trained),
        parts=parts,
        rates=rates,
    )


def _measured(
    train: Panel,
    test: Panel,
    process: MbgNbd,
    parts: Parts,
    rates: FloatArray,
    opponents: Mapping[str, FloatArray],
    trained: tuple[int, ...],
) -> dict[str, Measured]:
    values, longest = test.values, trained[-1]
    back = test.where(~test.churned)
    days = predict.next_order(parts, back.values, longest)
    return {
        "churn": compared(rates, opponents, lambda told: metrics.churn_measures(test.churned, told)),
        "spend": compared(
            predict.spend(parts, values, trained, longest),
            baselines.spend(train, test),
            lambda told: {
                "gini": metrics.normalised_gini(test.spend, told),
                "ratio_of_totals": metrics.ratio_of_totals(test.spend, told),
            },
        ),
        "typical": compared(
            predict.typical_spend(parts, values, trained, longest),
            {"nothing": np.zeros(len(test.spend))},
            lambda told: {
                "mean_error": metrics.mean_of(np.abs(test.spend - told)),
                "median_error": metrics.median_error(test.spend, told),
            },
        ),
        "next_order": compared(
            days[:, 1],
            baselines.next_order(train, back, process),
            lambda told: {"median_error": metrics.median_error(back.days, told)},
            {"within_interval": metrics.mean_of(_inside(back.days, days))},
        ),
    }


def compared(
    ours: FloatArray,
    others: Mapping[str, FloatArray],
    bound: Callable[[FloatArray], Mapping[str, Measure]],
    more: Mapping[str, Measure] = MappingProxyType({}),
) -> Measured:
    """A prediction beside others on the same rows; ``bound`` gives the measures of a prediction, ``more`` those that
    only ours has."""
    mine = metrics.resampled({**bound(ours), **more}, len(ours))
    theirs = {name: metrics.resampled(bound(told), len(ours)) for name, told in others.items()}
    return Measured(
        model={measure: found.estimate for measure, found in mine.items()},
        baselines={name: {measure: found.estimate for measure, found in told.items()} for name, told in theirs.items()},
        differences={
            name: {measure: mine[measure].less(found) for measure, found in told.items()}
            for name, told in theirs.items()
        },
    )


def _churn_rates(parts: Parts, test: Panel, trained: tuple[int, ...]) -> FloatArray:
    return predict.probability(predict.churn(parts, test.values, trained, trained[-1]).value)


def _surely_better(happened: BoolArray, these: FloatArray, those: FloatArray) -> bool:
    """Whether the first probabilities have the lower log loss, by more than chance."""
    apart = metrics.log_losses(happened, these) - metrics.log_losses(happened, those)
    return metrics.resampled({"log_loss": metrics.mean_of(apart)}, len(happened))["log_loss"].estimate.high < 0.0


def _inside(days: FloatArray, percentiles: FloatArray) -> FloatArray:
    """One where the days are between the outer percentiles, in whole days."""
    low, high = np.floor(percentiles[:, 0]), np.ceil(percentiles[:, -1])
    return ((low <= days) & (days <= high)).astype(np.float64)
