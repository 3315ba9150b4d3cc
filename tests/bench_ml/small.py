"""Small shops: draws of customers, fitted to alone, and asked about all customers of the window."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from onefold.ml import baselines, churn, features, metrics, panel, predict, recipe
from onefold.ml.blend import Blend
from onefold.ml.features import FloatArray
from onefold.ml.inputs import DAYS_A_WEEK, history
from onefold.ml.mbgnbd import MbgNbd
from onefold.ml.mbgnbd import fit as fit_process
from onefold.ml.panel import KEYS, Panel
from tests.bench_ml.windows import Rows, Window, shop
from tests.histories import NO_EVENTS

SIZES = (100, 300, 1_000)
DRAWS = 10
POOL = 3_000
"""Customers of whom shops are drawn, so that their features are computed once."""


@dataclass(frozen=True)
class Shop:
    """A shop that was drawn, and the customers that it is asked about."""

    size: int
    train: Panel
    test: Panel
    process: MbgNbd

    @property
    def alike(self) -> Panel:
        """What opponents are fitted to."""
        return self.train.where(self.train.horizon == self.test.horizon[0])

    def told(self, blend: Blend) -> FloatArray:
        """The probabilities of churn by a model of it."""
        horizon = int(self.test.horizon[0])
        parts = replace(_EMPTY, process=self.process, churn=blend)
        return predict.probability(predict.churn(parts, self.test.values, panel.horizons(horizon), horizon).value)

    def log_loss(self, told: FloatArray) -> float:
        """Of probabilities of the customers asked about."""
        return float(metrics.log_losses(self.test.churned, told).mean())


@dataclass(frozen=True)
class Draw:
    """Log losses."""

    size: int
    ours: float
    rfm_logistic: float
    mbg_nbd: float


def measure(rows: Rows, orders: pa.Table) -> list[Draw]:
    """All draws of a window."""
    return [
        draw(shop, shop.told(recipe.fit_churn(shop.train, shop.process, "small")))
        for shop in shops(rows.window, orders, rows.test)
    ]


def draw(shop: Shop, ours: FloatArray) -> Draw:
    """What is told of a shop beside its opponents."""
    test = shop.test
    by_process = shop.process.no_purchase(history(test.values), test.horizon / DAYS_A_WEEK)
    rfm_logistic = baselines.rfm_logistic(shop.alike, test)
    return Draw(shop.size, shop.log_loss(ours), shop.log_loss(rfm_logistic), shop.log_loss(by_process))


def shops(window: Window, orders: pa.Table, test: Panel) -> Iterator[Shop]:
    """All shops of a window, ten of each size, all asked about the customers of ``test``."""
    pool = orders.filter(pc.is_in(orders["identity"], value_set=shop(orders, window.cutoff, POOL, 0)))
    known = features.population(pool, window.cutoff)
    everything = churn.training_rows(pool, NO_EVENTS, known, window.cutoff, window.horizon_days)
    now = churn.held_out_rows(pool, NO_EVENTS, known, window.cutoff, window.horizon_days)
    for size in SIZES:
        for number in range(DRAWS):
            # Customers are numbered alike in both panels: by identity, among those of the pool.
            customers = np.random.default_rng([size, number]).permutation(np.unique(now.customer))[:size]
            here, train = (some.where(np.isin(some.customer, customers)) for some in (now, everything))
            gap = _mean_gap(here)
            process = fit_process(history(_against(here, gap).values))
            yield Shop(size, _against(train, gap), _against(test, gap), process)


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
