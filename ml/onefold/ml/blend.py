"""A linear model and boosted trees that add up to one value, and what each input adds to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import lightgbm as lgb

from onefold.ml import trees
from onefold.ml.features import FloatArray
from onefold.ml.linear import Linear

SHARE: Final = 0.5
"""What each booster counts for. The first boosts what the linear model leaves over, the second starts from nothing:
½ (linear + first) + ½ second. A mean of log-odds, or of the logarithms of amounts."""


@dataclass(frozen=True, slots=True)
class Blend:
    """Its value is ``linear + SHARE · Σ boosters``, on the scale of the link."""

    linear: Linear
    boosters: tuple[lgb.Booster, ...]

    def predict(self, inputs: FloatArray) -> FloatArray:
        """Its value for each row of :func:`onefold.ml.inputs.inputs`."""
        value = self.linear.predict(inputs)
        for booster in self.boosters:
            value = value + SHARE * trees.predict(booster, inputs)
        return value

    def contributions(self, inputs: FloatArray) -> tuple[float, FloatArray]:
        """The constant, and what each input adds to it: linear terms and TreeSHAP. Their sum is :meth:`predict`."""
        constant, added = self.linear.intercept, self.linear.contributions(inputs)
        for booster in self.boosters:
            shap = trees.contributions(booster, inputs)
            constant += SHARE * float(shap[0, -1]) if len(shap) else 0.0
            added = added + SHARE * shap[:, :-1]
        return constant, added


def halved(linear: Linear, residual: lgb.Booster, free: lgb.Booster) -> Blend:
    """The mean of (the linear model and the booster of what it leaves over) and of the free booster."""
    return Blend(linear.times(SHARE), (residual, free))
