"""Runs of equal neighbours: how a sorted column is looked at group by group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Runs:
    """Where each run starts, and how long it is."""

    start: NDArray[np.int64]
    count: NDArray[np.int64]

    @classmethod
    def of(cls, values: NDArray[Any], *more: NDArray[Any]) -> Runs:
        """The runs of neighbours that are equal, in ``more`` columns too."""
        new = np.ones(len(values), np.bool_)
        np.not_equal(values[1:], values[:-1], out=new[1:])
        for column in more:
            new[1:] |= column[1:] != column[:-1]
        start = np.flatnonzero(new)
        return cls(start, np.diff(start, append=len(values)))

    def spread(self, values: NDArray[Any]) -> NDArray[Any]:
        """A value a run, given to each of its elements."""
        return np.repeat(values, self.count)


def within(start: NDArray[np.int64], count: NDArray[np.int64]) -> NDArray[np.int64]:
    """All places of some runs, one run after the other."""
    return np.repeat(start - (np.cumsum(count) - count), count) + np.arange(count.sum())


def packed(*columns: tuple[NDArray[Any], int]) -> NDArray[np.int64]:
    """Columns, each with what its values stay below, in one integer a row that sorts as the rows do.

    Raises OverflowError when they don't fit in 63 bits.
    """
    widths = [width(bound) for _, bound in columns]
    if sum(widths) > 63:
        raise OverflowError(f"rows of {sum(widths)} bits can't be sorted as integers of 63")
    key = columns[0][0].astype(np.int64)
    for (column, _), bits in zip(columns[1:], widths[1:], strict=True):
        key <<= bits
        key |= column
    return key


def last_of(key: NDArray[np.int64], bound: int) -> NDArray[np.int64]:
    """The last of the packed columns, whose values stay below ``bound``."""
    return key & ((1 << width(bound)) - 1)


def before(key: NDArray[np.int64], bound: int) -> NDArray[np.int64]:
    """All packed columns but the last, whose values stay below ``bound``: one, or several still packed."""
    return key >> width(bound)


def width(bound: int) -> int:
    """The bits that values below ``bound`` take."""
    return max(bound - 1, 0).bit_length()


def distinct(key: NDArray[np.int64]) -> NDArray[np.int64]:
    """The distinct values, sorted. Sorts ``key`` itself, which saves a copy."""
    key.sort()
    return key[Runs.of(key).start]


def noisy_or(runs: Runs, probability: NDArray[np.float64]) -> NDArray[np.float64]:
    """:func:`onefold.graph.resolve.noisy_or` of each run, multiplied in its order, so that the floats are the same."""
    none = np.ones(len(runs.start))
    for nth in range(runs.count.max(initial=0)):
        further = np.flatnonzero(runs.count > nth)
        none[further] *= 1.0 - probability[runs.start[further] + nth]
    return 1.0 - none
