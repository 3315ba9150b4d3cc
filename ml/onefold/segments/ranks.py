"""Where a value stands within a population: mid-ranks, and bands such as quintiles that equal values share.

The mid-rank of a value is the share of the population below it plus half the share that equals it. A band of mid-ranks
depends on nothing but the values: neither on the order of the rows nor on how ties were broken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from onefold.graph.errors import InvalidInput, Violation
from onefold.ml.features import FloatArray

QUINTILES: Final = (0.2, 0.4, 0.6, 0.8)


@dataclass(frozen=True, slots=True)
class Bands:
    """The bands of one population; they can be asked of whoever comes later, too."""

    tops: tuple[float, ...]
    """Rising: the greatest value of each band but the last; minus infinity as long as no value is so low."""

    def of(self, values: FloatArray) -> FloatArray:
        """The band of each value, from 1 for the lowest; NaN, unknown, stays so."""
        band = np.searchsorted(np.array(self.tops), values, side="left") + 1.0
        return np.where(np.isnan(values), np.nan, band)


def mid_ranks(values: FloatArray) -> FloatArray:
    """The mid-rank of each value among those known, above 0 and below 1; NaN stays NaN.

    Raises :class:`InvalidInput` for infinite values.
    """
    known = _known(values)
    distinct, place, held = np.unique(known, return_inverse=True, return_counts=True)
    ranks = np.full(len(values), np.nan)
    if len(distinct):
        ranks[~np.isnan(values)] = ((np.cumsum(held) - held / 2) / len(known))[place]
    return ranks


def bands(values: FloatArray, borders: Sequence[float] = QUINTILES) -> Bands:
    """Bands of a population by mid-rank: the first holds the mid-ranks below the first border, and so on.

    A value that so many share that its mid-rank passes a border takes all of them with it, so bands may be empty: where
    all are equal, everybody is in the middle one. Raises :class:`InvalidInput` for borders that do not rise between 0
    and 1, and for infinite values.
    """
    if list(borders) != sorted(set(borders)) or not all(0.0 < border < 1.0 for border in borders):
        raise InvalidInput([Violation("borders", "must rise, between 0 and 1")])
    ranks = mid_ranks(values)
    within = (values[ranks < border] for border in borders)
    return Bands(tuple(float(each.max()) if len(each) else -np.inf for each in within))


def _known(values: FloatArray) -> FloatArray:
    if np.isinf(values).any():
        raise InvalidInput([Violation("values", "must be finite or unknown")])
    return values[~np.isnan(values)]
