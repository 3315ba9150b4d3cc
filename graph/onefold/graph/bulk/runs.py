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
    def of(cls, values: NDArray[Any]) -> Runs:
        """The runs of equal neighbours."""
        if not len(values):
            return cls(np.empty(0, np.int64), np.empty(0, np.int64))
        start = np.concatenate(([0], np.flatnonzero(values[1:] != values[:-1]) + 1))
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
    bits = [max(bound - 1, 0).bit_length() for _, bound in columns]
    if sum(bits) > 63:
        raise OverflowError(f"rows of {sum(bits)} bits can't be sorted as integers of 63")
    key = columns[0][0].astype(np.int64)
    for (column, _), width in zip(columns[1:], bits[1:], strict=True):
        key <<= width
        key |= column
    return key


def unpacked(key: NDArray[np.int64], bound: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """The last packed column, whose values stay below ``bound``; before it, the others, still packed."""
    width = max(bound - 1, 0).bit_length()
    return key >> width, (key & ((1 << width) - 1)).astype(np.int32)


def distinct(key: NDArray[np.int64]) -> NDArray[np.int64]:
    """The sorted distinct values."""
    key = np.sort(key)
    return key[Runs.of(key).start]


def noisy_or(runs: Runs, probability: NDArray[np.float64]) -> NDArray[np.float64]:
    """:func:`onefold.graph.resolve.noisy_or` of each run, multiplied in its order, so that the floats are the same."""
    none = np.ones(len(runs.start))
    for nth in range(runs.count.max(initial=0)):
        further = np.flatnonzero(runs.count > nth)
        none[further] *= 1.0 - probability[runs.start[further] + nth]
    return 1.0 - none
