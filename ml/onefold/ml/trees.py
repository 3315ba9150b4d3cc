"""Boosted trees (LightGBM): how they are fitted, stored and read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import lightgbm as lgb
import numpy as np

from onefold.ml.features import FloatArray
from onefold.ml.inputs import ALL_KEYS

Did = Callable[[int, int], None]
"""Told how many parts of a stage, of how many, are done. What it raises ends the work."""

ROUNDS: Final = 150

# Small trees on few columns at a time, well regularised: LightGBM's defaults lose to three columns and a logistic
# regression on a few thousand customers.
PARAMETERS: Final[dict[str, Any]] = {
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

_ONE_THREAD_ROWS: Final = 256
"""Up to here, starting threads costs more than they save (one row: five times as much)."""


def dataset(inputs: FloatArray, weight: FloatArray) -> lgb.Dataset:
    """The rows, binned once for all the boosters that are fitted to them."""
    return lgb.Dataset(
        inputs,
        weight=weight * (len(weight) / weight.sum()),
        feature_name=list(ALL_KEYS),
        params={key: PARAMETERS[key] for key in ("max_bin", "min_data_in_leaf", "verbosity", "num_threads", "seed")},
        free_raw_data=False,
    )


def fit(
    data: lgb.Dataset,
    label: FloatArray,
    *,
    start: FloatArray | None = None,
    rising: Sequence[str] = (),
    falling: Sequence[str] = (),
    did: Did = lambda done, of: None,
    **parameters: object,
) -> lgb.Booster:
    """Trees for these rows, from ``start`` (a raw value per row) or from the best constant on.

    With an input of ``rising`` the raw value never falls while all others stay, with one of ``falling`` it never rises.
    """
    data.construct()
    data.set_label(label)
    # `set_init_score(None)` would leave the start of the booster before.
    data.set_field("init_score", start)
    directions = [int(key in rising) - int(key in falling) for key in ALL_KEYS]
    constrained = {"monotone_constraints": directions} if any(directions) else {}
    trained = lgb.train(
        {**PARAMETERS, **constrained, **parameters},
        data,
        num_boost_round=ROUNDS,
        callbacks=[lambda round_: did(round_.iteration + 1, ROUNDS)],
    )
    # What is served is what is stored: the trees as their text says them.
    return read(text(trained))


def text(booster: lgb.Booster) -> str:
    """The trees in LightGBM's own format; the same data give the same text."""
    return str(booster.model_to_string(num_iteration=-1))


def read(written: str) -> lgb.Booster:
    """The trees of :func:`text`. Raises :class:`lightgbm.basic.LightGBMError` on anything else."""
    return lgb.Booster(model_str=written)


def predict(booster: lgb.Booster, inputs: FloatArray) -> FloatArray:
    """The raw value of each row of inputs."""
    return _run(booster, inputs, raw_score=True)


def contributions(booster: lgb.Booster, inputs: FloatArray) -> FloatArray:
    """What each input adds to the raw value (TreeSHAP), and in a last column the constant they start from."""
    return _run(booster, inputs, pred_contrib=True)


def _run(booster: lgb.Booster, inputs: FloatArray, **what: bool) -> FloatArray:
    if not len(inputs):
        return np.empty((0, inputs.shape[1] + 1) if "pred_contrib" in what else 0)
    threads = 1 if len(inputs) <= _ONE_THREAD_ROWS else 0
    return np.asarray(booster.predict(inputs, num_threads=threads, **what), dtype=np.float64)
