"""Order histories for tests: tables by hand, and a seeded shop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

from onefold.graph.model import Instant
from onefold.ml import churn, columns, features, recipe
from onefold.ml.inputs import history
from onefold.ml.mbgnbd import fit
from onefold.ml.model import PredictionModel, Rehearsal
from onefold.ml.panel import KEYS

DAY = 86_400_000
START: Instant = 15_000 * DAY
END: Instant = START + 300 * DAY
"""The seeded shop's opening, and the end of its books."""

HORIZON_DAYS = 60


def order(identity: str, at: Instant, total: int = 10_000_000, **other: Any) -> dict[str, Any]:
    return {
        "identity": identity,
        "record": f"customer:{identity}",
        "order": f"{identity}-{at}",
        "placed_at": at,
        "currency": "GBP",
        "total": total,
        "refunds": [],
        "lines": 1,
        "units": 1,
        "products": 1,
        "status": "paid",
        "channel": "web",
        "has_coupon": False,
        **other,
    }


def event(identity: str, at: Instant, type_: str = "view") -> dict[str, Any]:
    return {"identity": identity, "record": f"customer:{identity}", "type": type_, "at": at, "channel": "web"}


def orders_table(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=columns.ORDERS)


def events_table(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=columns.EVENTS)


NO_EVENTS = events_table([])


def row_of(features: pa.Table, identity: str) -> Mapping[str, float | None]:
    return next(row for row in features.to_pylist() if row["identity"] == identity)


@cache
def shop(customers: int = 400, seed: int = 7) -> tuple[pa.Table, pa.Table]:
    """Orders and events of a shop from START to END; everyone buys at a pace of their own, then leaves."""
    random = np.random.default_rng(seed)
    orders, events = [], []
    for number in range(customers):
        identity = f"id-{number:04d}"
        at = START + int(random.uniform(0, 240) * DAY)
        pace, spend = random.gamma(3.0, 8.0) + 3, random.lognormal(3.0, 0.7)
        while at < END:
            total = int(spend * random.uniform(0.6, 1.4) * 100) * 10_000
            lines = int(random.integers(1, 9))
            refunds = [{"at": at + 3 * DAY, "amount": total // 4}] if random.random() < 0.1 else []
            orders.append(order(identity, at, total, lines=lines, units=2 * lines, refunds=refunds))
            events.append(event(identity, at - DAY // 2, "product_view"))
            if random.random() < 0.2:
                break
            at += int(random.exponential(pace) * DAY)
    return orders_table(orders), events_table(events)


@cache
def small() -> PredictionModel:
    """The model that the seeded shop's few customers get."""
    orders, events = shop()
    return churn.train(orders, events, cutoff=END, created_at=END, horizon_days=HORIZON_DAYS)


@cache
def trained() -> PredictionModel:
    """A full model of the seeded shop, which real data of its size would not get."""
    orders, events = shop()
    known = features.population(orders, END)
    rows = churn.training_rows(orders, events, known, END, HORIZON_DAYS)
    now = features.matrix(features.compute(orders, events, END, known), KEYS)
    parts = recipe.fit(rows, fit(history(now)), "full")
    card = replace(small().card, kind="full", importance=churn.importance(parts, now, HORIZON_DAYS))
    return PredictionModel(card, parts, Rehearsal(known, parts.process, parts.churn))
