"""A comparable group: people outside a group, weighed so that together they are as the group was before.

How likely each person was to be in the group, given all that was known before (the propensity), is estimated by a ridge
logistic regression; people of about the same propensity make a stratum, and within a stratum those outside stand for
those inside (Rosenbaum and Rubin, "Reducing bias in observational studies using subclassification on the propensity
score", JASA 79, 1984). How alike the two sides have become is said by feature, as a standardised difference of means.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from onefold.ml.features import FloatArray
from onefold.ml.panel import BoolArray, IntArray
from onefold.segments import standard
from onefold.segments.encode import Term

MOST_STRATA: Final = 100
"""Five take away nine tenths of the bias, more of them more of it, as long as both sides are in each."""

PEOPLE_A_STRATUM: Final = 20
"""Of the group, where it is not so large that these would be too many strata."""

FEWEST: Final = 5
"""People of either side that a stratum needs: a variance is estimated in each."""

BALANCED_UP_TO: Final = 0.1
"""Standardised difference of means up to which a feature counts as alike (Austin, Statistics in Medicine 28, 2009)."""

_STRENGTH: Final = 10.0
"""Of the ridge penalty, against a sum over people."""

_ALONE: Final = -1


@dataclass(frozen=True, slots=True)
class Balance:
    """How alike the two sides are in one figure, in deviations."""

    term: str
    before: float
    """The group's mean less that of all others."""
    after: float
    """The group's mean less that of the comparable group."""
    defines: bool
    """Whether the group is defined by it: then it can't be made alike, and what it does by itself is in the effect."""

    @property
    def is_alike(self) -> bool:
        """Whether what is left is small."""
        return abs(self.after) <= BALANCED_UP_TO


def design(values: FloatArray, terms: Sequence[Term]) -> tuple[FloatArray, list[str], list[Term]]:
    """The numbers standardised, unknown as the mean, each followed by whether it is known if that differs; the names of
    these columns, and the terms that they come from."""
    columns, names, of = [], [], []
    for column, term in zip(values.T, terms, strict=True):
        unknown = np.isnan(column)
        columns.append(np.nan_to_num(standard.scale(column).standard(column)))
        names.append(str(term))
        of.append(term)
        if unknown.any() and not unknown.all():
            known = (~unknown).astype(np.float64)
            columns.append((known - known.mean()) / known.std())
            names.append(f"{term} is known")
            of.append(term)
    return (np.column_stack(columns) if columns else np.empty((len(values), 0))), names, of


def strata(member: BoolArray, columns: FloatArray) -> IntArray:
    """The stratum of each person by propensity; -1 of whom nobody comparable is on the other side."""
    if not columns.shape[1]:
        return np.zeros(len(member), dtype=np.int64)
    # One thread: more of them add up in another order.
    with threadpool_limits(1):
        model = LogisticRegression(C=1.0 / _STRENGTH, solver="newton-cholesky", tol=1e-8).fit(columns, member)
        propensity = np.asarray(model.decision_function(columns), dtype=np.float64)
    count = min(MOST_STRATA, int(member.sum()) // PEOPLE_A_STRATUM + 1)
    borders = np.unique(np.quantile(propensity[member], np.linspace(0.0, 1.0, count + 1)[1:-1]))
    # Whoever outside is less likely to be in than anybody who is in, is comparable with nobody.
    within = propensity >= propensity[member].min()
    return _merged(np.where(within, np.searchsorted(borders, propensity, side="right"), _ALONE), member)


def weights(member: BoolArray, stratum: IntArray) -> FloatArray:
    """The weight of each person: one in the group; outside, so that each stratum weighs as much as its part of the
    group; none without a stratum."""
    placed = stratum != _ALONE
    inside = np.bincount(stratum[placed & member], minlength=max(int(stratum.max()) + 1, 1))
    outside = np.bincount(stratum[placed & ~member], minlength=len(inside))
    share = inside / np.maximum(outside, 1)
    return np.where(placed, np.where(member, 1.0, share[np.where(placed, stratum, 0)]), 0.0)


def balance(
    member: BoolArray, weight: FloatArray, columns: FloatArray, names: Sequence[str], defines: Sequence[bool]
) -> tuple[Balance, ...]:
    """How alike the two sides are in each column; what differs most comes first."""
    if not columns.shape[1]:
        return ()
    inside, outside = weight * member, weight * ~member
    spread = np.sqrt((columns[member].var(axis=0) + columns[~member].var(axis=0)) / 2)
    spread = np.where(spread > 1e-9, spread, 1.0)
    before = (columns[member].mean(axis=0) - columns[~member].mean(axis=0)) / spread
    after = (inside @ columns / inside.sum() - outside @ columns / outside.sum()) / spread
    rows = zip(names, before.tolist(), after.tolist(), defines, strict=True)
    return tuple(sorted((Balance(*row) for row in rows), key=lambda found: (-abs(found.after), found.term)))


def _merged(found: IntArray, member: BoolArray) -> IntArray:
    """Neighbouring strata put together until each has enough of both sides; what is left over at the top, where hardly
    anybody outside is, or at the bottom stays alone."""
    stratum = np.full(len(found), _ALONE)
    number, gathered = 0, np.zeros(len(found), dtype=np.bool_)
    for each in range(int(found.max()) + 1):
        gathered |= found == each
        if min((gathered & member).sum(), (gathered & ~member).sum()) >= FEWEST:
            stratum[gathered] = number
            number += 1
            gathered = np.zeros(len(found), dtype=np.bool_)
    return stratum
