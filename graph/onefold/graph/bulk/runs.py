"""Runs of equal neighbours: how a sorted column is looked at group by group."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array


class Runs:
    """Where each run starts, and how long it is."""

    __slots__ = ("_new", "_number", "count", "start")

    def __init__(self, new: NDArray[np.bool_]) -> None:
        """``new`` tells of each element whether a run starts with it."""
        self._new = new
        self._number: NDArray[np.intp] | None = None
        self.start = np.flatnonzero(new)
        self.count = np.empty_like(self.start)
        np.subtract(self.start[1:], self.start[:-1], out=self.count[:-1])
        self.count[-1:] = len(new) - self.start[-1:]

    @classmethod
    def of(cls, values: NDArray[Any], *more: NDArray[Any]) -> Runs:
        """The runs of neighbours that are equal, in ``more`` columns too."""
        new = np.ones(len(values), np.bool_)
        np.not_equal(values[1:], values[:-1], out=new[1:])
        for column in more:
            new[1:] |= column[1:] != column[:-1]
        return cls(new)

    @property
    def number(self) -> NDArray[np.intp]:
        """Of each element, the number of its run."""
        if self._number is None:
            self._number = np.cumsum(self._new, dtype=np.intp)
            self._number -= 1
        return self._number

    def spread(self, values: NDArray[Any]) -> NDArray[Any]:
        """A value a run, given to each of its elements."""
        return values.take(self.number)  # twice as fast as repeating each value

    def any(self, chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Of each run, whether any of its elements is chosen."""
        found = np.zeros(len(self.start), np.bool_)
        found[self.number[chosen]] = True  # a tenth of the time of reducing each run
        return found


def least(runs: Runs, values: NDArray[Any]) -> NDArray[Any]:
    """The least value of each run. For runs most of which are of one element: reducing a run costs ten times as much
    as taking an element."""
    found: NDArray[Any] = values[runs.start]
    several = np.flatnonzero(runs.count > 1)
    if len(several):
        count = runs.count[several]
        found[several] = np.minimum.reduceat(values[within(runs.start[several], count)], np.cumsum(count) - count)
    return found


def within(start: NDArray[np.int64], count: NDArray[np.int64]) -> NDArray[np.int64]:
    """All places of some runs, one run after the other."""
    return np.repeat(start - (np.cumsum(count) - count), count) + np.arange(count.sum())


def in_order(codes: NDArray[Any], bound: int) -> tuple[NDArray[np.integer[Any]], NDArray[np.integer[Any]]]:
    """The places of codes that stay below ``bound``, by code, those of equal ones rising; and before them where the
    places of each code start, and where all end.

    A counting sort: building a compressed sparse matrix with one element a column is one, and takes a quarter of the
    time of sorting packed integers.
    """
    places = len(codes)
    matrix = coo_array((np.ones(places, np.int8), (codes, np.arange(places, dtype=np.int32))), shape=(bound, places))
    matrix.has_canonical_format = True  # no two elements share a place: nothing to look for
    rows = matrix.tocsr()
    return rows.indptr, rows.indices


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
