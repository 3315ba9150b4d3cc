"""Records that rule 4 can't tell apart: asked about as one, by the lowest of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onefold.graph.bulk.runs import Runs, packed, within


@dataclass(frozen=True, slots=True)
class Alike:
    """Groups of records, by the lowest of each."""

    record: NDArray[np.int32]
    """All of them, group by group."""
    groups: Runs

    @classmethod
    def of(cls, record: NDArray[np.int32], said: NDArray[np.int64]) -> Alike:
        """Groups of those with equal sets of links, whose records and codes these are; no link comes twice."""
        order = np.lexsort((said, record))
        runs = Runs.of(record[order])
        each = record[order][runs.start]
        _, first, group = np.unique(_numbered(runs, said[order]), return_index=True, return_inverse=True)
        first = first[group]
        order = np.argsort(first, kind="stable")
        return cls(each[order], Runs.of(first[order]))

    @property
    def first(self) -> NDArray[np.int32]:
        """The lowest record of each group."""
        lowest: NDArray[np.int32] = self.record[self.groups.start]
        return lowest

    def pairs(
        self, a: NDArray[np.int32], b: NDArray[np.int32], records: int, at_once: int
    ) -> Iterator[NDArray[np.int64]]:
        """All pairs of a record like ``a`` with one like ``b``, packed, the lower code first; about ``at_once`` at a
        time. Where the two are one, all pairs within its group."""
        one, other = np.searchsorted(self.first, a), np.searchsorted(self.first, b)
        start, count = self.groups.start, self.groups.count
        row = within(start[one], count[one])
        begin, end = (np.repeat(values, count[one]) for values in (start[other], start[other] + count[other]))
        begin = np.where(np.repeat(one == other, count[one]), row + 1, begin)
        partners = end - begin
        for part in np.split(np.arange(len(row)), np.flatnonzero(np.diff(np.cumsum(partners) // at_once)) + 1):
            x = self.record[np.repeat(row[part], partners[part])]
            y = self.record[within(begin[part], partners[part])]
            yield packed((np.minimum(x, y), records), (np.maximum(x, y), records))


def _numbered(runs: Runs, values: NDArray[np.int64]) -> NDArray[np.int64]:
    """A number for each run, the same for runs of equal values."""
    number = np.zeros(len(runs.start), np.int64)
    bounds = len(runs.start) + 1, int(values.max(initial=0)) + 1
    further, nth = np.arange(len(runs.start)), 0
    while len(further):  # by one value more of all runs that have one
        key = packed((number[further], bounds[0]), (values[runs.start[further] + nth], bounds[1]))
        number[further] = np.unique(key, return_inverse=True)[1]
        nth += 1
        further = further[runs.count[further] > nth]
    # Runs are numbered beside those that are at least as long only.
    key = packed((runs.count, int(runs.count.max(initial=0)) + 1), (number, bounds[0]))
    numbered: NDArray[np.int64] = np.unique(key, return_inverse=True)[1]
    return numbered
