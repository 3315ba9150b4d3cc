"""Rule 4 on columns: matches between records that several identifiers together ask to join."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onefold.graph.bulk.columns import EvidenceColumns, alphabetical
from onefold.graph.bulk.links import Links
from onefold.graph.bulk.runs import Runs, before, distinct, last_of, noisy_or, packed, within
from onefold.graph.rulebook import CAP, PPM, Rulebook

_AT_ONCE = 1 << 17
"""So many pairs are looked at together: what bounds the memory."""


@dataclass(frozen=True, slots=True)
class Matches:
    """Pairs of records; sorted, the lower code first."""

    a: NDArray[np.int32]
    b: NDArray[np.int32]
    doubt: NDArray[np.int32]
    first_seen: NDArray[np.int64]

    def at(self, place: NDArray[np.int64]) -> Matches:
        """Those at some places."""
        return Matches(self.a[place], self.b[place], self.doubt[place], self.first_seen[place])


def accumulated(columns: EvidenceColumns, links: Links, shareable: NDArray[np.int32], rules: Rulebook) -> Matches:
    """The accumulated matches, by the links at ``shareable`` places: all those that are :func:`in_common`.

    Only a link that doesn't join by itself makes a pair of records a candidate.
    """
    record = links.record[shareable]
    links = links.at(shareable[(np.bincount(record, minlength=len(columns.records)) > 1)[record]])
    index = _Index(links, columns)
    candidates = distinct(np.concatenate([np.empty(0, np.int64), *_candidates(columns, links, rules)]))
    parts = np.array_split(candidates, len(candidates) // _AT_ONCE + 1)
    found = [_matches(columns, index, part, rules) for part in parts]
    return Matches(*(np.concatenate([getattr(matches, column) for matches in found]) for column in Matches.__slots__))


def in_common(links: Links) -> NDArray[np.int64]:
    """The places of those links whose identifier has several."""
    at = Runs.of(links.identifier)
    return np.flatnonzero(at.spread(at.count > 1))


def _candidates(columns: EvidenceColumns, links: Links, rules: Rulebook) -> Iterator[NDArray[np.int64]]:
    """Pairs of records at one identifier, one of them there by a weak link: packed, the lower code first."""
    records = len(columns.records)
    at = Runs.of(links.identifier)
    is_weak = links.doubt > rules.most_doubt
    weak = np.flatnonzero(is_weak)
    run = at.spread(np.arange(len(at.start)))[weak]
    cuts = np.flatnonzero(np.diff(np.cumsum(at.count[run]) // _AT_ONCE)) + 1
    for part, where in zip(np.split(weak, cuts), np.split(run, cuts), strict=True):
        one = np.repeat(part, at.count[where])
        other = within(at.start[where], at.count[where])
        once = (one < other) | ~is_weak[other]  # two weak links meet each other
        a, b = links.record[one[once]], links.record[other[once]]
        yield distinct(packed((np.minimum(a, b), records), (np.maximum(a, b), records)))


class _Index:
    """Links by record, and by identifier and record."""

    def __init__(self, links: Links, columns: EvidenceColumns) -> None:
        self.links = links
        places = np.arange(len(links.record), dtype=np.int32)
        by_record = packed((links.record, len(columns.records)), (places, len(places)))
        by_record.sort()
        self._place = last_of(by_record, len(places))
        self.count = np.bincount(links.record, minlength=len(columns.records))
        self._start = np.cumsum(self.count) - self.count
        count_at = np.bincount(links.identifier, minlength=len(columns.identifiers))
        self._start_at = np.concatenate(([0], np.cumsum(count_at))).astype(np.int32)
        self._record = np.append(links.record, np.int32(-1))

    def of(self, record: NDArray[np.int32]) -> NDArray[np.int64]:
        """The links of each record, one record after the other."""
        return self._place[within(self._start[record], self.count[record])]

    def beside(self, link: NDArray[np.int64], record: NDArray[np.int32]) -> NDArray[np.int64]:
        """The link of each record to the identifier of a link, or -1.

        A binary search, step by step for all at once: among an identifier's few links it ends soon.
        """
        identifier = self.links.identifier[link]
        low, end = self._start_at[identifier], self._start_at[identifier + 1]
        high = end
        while (open_ := low < high).any():
            middle = (low + high) >> 1
            less = (self._record[middle] < record) & open_
            low, high = np.where(less, middle + 1, low), np.where(less, high, middle)
        return np.where((low < end) & (self._record[low] == record), low, -1)


def _matches(columns: EvidenceColumns, index: _Index, candidates: NDArray[np.int64], rules: Rulebook) -> Matches:
    """Those of the candidates that have enough in common."""
    records = len(columns.records)
    a, b = before(candidates, records).astype(np.int32), last_of(candidates, records).astype(np.int32)
    few = np.where(index.count[a] <= index.count[b], a, b)
    mine = index.of(few)
    candidate = np.repeat(np.arange(len(a)), index.count[few])
    theirs = index.beside(mine, (a + b - few)[candidate])
    both = theirs >= 0
    both &= (np.bincount(candidate[both], minlength=len(a)) > 1)[candidate]
    candidate, mine, theirs = candidate[both], mine[both], theirs[both]
    common = Runs.of(candidate)
    doubt, seen = index.links.doubt, index.links.first_seen
    sign = (PPM - doubt[mine]) / PPM * ((PPM - doubt[theirs]) / PPM)
    together = np.minimum(noisy_or(common, sign), CAP) * PPM
    # The order of the factors, which is that of the keys, is in a product's last bits: seldom do they tip the rounding.
    tipping = common.spread((common.count > 2) & (np.abs(together % 1 - 0.5) < 1e-6))
    if tipping.any():
        in_order = _in_key_order(columns, index.links.identifier[mine], candidate, np.flatnonzero(tipping))
        together = np.minimum(noisy_or(common, sign[in_order]), CAP) * PPM
    ppm = np.rint(together).astype(np.int32)
    enough = np.flatnonzero(ppm >= rules.accumulated_threshold)
    since = np.maximum.reduceat(np.maximum(seen[mine], seen[theirs]), common.start) if len(ppm) else seen[:0]
    matched = candidate[common.start[enough]]
    return Matches(a[matched], b[matched], PPM - ppm[enough], since[enough])


def _in_key_order(
    columns: EvidenceColumns, identifier: NDArray[np.int32], candidate: NDArray[np.int64], place: NDArray[np.int64]
) -> NDArray[np.int64]:
    """All places, those at ``place`` so arranged that each candidate's identifiers are in the order of their keys."""
    _, rank = alphabetical(columns.identifiers, identifier[place])
    order = np.arange(len(candidate))
    order[place] = place[np.lexsort((rank, candidate[place]))]
    return order
