"""One model asked about any number of days ahead, so that more days never make a purchase less likely.

A model is evaluated at knots: the horizons that it learned from, and a few shorter ones. Between two knots its value
(a log-odds, the logarithm of an amount) is interpolated over the logarithm of the days; along the knots it is kept
from falling. Each answer is so a mean of the model's values at knots, with the shares that :func:`shares` gives, and
what inputs contribute to it is the same mean of what they contribute there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from onefold.graph.errors import InvalidInput, Violation
from onefold.ml.features import FloatArray
from onefold.ml.panel import IntArray

SHORT: Final = (1, 7, 14)
"""Knots before the shortest trained horizon, in days. There the model is no longer what it learned but what its
formulas make of fewer days, never above the value at the shortest horizon."""


@dataclass(frozen=True, slots=True)
class Path:
    """The model's values along the knots up to the days that were asked for."""

    knots: tuple[int, ...]
    shares: FloatArray
    """Per knot and row; those of a row sum to one."""
    value: FloatArray
    """Per row, at the days that were asked for."""


def check(asked: int, trained: Sequence[int]) -> None:
    """Raises :class:`InvalidInput` for days that a model of these horizons can't speak about."""
    if not 1 <= asked <= trained[-1]:
        raise InvalidInput(
            [Violation("horizon_days", f"must be from 1 to {trained[-1]}, the longest that the model has learned")]
        )


def path(at: Callable[[int], FloatArray], trained: Sequence[int], asked: int, sign: int = 1) -> Path:
    """The values at ``asked`` days of a model that gives a value per row ``at`` any knot and that learned from the
    horizons ``trained``, which rise. With ``sign`` 1 values never fall with the days, with -1 they never rise.

    Raises :class:`InvalidInput` for days below 1 or beyond the longest horizon.
    """
    check(asked, trained)
    knots = _knots(trained, asked)
    raw = np.array([at(knot) for knot in knots])
    chosen = _backwards(sign * raw) if asked < trained[0] else _forwards(sign * raw)
    low = max(place for place, knot in enumerate(knots) if knot <= asked)
    high = min(low + 1, len(knots) - 1)
    share = np.log(asked / knots[low]) / np.log(knots[high] / knots[low]) if high > low else 0.0
    shares, rows = np.zeros(raw.shape), np.arange(raw.shape[1])
    shares[chosen[low], rows] += 1.0 - share
    shares[chosen[high], rows] += share
    return Path(knots, shares, (shares * raw).sum(axis=0))


def _knots(trained: Sequence[int], asked: int) -> tuple[int, ...]:
    """The knots whose values matter for the days asked."""
    if asked < trained[0]:
        all_short = [*(knot for knot in SHORT if knot < trained[0]), trained[0]]
        return tuple(all_short[sum(knot <= asked for knot in all_short) - 1 :])
    beyond = [knot for knot in trained if knot > asked] if asked not in trained else []
    return (*(knot for knot in trained if knot <= asked), *beyond[:1])


def _forwards(raw: FloatArray) -> IntArray:
    """Per knot and row, the knot so far with the greatest value, the latest of equals."""
    best = np.zeros(raw.shape, dtype=np.int64)
    columns = np.arange(raw.shape[1])
    for knot in range(1, len(raw)):
        best[knot] = np.where(raw[knot] >= raw[best[knot - 1], columns], knot, best[knot - 1])
    return best


def _backwards(raw: FloatArray) -> IntArray:
    """Per knot and row, the knot from here on with the least value, the earliest of equals."""
    return np.asarray((len(raw) - 1) - _forwards(-raw[::-1])[::-1])
