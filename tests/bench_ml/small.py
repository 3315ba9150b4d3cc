"""Small shops: draws of customers, fitted to alone, and asked about all customers of the window."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from onefold.ml import baselines, churn, features, metrics, panel, predict, recipe
from onefold.ml.inputs import DAYS_A_WEEK, history
from onefold.ml.mbgnbd import fit as fit_process
from onefold.ml.panel import KEYS, Panel
from tests.bench_ml.windows import Rows, shop
from tests.histories import NO_EVENTS

SIZES = (100, 300, 1_000)
DRAWS = 10
POOL = 3_000
"""Customers of whom shops are drawn, so that their features are computed once."""


@dataclass(frozen=True)
class Draw:
    """Log losses."""

    size: int
    ours: float
    rfm_logistic: float
    mbg_nbd: float


def measure(rows: Rows, orders: pa.Table) -> list[Draw]:
    """All draws of a window."""
    window = rows.window
    pool = orders.filter(pc.is_in(orders["identity"], value_set=shop(orders, window.cutoff, POOL, 0)))
    known = features.population(pool, window.cutoff)
    everything = churn.training_rows(pool, NO_EVENTS, known, window.cutoff, window.horizon_days)
    now = churn.held_out_rows(pool, NO_EVENTS, known, window.cutoff, window.horizon_days)
    return [
        _draw(rows, everything, now, size, np.random.default_rng([size, number]))
        for size in SIZES
        for number in range(DRAWS)
    ]


def _draw(rows: Rows, everything: Panel, now: Panel, size: int, random: np.random.Generator) -> Draw:
    # Customers are numbered alike in both panels: by identity, among those of the pool.
    customers = random.permutation(np.unique(now.customer))[:size]
    here = now.where(np.isin(now.customer, customers))
    gap = _mean_gap(here)
    here, train, test = (
        _against(some, gap) for some in (here, everything.where(np.isin(everything.customer, customers)), rows.test)
    )
    process, trained = fit_process(history(here.values)), panel.horizons(rows.window.horizon_days)
    parts = replace(_EMPTY, process=process, churn=recipe.fit_churn(train, process, "small"))
    alike = train.where(train.horizon == trained[-1])

    def log_loss(told: np.ndarray) -> float:
        return float(metrics.log_losses(test.churned, told).mean())

    return Draw(
        size,
        log_loss(predict.probability(predict.churn(parts, test.values, trained, trained[-1]).value)),
        log_loss(baselines.rfm_logistic(alike, test)),
        log_loss(process.no_purchase(history(test.values), test.horizon / DAYS_A_WEEK)),
    )


_EMPTY = recipe.Parts(None, None, None, None, {})  # type: ignore[arg-type]


def _mean_gap(now: Panel) -> float:
    """The drawn shop's own mean gap, as its population would have it."""
    span = now.column("days_since_first_order") - now.column("days_since_order")
    return float(span.sum() / max(1.0, (now.column("orders") - 1).sum()))


def _against(rows: Panel, mean_gap: float) -> Panel:
    """The rows with the two features that refer to the population's mean gap computed for another."""
    standing = rows.standing.copy()
    first, last, orders = (KEYS.index(key) for key in ("days_since_first_order", "days_since_order", "orders"))
    expected = (standing[:, first] - standing[:, last] + 2 * mean_gap) / (standing[:, orders] + 1)
    standing[:, KEYS.index("gap_expected")] = expected
    standing[:, KEYS.index("overdue")] = standing[:, last] / expected
    return replace(rows, standing=standing)
