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


@dataclass(frozen=True)
class Window:
    name: str
    source: str
    cutoff: Instant
    horizon_days: int


def _day(year: int, month: int, day: int) -> Instant:
    return int(datetime(year, month, day, tzinfo=UTC).timestamp() * 1000)


WINDOWS = (
    Window("retail90", "retail", _day(2011, 9, 10), 90),
    Window("retail90b", "retail", _day(2011, 8, 11), 90),
    Window("cdnow180", "cdnow", _day(1998, 1, 1), 180),
)


@dataclass(frozen=True)
class Rows:
    """What is known at the cutoff of a window, and what came."""

    window: Window
    train: Panel
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
    """Of churn, by predictor; ours is ``Onefold``."""


def rows_of(window: Window, orders: pa.Table) -> Rows:
    """The panels of a window."""
    train, test = churn.split(orders, NO_EVENTS, window.cutoff, window.horizon_days)
    return Rows(window, train, test, fit_process(history(test.standing)))


def measure(rows: Rows) -> Found:
    """The full recipe beside every baseline, on the same rows."""
    train, test, process = rows.train, rows.test, rows.process
    trained = panel.horizons(rows.window.horizon_days)
    longest, values = trained[-1], test.values
    parts = recipe.fit(train, process, "full")
    rates = predict.probability(predict.churn(parts, values, trained, longest).value)
    alike = train.where(train.horizon == longest)
    others = opponents.churn(alike, test, process)
    back = test.where(~test.churned)
    days = predict.next_order(parts, back.values, longest)[:, 1]
    several = back.column("orders") >= 4
    measured = {
        "churn": compared(rates, others, lambda told: metrics.churn_measures(test.churned, told)),
        "spend": compared(
            predict.spend(parts, values, trained, longest),
            opponents.spend(alike, test, process),
            lambda told: {
                "gini": metrics.normalised_gini(test.spend, told),
                "ratio_of_totals": metrics.ratio_of_totals(test.spend, told),
            },
        ),
        "next_order": compared(
            days,
            opponents.next_order(alike, back, process),
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
        {"Onefold": rates, **others},
    )


def _median_error(days: FloatArray, told: FloatArray, chosen: BoolArray) -> metrics.Measure:
    bound = metrics.median_error(days[chosen], told[chosen])
    return lambda weight: bound(weight[chosen])


def shop(orders: pa.Table, cutoff: Instant, size: int, seed: int) -> pa.Array:
    """So many customers with an order before the cutoff, drawn with a seed."""
    known = features.purchases(orders, cutoff, "")["identity"].unique().sort()
    return known.take(pa.array(np.random.default_rng(seed).permutation(len(known))[:size]))
