"""Rule 4 on columns: matches between records that several identifiers together ask to join."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onefold.graph.bulk.columns import Bools, EvidenceColumns, alphabetical
from onefold.graph.bulk.links import Links
from onefold.graph.bulk.runs import Runs, before, distinct, last_of, noisy_or, packed, within
from onefold.graph.rulebook import CAP, PPM, Rulebook

_AT_ONCE = 1 << 17
"""So many pairs are looked at together."""

_TIPPING = 1e-6
"""This near to a half, the last bits of a float could decide which way it is rounded."""


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


def in_common(links: Links) -> NDArray[np.int64]:
    """The places of those links whose identifier has several."""
    at = Runs.of(links.identifier)
    return np.flatnonzero(at.spread(at.count > 1))


def accumulated(columns: EvidenceColumns, links: Links, shareable: NDArray[np.int32], rules: Rulebook) -> Matches:
    """Matches between records that no single identifier joins, by the links that are :func:`in_common`."""
    records = len(columns.records)
    record = links.record[shareable]
    several = (np.bincount(record, minlength=records) > 1)[record]
    place, record = shareable[several], record[several]
    pairs = _candidates(record, links.identifier[place], links.doubt[place] > rules.most_doubt, columns)
    asked = np.zeros(records, np.bool_)
    asked[before(pairs, records)] = asked[last_of(pairs, records)] = True
    index = _Index(links.at(place[asked[record]]), asked)
    parts = np.array_split(pairs, len(pairs) // _AT_ONCE + 1)
    found = [_matches(columns, index, part, rules) for part in parts]
    return Matches(*(np.concatenate([getattr(matches, column) for matches in found]) for column in Matches.__slots__))


def _candidates(
    record: NDArray[np.int32], identifier: NDArray[np.int32], is_weak: Bools, columns: EvidenceColumns
) -> NDArray[np.int64]:
    """Pairs of records at one identifier, one of them there by a link that doesn't join: packed, the lower code first.

    Records that the most common of their identifiers joins are no pairs among themselves: ten thousand guest orders
    with one email and one cookie are not fifty million.
    """
    records, none = len(columns.records), len(columns.identifiers)
    at = Runs.of(identifier)
    hinted = np.flatnonzero(at.spread(np.logical_or.reduceat(is_weak, at.start)) if len(at.start) else is_weak)
    asked = np.zeros(records, np.bool_)
    asked[record[hinted]] = True
    joins = np.flatnonzero(asked[record] & ~is_weak)
    group = _most_common(record[joins], identifier[joins], at.spread(at.count)[joins], columns)[record[hinted]]
    alone = np.flatnonzero(group == none)
    group[alone] += alone
    # By identifier and group, so that at an identifier the others are what stands before and after one's own group.
    key = packed((identifier[hinted], none), (group, none + len(group)))
    order = np.argsort(key, kind="stable")
    record, is_weak, key = record[hinted][order], is_weak[hinted][order], key[order]
    own, at = Runs.of(key), Runs.of(before(key, none + len(group)))
    weak = np.flatnonzero(is_weak)
    own_start, own_count, start, count = (
        np.repeat(values, repeats)[weak]
        for values, repeats in (
            (own.start, own.count),
            (own.count, own.count),
            (at.start, at.count),
            (at.count, at.count),
        )
    )
    others = count - own_count
    found = [np.empty(0, np.int64)]
    for part in np.split(np.arange(len(weak)), np.flatnonzero(np.diff(np.cumsum(others) // _AT_ONCE)) + 1):
        one = np.repeat(weak[part], others[part])
        other = within(start[part], others[part])
        other += np.where(
            other >= np.repeat(own_start[part], others[part]), np.repeat(own_count[part], others[part]), 0
        )
        once = (one < other) | ~is_weak[other]  # two weak links meet each other
        a, b = record[one[once]], record[other[once]]
        found.append(distinct(packed((np.minimum(a, b), records), (np.maximum(a, b), records))))
    return distinct(np.concatenate(found))


def _most_common(
    record: NDArray[np.int32], identifier: NDArray[np.int32], links: NDArray[np.int64], columns: EvidenceColumns
) -> NDArray[np.int64]:
    """For each record the one of its identifiers that has most links; beyond all codes where there is none."""
    none = len(columns.identifiers)
    key = packed((record, len(columns.records)), (links, int(links.max(initial=0)) + 1), (identifier, none))
    key.sort()
    record = before(before(key, none), int(links.max(initial=0)) + 1).astype(np.int32)
    of_record = Runs.of(record)
    chosen = np.full(len(columns.records), none, np.int64)
    chosen[record[of_record.start]] = last_of(key[of_record.start + of_record.count - 1], none)
    return chosen


class _Index:
    """The links of some records, by record, and by identifier and record."""

    def __init__(self, links: Links, asked: Bools) -> None:
        self.links = links
        # Renumbered, so that what is looked up at random is as small as can be.
        self._number = np.cumsum(asked, dtype=np.int32) - np.int32(1)
        record = self._number[links.record]
        place = np.arange(len(record), dtype=np.int32)
        by_record = packed((record, len(asked)), (place, len(place)))
        by_record.sort()
        self._place = last_of(by_record, len(place)).astype(np.int32)
        count = np.bincount(record)
        self._count, self._start = count.astype(np.int32), (np.cumsum(count) - count).astype(np.int32)
        at = Runs.of(links.identifier)
        self._run = at.spread(np.arange(len(at.start), dtype=np.int32))
        self._start_of_run = np.append(at.start, len(place)).astype(np.int32)
        self._record = np.append(links.record, np.int32(-1))

    def count(self, record: NDArray[np.int32]) -> NDArray[np.int32]:
        """How many links each record has."""
        count: NDArray[np.int32] = self._count[self._number[record]]
        return count

    def of(self, record: NDArray[np.int32]) -> NDArray[np.int32]:
        """The links of each record, one record after the other."""
        number = self._number[record]
        place: NDArray[np.int32] = self._place[within(self._start[number], self._count[number])]
        return place

    def beside(self, link: NDArray[np.int32], record: NDArray[np.int32]) -> NDArray[np.int32]:
        """The link of each record to the identifier of a link, or -1.

        A binary search, step by step for all at once: among an identifier's few links it ends soon.
        """
        run = self._run[link]
        low, end = self._start_of_run[run], self._start_of_run[run + 1]
        high = end
        while (going := low < high).any():
            middle = (low + high) >> 1
            less = (self._record[middle] < record) & going
            low, high = np.where(less, middle + 1, low), np.where(less, high, middle)
        found: NDArray[np.int32] = np.where((low < end) & (self._record[low] == record), low, np.int32(-1))
        return found


def _matches(columns: EvidenceColumns, index: _Index, pairs: NDArray[np.int64], rules: Rulebook) -> Matches:
    """Those of the pairs that have enough in common."""
    records = len(columns.records)
    a, b = before(pairs, records).astype(np.int32), last_of(pairs, records).astype(np.int32)
    few = np.where(index.count(a) <= index.count(b), a, b)
    mine = index.of(few)
    candidate = np.repeat(np.arange(len(a)), index.count(few))
    theirs = index.beside(mine, (a + b - few)[candidate])
    both = theirs >= 0
    both &= (np.bincount(candidate[both], minlength=len(a)) > 1)[candidate]
    join = both & (np.maximum(index.links.doubt[mine], index.links.doubt[theirs]) <= rules.most_doubt)
    both &= (np.bincount(candidate[join], minlength=len(a)) == 0)[candidate]
    candidate, mine, theirs = candidate[both], mine[both], theirs[both]
    common = Runs.of(candidate)
    doubt, seen = index.links.doubt, index.links.first_seen
    sign = (PPM - doubt[mine]) / PPM * ((PPM - doubt[theirs]) / PPM)
    together = np.minimum(noisy_or(common, sign), CAP) * PPM
    # The order of the factors, which is that of the keys, is in a product's last bits: seldom do they tip the rounding.
    tipping = common.spread((common.count > 2) & (np.abs(together % 1 - 0.5) < _TIPPING))
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
