"""How features were distributed when a model was trained: what later values are held against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from onefold.ml.features import FloatArray

BINS: Final = 10


@dataclass(frozen=True, slots=True)
class Distribution:
    """Of one feature among all customers."""

    edges: tuple[float, ...]
    """The distinct inner deciles, rising. A bin holds the values above the edge before it, up to its own."""
    shares: tuple[float, ...]
    """Of all customers per bin, one more than there are edges."""
    unknown: float
    """Share of customers for whom the feature is unknown; with ``shares`` it sums to one."""


def distributions(values: FloatArray, keys: Sequence[str]) -> dict[str, Distribution]:
    """The distribution of each column of a matrix of features (unknown is NaN)."""
    return {key: distribution(column) for key, column in zip(keys, values.T, strict=True)}


def distribution(column: FloatArray, edges: Sequence[float] | None = None) -> Distribution:
    """The distribution of values, at their own deciles or at the edges of another distribution."""
    known = column[~np.isnan(column)]
    if edges is None:
        deciles = np.quantile(known, np.arange(1, BINS) / BINS, method="inverted_cdf") if len(known) else known
        edges = tuple(np.unique(deciles).tolist())
    counts = np.bincount(np.searchsorted(edges, known, side="left"), minlength=len(edges) + 1)
    rows = max(1, len(column))
    return Distribution(tuple(edges), tuple((counts / rows).tolist()), 1.0 - len(known) / rows)
