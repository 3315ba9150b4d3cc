"""``python -m tests.bench_ml.earlier``: the models for small shops that were in the running (ADR 21), on windows that
ended before those of the bench begin. The bench's own windows have no part in the choice."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from onefold.ml import churn, features, recipe
from onefold.ml.blend import Blend
from onefold.ml.inputs import inputs
from onefold.ml.linear import TERMS, fit_logistic
from onefold.ml.panel import Panel
from tests.bench_ml import small, sources
from tests.bench_ml.small import Draw, Shop
from tests.bench_ml.windows import Window, day
from tests.histories import NO_EVENTS

RETAIL_2011 = {
    30: ((3, 5), (4, 15), (5, 20), (7, 10)),
    45: ((4, 5), (5, 5), (6, 5), (6, 25)),
    60: ((5, 1), (5, 20), (6, 10)),
}
CDNOW_1997 = {30: ((5, 1), (11, 1)), 60: ((6, 1), (8, 1), (11, 1)), 90: ((8, 1), (10, 1))}
"""By horizon in days: months and days of the cutoffs."""

ASKED = 3_500
"""Customers of a window at most that shops are asked about."""

RFM = ("log days since order", "log orders", "log spend", "log horizon")
TENURE = "log days since first order"
PROCESS = "logit no purchase"


def main() -> None:
    """Print every candidate's figures over all draws."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench_ml.earlier", description=__doc__)
    parser.add_argument(
        "retail", nargs="?", type=Path, default=sources.RETAIL, help="Online Retail as CSV, packed or not"
    )
    found: dict[str, list[list[Draw]]] = {}
    for source, orders, year, cutoffs in (
        ("retail", sources.online_retail(parser.parse_args().retail), 2011, RETAIL_2011),
        ("cdnow", sources.cdnow(), 1997, CDNOW_1997),
    ):
        for horizon, days in cutoffs.items():
            for month, of_month in days:
                window = Window(f"{source}{horizon}", source, day(year, month, of_month), horizon)
                for name, draws in measure(window, orders).items():
                    found.setdefault(name, []).append(draws)
                print(window.name, month, of_month, flush=True)
    for name, windows in found.items():
        print(_line(name, [draw for window in windows for draw in window]))


def measure(window: Window, orders: pa.Table) -> Mapping[str, list[Draw]]:
    """The draws of a window by candidate."""
    test = churn.held_out_rows(
        orders, NO_EVENTS, features.population(orders, window.cutoff), window.cutoff, window.horizon_days
    )
    found: dict[str, list[Draw]] = {}
    for shop in small.shops(window, orders, _some(test)):
        if min(shop.alike.churned.sum(), (~shop.alike.churned).sum()) >= 3:
            for name, blend in candidates(shop):
                found.setdefault(name, []).append(small.draw(shop, shop.told(blend)))
    return found


def candidates(shop: Shop) -> Iterable[tuple[str, Blend]]:
    """Every model that was in the running."""
    rows = shop.train
    known = inputs(shop.process, rows.values, rows.horizon)
    for words, names, strength in (
        ("all terms", tuple(TERMS), 100.0),
        ("recency, orders, spend, horizon", RFM, 10.0),
        ("recency, orders, spend, horizon", RFM, 30.0),
        ("recency, orders, tenure, horizon", (*(name for name in RFM if name != "log spend"), TENURE), 10.0),
        ("recency, orders, spend, tenure, horizon", (*RFM, TENURE), 10.0),
    ):
        logistic = fit_logistic(known, rows.churned, rows.weight, names=names, strength=strength)
        yield f"mean with MBG/NBD: {words}; ridge {strength:.0f}", recipe.with_process(logistic)
    for strength in (10.0, 30.0):
        logistic = fit_logistic(known, rows.churned, rows.weight, names=(*RFM, PROCESS), strength=strength)
        yield f"one logistic: recency, orders, spend, horizon, MBG/NBD; ridge {strength:.0f}", Blend(logistic, ())


def _some(test: Panel) -> Panel:
    chosen = np.zeros(len(test.churned), dtype=bool)
    chosen[np.random.default_rng(5).permutation(len(chosen))[:ASKED]] = True
    return test.where(chosen)


def _line(name: str, draws: list[Draw]) -> str:
    apart = np.array([draw.ours - min(draw.rfm_logistic, draw.mbg_nbd) for draw in draws])
    ours, rfm, mbg = (np.mean([getattr(d, of) for d in draws]) for of in ("ours", "rfm_logistic", "mbg_nbd"))
    return (
        f"{name}: {(apart > 0.01).sum()} of {len(draws)} draws worse by more than .01 ({(apart > 0.01).mean():.1%}), "
        f"worst {apart.max():+.4f}; mean log loss {ours:.5f} (RFM logistic {rfm:.5f}, MBG/NBD {mbg:.5f})"
    )


if __name__ == "__main__":
    main()
