"""Lift and reliability: what ranking by a score gains, and whether a probability means what it says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from onefold.graph.errors import InvalidInput, Violation
from onefold.ml.features import FloatArray

TENTHS: Final = 10
_Z_95: Final = 1.959963984540054
"""The 97.5th percentile of the standard normal."""


@dataclass(frozen=True, slots=True)
class Tenth:
    """One of the equal parts of all rows, ranked by score from the highest down."""

    rows: int
    happened: int
    lowest_score: float
    rate: float
    """Share of its rows for which it came true."""
    lift: float
    """That rate ÷ the rate of all rows."""
    gain: float
    """Share of all that came true that is in this part and those above."""
    population: float
    """Share of all rows that is in this part and those above."""


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Rows of about the same predicted probability."""

    rows: int
    predicted: float
    """Mean predicted probability."""
    observed: float
    """Share that came true."""
    low: float
    """95 % Wilson interval of the share that came true."""
    high: float


def lift(happened: npt.NDArray[np.bool_], score: FloatArray, parts: int = TENTHS) -> tuple[Tenth, ...]:
    """Lift and cumulative gain by tenth, highest scores first; sizes differ by one row at most.

    Equal scores that a border would split are shared out in the proportion of what came true among them, so that the
    order of the rows says nothing; ``happened`` of a part is then rounded. Fewer rows than parts make as many parts as
    rows; no rows, or nothing that came true, make none. Raises :class:`InvalidInput` for arrays of other lengths,
    scores that are not finite, or no parts.
    """
    _check(happened, score)
    if parts < 1:
        raise InvalidInput([Violation("parts", "must be at least 1")])
    rows, all_happened = len(score), int(happened.sum())
    if not all_happened:
        return ()
    order = np.argsort(-score, kind="stable")
    ranked, came_true = score[order], _shared_out(score[order], happened[order])
    borders = np.linspace(0, rows, min(parts, rows) + 1).round().astype(np.int64)
    base = all_happened / rows
    cumulated = np.concatenate([[0.0], np.cumsum(came_true)])
    return tuple(
        Tenth(
            rows=end - start,
            happened=round(cumulated[end] - cumulated[start]),
            lowest_score=float(ranked[end - 1]),
            rate=float(cumulated[end] - cumulated[start]) / (end - start),
            lift=float(cumulated[end] - cumulated[start]) / (end - start) / base,
            gain=float(cumulated[end]) / all_happened,
            population=end / rows,
        )
        for start, end in zip(borders[:-1].tolist(), borders[1:].tolist(), strict=True)
    )


def reliability(
    happened: npt.NDArray[np.bool_], probability: FloatArray, bins: int = TENTHS
) -> tuple[ReliabilityBin, ...]:
    """Predicted against observed in bins of about equal size, lowest probability first.

    Rows of equal probability are in one bin, so there may be fewer. Raises :class:`InvalidInput` for arrays of other
    lengths, probabilities outside [0, 1], or no bins.
    """
    _check(happened, probability)
    if bins < 1:
        raise InvalidInput([Violation("bins", "must be at least 1")])
    if ((probability < 0) | (probability > 1)).any():
        raise InvalidInput([Violation("probability", "must be from 0 to 1")])
    if not len(probability):
        return ()
    edges = np.unique(np.quantile(probability, np.linspace(0.0, 1.0, bins + 1)[1:], method="inverted_cdf"))
    bin_of = np.searchsorted(edges, probability, side="left")
    rows = np.bincount(bin_of, minlength=len(edges))
    promised = np.bincount(bin_of, weights=probability, minlength=len(edges))
    came_true = np.bincount(bin_of[happened], minlength=len(edges))
    return tuple(
        ReliabilityBin(int(n), float(p / n), float(k / n), *wilson(int(k), int(n)))
        for n, p, k in zip(rows, promised, came_true, strict=True)
    )


def wilson(happened: int, rows: int) -> tuple[float, float]:
    """The 95 % score interval of a share; (0, 1) without rows.

    Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22, 1927. It stays within
    [0, 1] and does not shrink to nothing where all or none came true. Raises :class:`InvalidInput` for impossible
    counts.
    """
    if not 0 <= happened <= rows:
        raise InvalidInput([Violation("happened", "must be from 0 to the rows")])
    if not rows:
        return 0.0, 1.0
    share, z2 = happened / rows, _Z_95**2
    middle = (share + z2 / (2 * rows)) / (1 + z2 / rows)
    half = _Z_95 / (1 + z2 / rows) * ((share * (1 - share) + z2 / (4 * rows)) / rows) ** 0.5
    # Rounding must not put the bound beside a share of exactly 0 or 1.
    return (0.0 if happened == 0 else middle - half), (1.0 if happened == rows else middle + half)


def _check(happened: npt.NDArray[np.bool_], score: FloatArray) -> None:
    if happened.shape != score.shape or score.ndim != 1:
        raise InvalidInput([Violation("score", "must have one value per outcome")])
    if not np.isfinite(score).all():
        raise InvalidInput([Violation("score", "must be finite")])


def _shared_out(ranked: FloatArray, happened: npt.NDArray[np.bool_]) -> FloatArray:
    """What came true, spread evenly over the rows of one score."""
    begins = np.concatenate([[True], ranked[1:] != ranked[:-1]])
    group = np.cumsum(begins) - 1
    share = np.bincount(group, weights=happened) / np.bincount(group)
    return np.asarray(share[group], dtype=np.float64)
