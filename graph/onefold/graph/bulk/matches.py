"""Rule 4 on columns: matches between records that several identifiers together ask to join."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onefold.graph.bulk.alike import Alike
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


def in_common(links: Links, rules: Rulebook) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The places of those links whose identifier has several, and of those of them whose identifier has one that does
    not join: what two records can have in common without being joined."""
    at = Runs.of(links.identifier)
    several = at.count > 1
    hinting = several & at.any(links.doubt > rules.most_doubt)
    return np.flatnonzero(at.spread(several)), np.flatnonzero(at.spread(hinting))


def accumulated(
    columns: EvidenceColumns,
    links: Links,
    shareable: NDArray[np.int32],
    hinting: NDArray[np.int32],
    rules: Rulebook,
) -> Matches:
    """Matches between records that no single identifier joins, by the links that are :func:`in_common`.

    Records that are alike are asked about as one: thousands of guest orders with the same hints are one question.
    """
    records = len(columns.records)
    hints = _Hints.of(links, hinting, records, rules)
    if not len(hints.place):
        none = np.empty(0, np.int32)
        return Matches(none, none, none, np.empty(0, np.int64))
    asked = np.zeros(records, np.bool_)
    asked[links.record[hints.place]] = True
    place = shareable[asked[links.record[shareable]]]
    near = links.at(place)
    is_hint = np.zeros(len(place), np.bool_)
    is_hint[np.searchsorted(place, hints.place)] = True
    said = packed((near.identifier, len(columns.identifiers)), (np.where(is_hint, near.doubt, 0), PPM + 1))
    alike = Alike.of(near.record, np.unique(said, return_inverse=True)[1])
    first, several = np.zeros((2, records), np.bool_)
    first[alike.first] = True
    several[alike.first[alike.groups.count > 1]] = True
    is_telling = np.zeros(len(place), np.bool_)
    is_telling[np.searchsorted(place, hints.where(first[links.record[hints.place]]).telling(links, rules))] = True
    chosen = np.flatnonzero(first[near.record])
    pairs = _candidates(near.at(chosen), is_telling[chosen], several, columns, rules)
    index = _Index(near, asked)
    parts = np.array_split(pairs, len(pairs) // _AT_ONCE + 1)
    enough = _concatenated([_matches(columns, index, part, rules) for part in parts])
    # Only these are looked at record by record, since each pair has its own first instant.
    each = alike.pairs(enough.a, enough.b, records, _AT_ONCE)
    found = _concatenated([_matches(columns, index, part, rules) for part in each])
    return found.at(np.argsort(packed((found.a, records), (found.b, records))))


def _concatenated(parts: Sequence[Matches]) -> Matches:
    return Matches(*(np.concatenate([getattr(part, column) for part in parts]) for column in Matches.__slots__))


@dataclass(frozen=True, slots=True)
class _Hints:
    """Links to identifiers that two records can have in common without being joined; by identifier, then record."""

    place: NDArray[np.int32]
    """Where each is among all links."""
    count: NDArray[np.int64]
    """How many links its identifier has."""
    at_best: NDArray[np.float64]
    """The logarithm of the doubt that it leaves together with the surest link that doesn't join its record."""

    @classmethod
    def of(cls, links: Links, place: NDArray[np.int32], records: int, rules: Rulebook) -> _Hints:
        """Of all at some places, those of the records that could reach the threshold at best."""
        doubt = links.doubt[place]
        is_weak = doubt > rules.most_doubt
        at = Runs.of(links.identifier[place])
        if len(place):
            surest = at.spread(np.minimum.reduceat(doubt, at.start))
            surest_weak = at.spread(np.minimum.reduceat(np.where(is_weak, doubt, PPM), at.start))
            other = np.where(is_weak, surest, surest_weak)
        else:
            other = doubt
        at_best = np.log1p(-((PPM - doubt) / PPM * ((PPM - other) / PPM)))
        record = links.record[place]
        could = _reaches(np.bincount(record, weights=at_best, minlength=records), rules)
        could &= np.bincount(record, minlength=records) > 1
        return cls(place, at.spread(at.count), at_best).where(could[record])

    def where(self, chosen: Bools) -> _Hints:
        """Those that are chosen."""
        return _Hints(self.place[chosen], self.count[chosen], self.at_best[chosen])

    def telling(self, links: Links, rules: Rulebook) -> NDArray[np.int32]:
        """The places of those of which any match of their record has one: all but the record's commonest, as many as
        together stay below the threshold whoever else has them. See ``_telling`` in :mod:`onefold.graph.resolve`."""
        order = np.lexsort((links.identifier[self.place], -self.count, links.record[self.place]))
        of_record = Runs.of(links.record[self.place[order]])
        so_far = np.cumsum(self.at_best[order])
        so_far -= of_record.spread(so_far[of_record.start] - self.at_best[order][of_record.start])
        is_first = np.zeros(len(order), np.bool_)
        is_first[of_record.start] = True
        return self.place[order[_reaches(so_far, rules) & ~is_first]]


def _reaches(at_best: NDArray[Any], rules: Rulebook) -> Bools:
    """Whether so much doubt, a logarithm, could be little enough; the last bits of a float don't count."""
    enough: Bools = np.minimum(-np.expm1(at_best), CAP) * PPM >= rules.accumulated_threshold - 1
    return enough


def _candidates(
    links: Links, is_telling: Bools, several: Bools, columns: EvidenceColumns, rules: Rulebook
) -> NDArray[np.int64]:
    """Pairs of records at an identifier that is telling for both, one of them there by a link that doesn't join; and
    those that stand for several, each with itself. Packed, the lower code first.

    Records that the most common of their identifiers joins are no pairs among themselves: ten thousand guest orders
    with one email and one cookie are not fifty million.
    """
    records, none = len(columns.records), len(columns.identifiers)
    record, identifier, is_weak = links.record, links.identifier, links.doubt > rules.most_doubt
    at = Runs.of(identifier)
    hinted = np.flatnonzero(is_telling)
    here = Runs.of(identifier[hinted])
    hinted = hinted[here.spread(here.any(is_weak[hinted]))]
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
    themselves = record[weak][several[record[weak]]]
    found = [packed((themselves, records), (themselves, records))]
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
