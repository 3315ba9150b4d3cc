"""The windows that are measured, and what the recipe and its opponents say of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from onefold.graph.model import Instant
from onefold.ml import churn, features, metrics, panel, predict, recipe
from onefold.ml.backtest import compared
from onefold.ml.features import FloatArray
from onefold.ml.inputs import history
from onefold.ml.mbgnbd import MbgNbd
from onefold.ml.mbgnbd import fit as fit_process
from onefold.ml.model import Measured
from onefold.ml.panel import BoolArray, Panel
from tests.bench_ml import opponents
from tests.histories import NO_EVENTS

OURS = "Onefold"


@dataclass(frozen=True)
class Window:
    name: str
    source: str
    cutoff: Instant
    horizon_days: int


def day(year: int, month: int, day: int) -> Instant:
    """The first instant of it."""
    return int(datetime(year, month, day, tzinfo=UTC).timestamp() * 1000)


WINDOWS = (
    Window("retail90", "retail", day(2011, 9, 10), 90),
    Window("retail90b", "retail", day(2011, 8, 11), 90),
    Window("cdnow180", "cdnow", day(1998, 1, 1), 180),
)


@dataclass(frozen=True)
class Rows:
    """What is known at the cutoff of a window, and what came."""

    window: Window
    train: Panel
    alike: Panel
    """All rows of the longest horizon, not thinned: what opponents are fitted to."""
    test: Panel
    process: MbgNbd


@dataclass(frozen=True)
class Found:
    window: Window
    customers: int
    churn_rate: float
    measured: Mapping[str, Measured]
    happened: BoolArray
    probabilities: Mapping[str, FloatArray]
    """Of churn, by predictor; ours is :data:`OURS`."""


def rows_of(window: Window, orders: pa.Table) -> Rows:
    """The panels of a window."""
    train, test = churn.split(orders, NO_EVENTS, window.cutoff, window.horizon_days)
    known = features.population(orders, window.cutoff)
    cutoffs = [at for at in train.snapshots if at + window.horizon_days * panel.DAY <= window.cutoff]
    alike = panel.build(orders, NO_EVENTS, cutoffs, [window.horizon_days], window.cutoff, known)
    return Rows(window, train, alike, test, fit_process(history(test.standing)))


@dataclass(frozen=True)
class Told:
    """What one or several predictors say of the test rows, by predictor."""

    churn: Mapping[str, FloatArray]
    spend: Mapping[str, FloatArray]
    next_order: Mapping[str, FloatArray]
    """Of the rows that return."""


def ours(rows: Rows) -> Told:
    """The full recipe's answers."""
    trained, values = panel.horizons(rows.window.horizon_days), rows.test.values
    parts = recipe.fit(rows.train, rows.process, "full")
    back = rows.test.where(~rows.test.churned)
    return Told(
        {OURS: predict.probability(predict.churn(parts, values, trained, trained[-1]).value)},
        {OURS: predict.spend(parts, values, trained, trained[-1])},
        {OURS: predict.next_order(parts, back.values, trained[-1])[:, 1]},
    )


def theirs(rows: Rows) -> Told:
    """The answers of every baseline."""
    back = rows.test.where(~rows.test.churned)
    return Told(
        opponents.churn(rows.alike, rows.test, rows.process),
        opponents.spend(rows.alike, rows.test, rows.process),
        opponents.next_order(rows.alike, back, rows.process),
    )


def compare(rows: Rows, ours: Told, theirs: Told) -> Found:
    """Both on the same rows."""
    test = rows.test
    back = test.where(~test.churned)
    several = back.column("orders") >= 4
    measured = {
        "churn": compared(ours.churn[OURS], theirs.churn, lambda told: metrics.churn_measures(test.churned, told)),
        "spend": compared(
            ours.spend[OURS],
            theirs.spend,
            lambda told: {
                "gini": metrics.normalised_gini(test.spend, told),
                "ratio_of_totals": metrics.ratio_of_totals(test.spend, told),
            },
        ),
        "next_order": compared(
            ours.next_order[OURS],
            theirs.next_order,
            lambda told: {
                "median_error": metrics.median_error(back.days, told),
                "median_error_4": _median_error(back.days, told, several),
            },
        ),
    }
    return Found(
        rows.window,
        len(test.churned),
        float(test.churned.mean()),
        measured,
        test.churned,
        {**ours.churn, **theirs.churn},
    )


def _median_error(days: FloatArray, told: FloatArray, chosen: BoolArray) -> metrics.Measure:
    bound = metrics.median_error(days[chosen], told[chosen])
    return lambda weight: bound(weight[chosen])


def shop(orders: pa.Table, cutoff: Instant, size: int, seed: int) -> pa.Array:
    """So many customers with an order before the cutoff, drawn with a seed."""
    known = features.purchases(orders, cutoff, "")["identity"].unique().sort()
    return known.take(pa.array(np.random.default_rng(seed).permutation(len(known))[:size]))
