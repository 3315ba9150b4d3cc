"""Training a churn model: will a customer make no purchase within the horizon?

The recipe is fitted twice. First on the snapshots whose outcome windows ended one horizon before the cutoff,
so that the last horizon is a test that nothing of the training has seen, beside baselines fitted on the same
rows. Then, for use, on all snapshots whose windows ended by the cutoff.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final

import lightgbm as lgb
import numpy as np
import pyarrow as pa

from onefold.graph.errors import InvalidInput, NotReady, Violation
from onefold.graph.model import Instant
from onefold.ml import baselines, catalogue, features, panel
from onefold.ml.features import FloatArray, Population
from onefold.ml.metrics import measure
from onefold.ml.model import ChurnModel, ModelCard, booster_from
from onefold.ml.panel import DAY, WARM_UP_DAYS, Panel

Progress = Callable[[str, float], None]
"""Told, several times a second, the stage in words and the share of the whole work that is done. What it
raises ends the training: that is how a caller cancels."""

Did = Callable[[int, int], None]
"""Told how many parts of a stage, of how many, are done."""

LONGEST_HORIZON_DAYS: Final = 365


@dataclass(frozen=True, slots=True)
class Needs:
    """The least data from which training is tried."""

    customers: int = 100
    returning: int = 30
    """Customers with a second order day."""
    each_outcome: int = 25
    """Customers who left, and who stayed, in the training windows and in the held-out one."""


NEEDS: Final = Needs()


def train(
    orders: pa.Table,
    events: pa.Table,
    *,
    cutoff: Instant,
    created_at: Instant,
    horizon_days: int = 90,
    needs: Needs = NEEDS,
    progress: Progress = lambda stage, share: None,
) -> ChurnModel:
    """A model that knows the rows before ``cutoff`` and nothing else; the same rows give the same model.

    The tables are those of :mod:`onefold.ml.columns`. Raises :class:`InvalidInput` for a horizon out of range
    or tables with other columns, and :class:`NotReady` saying all that is missing when data do not suffice.
    """
    if not 1 <= horizon_days <= LONGEST_HORIZON_DAYS:
        raise InvalidInput([Violation("horizon_days", f"must be from 1 to {LONGEST_HORIZON_DAYS}")])
    progress("measuring the population", 0.0)
    known = features.population(orders, cutoff)
    _require_history(known, cutoff, horizon_days, needs)

    held_out = cutoff - horizon_days * DAY
    rehearsal, test = split(orders, events, held_out, horizon_days, progress)
    _require_outcomes(rehearsal, test, needs)
    tried = fit(rehearsal, _part(progress, "fitting to what was known then", 0.42, 0.5))
    metrics = measure(test.churned, predict(tried, test))
    opponents = {
        "base_rate": measure(test.churned, baselines.base_rate(rehearsal, test)),
        "rfm_logistic": measure(test.churned, baselines.rfm_logistic(rehearsal, test)),
    }

    cutoffs = panel.snapshots(known, cutoff, horizon_days)
    rows = panel.build(
        orders, events, cutoffs, horizon_days, known, _part(progress, "building training rows", 0.5, 0.9)
    )
    booster = fit(rows, _part(progress, "fitting to all that is known", 0.9, 1.0))
    card = ModelCard(
        created_at=created_at,
        horizon_days=horizon_days,
        cutoff=cutoff,
        features={key: catalogue.BY_KEY[key].fingerprint for key in rows.keys},
        catalogue=catalogue.fingerprint(),
        population=known,
        rows=len(rows.churned),
        snapshots=len(rows.snapshots),
        held_out=held_out,
        metrics=metrics,
        baselines=opponents,
        data_fingerprint=features.fingerprint(orders, events, cutoff),
        versions={name: version(name) for name in ("onefold", "lightgbm", "duckdb", "numpy", "scikit-learn")},
    )
    progress("trained", 1.0)
    return ChurnModel(card, booster)


def split(
    orders: pa.Table,
    events: pa.Table,
    held_out: Instant,
    horizon_days: int,
    progress: Progress = lambda stage, share: None,
) -> tuple[Panel, Panel]:
    """The rows that could have been trained on at ``held_out``, and those of that instant to test on.

    Nothing that happened from ``held_out`` on is in the first, and only outcomes of it are in the second.
    """
    known = features.population(orders, held_out)
    cutoffs = panel.snapshots(known, held_out, horizon_days)
    did = _part(progress, "building held-out rows", 0.0, 0.4)
    train = panel.build(orders, events, cutoffs, horizon_days, known, did)
    did = _part(progress, "building held-out rows", 0.4, 0.42)
    return train, panel.build(orders, events, [held_out], horizon_days, known, did)


def _require_history(known: Population, cutoff: Instant, horizon_days: int, needs: Needs) -> None:
    days = 0 if known.first_order is None else (cutoff - known.first_order) // DAY
    days_needed = WARM_UP_DAYS + 2 * horizon_days
    _require(
        ("customers with an order", known.customers, needs.customers),
        ("customers with a second order", known.returning, needs.returning),
        ("days of history", days, days_needed),
    )


def _require_outcomes(train: Panel, test: Panel, needs: Needs) -> None:
    def customers(rows: Panel, churned: bool) -> int:
        return len(np.unique(rows.customer[rows.churned == churned]))

    _require(
        ("customers who left in the training windows", customers(train, True), needs.each_outcome),
        ("customers who stayed in the training windows", customers(train, False), needs.each_outcome),
        ("customers who left in the held-out window", customers(test, True), needs.each_outcome),
        ("customers who stayed in the held-out window", customers(test, False), needs.each_outcome),
    )


def _require(*conditions: tuple[str, int, int]) -> None:
    """Raise NotReady saying of everything that is short how much is there and how much is needed."""
    short = [f"{what}: {there} of {needed} needed" for what, there, needed in conditions if there < needed]
    if short:
        raise NotReady("churn model", "too little to learn from; " + "; ".join(short))


def _part(progress: Progress, stage: str, start: float, end: float) -> Did:
    """A callback for a stage that takes the whole work from share ``start`` to share ``end``."""
    return lambda done, of: progress(stage, start + (end - start) * done / of)


_ROUNDS: Final = 150

# Small trees on few columns at a time, well regularised: LightGBM's defaults lose to three columns and a
# logistic regression on a few thousand customers. Chosen on windows inside the training period only.
_PARAMETERS: Final[dict[str, Any]] = {
    "objective": "binary",
    "learning_rate": 0.03,
    "num_leaves": 8,
    "min_data_in_leaf": 100,
    "feature_fraction": 0.5,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "lambda_l2": 10.0,
    "max_bin": 127,
    "seed": 20111209,
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
}

_RISING: Final = frozenset({"days_since_order"})
"""Features with which the predicted risk never falls while all others stay."""


def fit(rows: Panel, did: Did = lambda done, of: None) -> lgb.Booster:
    """The recipe's trees for these rows."""
    data = lgb.Dataset(
        rows.values,
        label=rows.churned.astype(np.float64),
        weight=rows.weight * (len(rows.weight) / rows.weight.sum()),
        feature_name=list(rows.keys),
    )
    parameters = {**_PARAMETERS, "monotone_constraints": [int(key in _RISING) for key in rows.keys]}
    trained = lgb.train(
        parameters,
        data,
        num_boost_round=_ROUNDS,
        callbacks=[lambda round_: did(round_.iteration + 1, _ROUNDS)],
    )
    # What is served is what is stored: the trees as their text says them.
    return booster_from(trained.model_to_string())


def predict(booster: lgb.Booster, rows: Panel) -> FloatArray:
    """The probability to churn, per row."""
    return np.asarray(booster.predict(rows.values, num_threads=1), dtype=np.float64)
