"""Figures made comparable: mean zero and deviation one, on a log scale where a few are far above the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from onefold.graph.errors import InvalidInput, Violation
from onefold.ml.features import FloatArray

SKEWED_FROM: Final = 2.0
"""From this skewness on, that of an exponential distribution, what is never negative is put on a log scale."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How one figure is standardised. It is kept, so that whoever comes later is measured by the same."""

    is_log: bool
    """Whether it is ``log(1 + value)`` that has mean zero and deviation one."""
    mean: float
    deviation: float

    def standard(self, values: FloatArray) -> FloatArray:
        """The values standardised; NaN, unknown, stays so."""
        return np.asarray((_bent(values, self.is_log) - self.mean) / self.deviation)


def scale(values: FloatArray) -> Scale:
    """The scale of a figure, from those that are known; one that hardly varies keeps its own deviation of one.

    Raises :class:`InvalidInput` for infinite values.
    """
    if np.isinf(values).any():
        raise InvalidInput([Violation("values", "must be finite or unknown")])
    # Sorted, so that the sums do not depend on the order of the rows.
    known = np.sort(values[~np.isnan(values)])
    if not len(known):
        return Scale(False, 0.0, 1.0)
    is_log = bool(known[0] >= 0.0 and _skewness(known) > SKEWED_FROM)
    bent = _bent(known, is_log)
    mean, deviation = float(bent.mean()), float(bent.std())
    return Scale(is_log, mean, deviation if deviation > 1e-9 * max(1.0, abs(mean)) else 1.0)


def _bent(values: FloatArray, is_log: bool) -> FloatArray:
    return np.log1p(np.maximum(values, 0.0)) if is_log else values


def _skewness(known: FloatArray) -> float:
    centred = known - known.mean()
    deviation = known.std()
    return float((centred**3).mean() / deviation**3) if deviation > 1e-9 * max(1.0, float(abs(known).max())) else 0.0
