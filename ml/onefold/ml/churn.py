"""Training: one model of churn, value and the next order, for all horizons up to the longest.

The recipe is fitted twice. First on the snapshots whose outcome windows ended one horizon before the cutoff, so that
the last horizon is a test that nothing of the training has seen, beside baselines fitted on the same rows. Then, for
use, on all snapshots whose windows ended by the cutoff.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any, Final

import numpy as np
import pyarrow as pa
from threadpoolctl import threadpool_limits

from onefold.graph.errors import InvalidInput, NotReady, Violation
from onefold.graph.model import Instant
from onefold.ml import backtest, catalogue, drift, features, gates, lift, next_products, panel, predict, recipe
from onefold.ml.backtest import Outcome
from onefold.ml.challenge import Champion, challenge
from onefold.ml.features import FloatArray, Population
from onefold.ml.gates import NEEDS, Gate, Needs
from onefold.ml.inputs import ALL_KEYS, history, inputs
from onefold.ml.mbgnbd import fit as fit_process
from onefold.ml.model import ModelCard, PredictionModel, Rehearsal
from onefold.ml.next_products import NextProducts
from onefold.ml.panel import DAY, KEYS, Panel, PartitionAt
from onefold.ml.recipe import Parts
from onefold.ml.trees import Did

Progress = Callable[[str, float], None]
"""Told, several times a second, the stage in words and the share of the whole work that is done. What it
raises ends the training: that is how a caller cancels."""

LONGEST_HORIZON_DAYS: Final = 365

REHEARSAL_ROWS: Final = panel.MAX_ROWS // 2
"""The back-test of a base so large that its rows are thinned learns from half as many as the model itself. It takes
half the time, and errs to the modest side."""

_EXPLAINED_CUSTOMERS: Final = 2_000
"""Customers at most whose contributions the importance of a feature is the mean of."""


@contextmanager
def _one_thread() -> Iterator[None]:
    """Linear algebra on one thread. Its matrices are tall and narrow: threads wait for each other far longer than they
    work, and how many there are would show in the last digits of a model."""
    with threadpool_limits(1, user_api="blas"):
        yield


@_one_thread()
def train(
    orders: pa.Table,
    events: pa.Table,
    *,
    cutoff: Instant,
    created_at: Instant,
    horizon_days: int = 90,
    needs: Needs = NEEDS,
    progress: Progress = lambda stage, share: None,
    partition_at: PartitionAt | None = None,
    lines: pa.Table | None = None,
    champion: Champion | None = None,
) -> PredictionModel:
    """A model that knows the rows before ``cutoff`` and nothing else; the same rows give the same model.

    The tables are those of :mod:`onefold.ml.columns`. ``horizon_days`` is the longest that it will answer for. With
    ``partition_at`` it learns from people as they were known at each snapshot, so that no later merge leaks in. With
    ``lines`` it also says what may be bought next. With the ``champion``, the model in use, the card says how the two
    compare, and whether the new one should take its place. Raises
    :class:`InvalidInput` for a horizon out of range or tables with other columns, and :class:`NotReady` saying all
    that is missing when data do not suffice, or that the model would be of no use.
    """
    check_horizon(horizon_days)
    progress("measuring the population", 0.0)
    known = features.population(orders, cutoff)
    conditions = gates.of_population(known, cutoff, horizon_days, needs)
    gates.require(conditions)

    held_out = cutoff - horizon_days * DAY
    rehearsal, test = split(orders, events, held_out, horizon_days, progress, REHEARSAL_ROWS, partition_at)
    conditions += gates.of_outcomes(rehearsal.where(rehearsal.horizon == horizon_days), test, needs)
    gates.require(conditions)
    trained = panel.horizons(horizon_days)
    did = _part(progress, "fitting to what was known then", 0.27, 0.5)
    outcome = backtest.run(rehearsal, test, conditions, trained, did)
    met = challenge(
        champion,
        outcome.rates,
        test,
        held_out,
        horizon_days,
        lambda other: held_out_rows(orders, events, other, held_out, horizon_days, partition_at=partition_at),
    )

    did = _part(progress, "building training rows", 0.5, 0.75)
    rows = training_rows(orders, events, known, cutoff, horizon_days, did, partition_at=partition_at)
    now = features.matrix(features.compute(orders, events, cutoff, known), KEYS)
    did = _part(progress, "fitting to all that is known", 0.75, 0.99)
    parts = recipe.fit(rows, fit_process(history(now)), outcome.kind, did)
    progress("describing the model", 0.99)
    card = ModelCard(
        created_at=created_at,
        horizon_days=horizon_days,
        horizons=trained,
        cutoff=cutoff,
        held_out=held_out,
        data_fingerprint=features.fingerprint(orders, events, cutoff),
        reliability=lift.reliability(test.churned, outcome.rates),
        lift=lift.lift(test.churned, outcome.rates),
        challenge=met,
        **_described(rows, now, known, conditions, outcome, parts, cutoff),
    )
    tried = Rehearsal(features.population(orders, held_out), outcome.parts.process, outcome.parts.churn)
    products = None if lines is None else _products(lines, cutoff)
    progress("trained", 1.0)
    return PredictionModel(card, parts, tried, products)


def _products(lines: pa.Table, cutoff: Instant) -> NextProducts | None:
    try:
        return next_products.fit(lines, cutoff)
    except NotReady:  # nobody's order has lines
        return None


def check_horizon(horizon_days: int) -> None:
    """Raises :class:`InvalidInput` for a horizon that no model can have."""
    if not 1 <= horizon_days <= LONGEST_HORIZON_DAYS:
        raise InvalidInput([Violation("horizon_days", f"must be from 1 to {LONGEST_HORIZON_DAYS}")])


def split(
    orders: pa.Table,
    events: pa.Table,
    held_out: Instant,
    horizon_days: int,
    progress: Progress = lambda stage, share: None,
    max_rows: int = panel.MAX_ROWS,
    partition_at: PartitionAt | None = None,
) -> tuple[Panel, Panel]:
    """The rows that could have been trained on at ``held_out``, and those of that instant to test on.

    Nothing that happened from ``held_out`` on is in the first, and only outcomes of it are in the second.
    """
    known = features.population(orders, held_out)
    did = _part(progress, "building held-out rows", 0.0, 0.25)
    train = training_rows(orders, events, known, held_out, horizon_days, did, max_rows, partition_at)
    did = _part(progress, "building held-out rows", 0.25, 0.27)
    return train, held_out_rows(orders, events, known, held_out, horizon_days, did, partition_at)


def training_rows(
    orders: pa.Table,
    events: pa.Table,
    known: Population,
    until: Instant,
    horizon_days: int,
    did: Did = lambda done, of: None,
    max_rows: int = panel.MAX_ROWS,
    partition_at: PartitionAt | None = None,
) -> Panel:
    """All rows for all horizons that a model may learn from at ``until``."""
    cutoffs = panel.snapshots(known, until, horizon_days)
    return panel.build(orders, events, cutoffs, panel.horizons(horizon_days), until, known, did, max_rows, partition_at)


def held_out_rows(
    orders: pa.Table,
    events: pa.Table,
    known: Population,
    held_out: Instant,
    horizon_days: int,
    did: Did = lambda done, of: None,
    partition_at: PartitionAt | None = None,
) -> Panel:
    """Everybody at ``held_out``, with what they did in the horizon after it."""
    return panel.build(
        orders, events, [held_out], [horizon_days], held_out + horizon_days * DAY, known, did, partition_at=partition_at
    )


def _described(
    rows: Panel,
    now: FloatArray,
    known: Population,
    conditions: tuple[Gate, ...],
    outcome: Outcome,
    parts: Parts,
    cutoff: Instant,
) -> dict[str, Any]:
    horizons = panel.horizons(int(rows.horizon.max()))
    scores = predict.probability(predict.churn(parts, now, horizons, horizons[-1]).value)
    return {
        "kind": outcome.kind,
        "choice": outcome.choice,
        "gates": conditions,
        "features": {key: catalogue.BY_KEY[key].fingerprint for key in KEYS},
        "catalogue": catalogue.fingerprint(),
        "population": known,
        "rows": len(rows.churned),
        "snapshots": len(rows.snapshots),
        "period": (known.first_order, cutoff),
        "metrics": outcome.metrics,
        "baselines": outcome.baselines,
        "measured": outcome.measured,
        "importance": importance(parts, now, float(rows.horizon.max())),
        "reference": drift.references(KEYS, now),
        "score_reference": drift.reference(scores),
        "versions": {name: version(name) for name in ("onefold", "lightgbm", "duckdb", "numpy", "scikit-learn")},
    }


def importance(parts: Parts, values: FloatArray, horizon: float) -> dict[str, float]:
    """The mean absolute contribution to the log-odds of churn of each input that has any, the greatest first; of every
    so many of the customers if there are many."""
    some = values[:: -(-len(values) // _EXPLAINED_CUSTOMERS)]
    _, added = parts.churn.contributions(inputs(parts.process, some, horizon))
    found = zip(ALL_KEYS, np.abs(added).mean(axis=0).tolist(), strict=True)
    return dict(sorted(((key, value) for key, value in found if value), key=lambda item: (-item[1], item[0])))


def _part(progress: Progress, stage: str, start: float, end: float) -> Did:
    """A callback for a stage that takes the whole work from share ``start`` to share ``end``."""
    return lambda done, of: progress(stage, start + (end - start) * done / of)
