"""Drift: how far what is scored now has moved from what a model was trained on.

The population stability index over the reference's quantile bins: Σ (now − then) · ln(now ÷ then) over the shares of
the bins. Its usual levels, 0.1 and 0.25, are those of credit scoring (Siddiqi, "Credit Risk Scorecards", Wiley, 2006);
what the index is and how it varies by chance: Yurdakul and Naranjo, "Statistical properties of the population
stability index", Journal of Risk Model Validation 14(4), 2020.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

from onefold.graph.errors import InvalidInput, Violation
from onefold.ml.features import FloatArray

BINS: Final = 10
MOVED_FROM: Final = 0.1
SHIFTED_FROM: Final = 0.25


class Level(StrEnum):
    """An index in a word."""

    STABLE = "stable"
    """Below 0.1: no action."""
    MOVED = "moved"
    """From 0.1 to 0.25: look at what has changed."""
    SHIFTED = "shifted"
    """Above 0.25: what the model says was learned on other customers; train again."""
    UNKNOWN = "unknown"
    """One of the two sides has no rows."""


@dataclass(frozen=True, slots=True)
class Reference:
    """How one column was spread over the rows of training."""

    rows: int
    edges: tuple[float, ...]
    """Rising; bin ``k`` holds the values above edge ``k - 1`` up to edge ``k``, the last one those above all. The first
    edge is just below the least value, so that what falls below it has a bin of its own."""
    shares: tuple[float, ...]
    """Of the bins, and last that of the rows where the value is unknown; they sum to 1, or are 0 without rows."""


@dataclass(frozen=True, slots=True)
class Drift:
    """How far one column has moved."""

    index: float | None
    """The population stability index; 0 for the same spread, None where a side has no rows."""
    level: Level
    shares: tuple[float, ...]
    """Now, in the bins of the reference."""
    rows: int


def reference(values: FloatArray, bins: int = BINS) -> Reference:
    """The spread of a column in at most ``bins`` bins of about equal shares; NaN is unknown.

    Values that many rows share make fewer bins: one for a constant, and those below and above it.
    Raises :class:`InvalidInput` for infinite values or fewer than two bins.
    """
    if bins < 2:
        raise InvalidInput([Violation("bins", "must be at least 2")])
    known = _known(values)
    edges: tuple[float, ...] = ()
    if len(known):
        inner = np.quantile(known, np.linspace(0.0, 1.0, bins + 1)[1:-1], method="inverted_cdf")
        edges = (float(np.nextafter(known.min(), -np.inf)), *np.unique(inner).tolist())
    return Reference(len(values), edges, _shares(values, edges))


def drift(before: Reference, values: FloatArray) -> Drift:
    """How far a column has moved from its reference.

    Every bin counts half a row more on each side, so that one which was or has become empty gives a large index and
    not an infinite one. Raises :class:`InvalidInput` for infinite values.
    """
    shares = _shares(values, before.edges)
    if not before.rows or not len(values):
        return Drift(None, Level.UNKNOWN, shares, len(values))
    then, now = _smoothed(before.shares, before.rows), _smoothed(shares, len(values))
    index = float(((now - then) * np.log(now / then)).sum())
    return Drift(index, level(index), shares, len(values))


def references(keys: Sequence[str], values: FloatArray, bins: int = BINS) -> dict[str, Reference]:
    """The spread of each column of a matrix, as :func:`reference` gives it, by its key."""
    return {key: reference(column, bins) for key, column in zip(keys, values.T, strict=True)}


def drifts(before: Mapping[str, Reference], keys: Sequence[str], values: FloatArray) -> dict[str, Drift]:
    """How far each column of a matrix has moved, the farthest first; for scores, a column of their own.

    Raises :class:`InvalidInput` for a key without reference, and as :func:`drift` does.
    """
    missing = [Violation(key, "has no reference") for key in keys if key not in before]
    if missing:
        raise InvalidInput(missing)
    found = [(key, drift(before[key], column)) for key, column in zip(keys, values.T, strict=True)]
    return dict(sorted(found, key=lambda pair: -1.0 if pair[1].index is None else pair[1].index, reverse=True))


def level(index: float) -> Level:
    """The level of an index in a word."""
    if index < MOVED_FROM:
        return Level.STABLE
    return Level.MOVED if index <= SHIFTED_FROM else Level.SHIFTED


def _known(values: FloatArray) -> FloatArray:
    if np.isinf(values).any():
        raise InvalidInput([Violation("values", "must be finite or unknown")])
    return values[~np.isnan(values)]


def _shares(values: FloatArray, edges: tuple[float, ...]) -> tuple[float, ...]:
    known = _known(values)
    bins = np.bincount(np.searchsorted(np.array(edges), known, side="left"), minlength=len(edges) + 1)
    counts = np.append(bins, len(values) - len(known))
    return tuple((counts / max(len(values), 1)).tolist())


def _smoothed(shares: Sequence[float], rows: int) -> FloatArray:
    counts = np.array(shares) * rows + 0.5
    return np.asarray(counts / counts.sum(), dtype=np.float64)
