"""Rule 4 on columns: matches between records that several identifiers together ask to join."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onefold.graph.bulk.columns import EvidenceColumns, alphabetical
from onefold.graph.bulk.links import Links
from onefold.graph.bulk.runs import Runs, distinct, noisy_or, packed, unpacked, within
from onefold.graph.rulebook import CAP, PPM, Rulebook

_AT_ONCE = 1 << 21
"""So many pairs are looked at together: what bounds the memory."""


@dataclass(frozen=True, slots=True)
class Matches:
    """Pairs of records; sorted, the lower code first."""

    a: NDArray[np.int32]
    b: NDArray[np.int32]
    doubt: NDArray[np.int32]
    first_seen: NDArray[np.int64]


def accumulated(columns: EvidenceColumns, links: Links, rules: Rulebook) -> Matches:
    """The accumulated matches. Only a link that doesn't join by itself makes a pair of records a candidate."""
    links = _in_common(links, len(columns.records))
    index = _Index(links, columns)
    found = [_matches(columns, index, pairs, rules) for pairs in _candidates(columns, links, rules)]
    key = packed(
        (np.concatenate([m.a for m in found]), len(columns.records)),
        (np.concatenate([m.b for m in found]), len(columns.records)),
    )
    # A pair may be a candidate by identifiers that were looked at apart.
    once = np.unique(key, return_index=True)[1]
    return Matches(
        *(np.concatenate([getattr(m, name) for m in found])[once] for name in ("a", "b", "doubt", "first_seen"))
    )


def _in_common(links: Links, records: int) -> Links:
    """The links that two records with two identifiers in common could have."""
    at = Runs.of(links.identifier)
    links = links.where(at.spread(at.count > 1))
    return links.where((np.bincount(links.record, minlength=records) > 1)[links.record])


def _candidates(columns: EvidenceColumns, links: Links, rules: Rulebook) -> Iterator[NDArray[np.int64]]:
    """Pairs of records at one identifier, one of them there by a weak link: packed, the lower code first."""
    records = len(columns.records)
    at = Runs.of(links.identifier)
    weak = np.flatnonzero(links.doubt > rules.most_doubt)
    run = at.spread(np.arange(len(at.start)))[weak]
    cuts = np.flatnonzero(np.diff(np.cumsum(at.count[run]) // _AT_ONCE)) + 1
    for part, where in zip(np.split(weak, cuts), np.split(run, cuts), strict=True):
        one = np.repeat(links.record[part], at.count[where])
        other = links.record[within(at.start[where], at.count[where])]
        ends = np.minimum(one, other), np.maximum(one, other)
        yield distinct(packed((ends[0], records), (ends[1], records))[one != other])


class _Index:
    """Links by record, and by identifier and record."""

    def __init__(self, links: Links, columns: EvidenceColumns) -> None:
        self.links = links
        self._bounds = len(columns.identifiers), len(columns.records)
        self._key = packed((links.identifier, self._bounds[0]), (links.record, self._bounds[1]))
        places = np.arange(len(links.record))
        _, self._place = unpacked(np.sort(packed((links.record, self._bounds[1]), (places, len(places)))), len(places))
        self.count = np.bincount(links.record, minlength=self._bounds[1])
        self._start = np.cumsum(self.count) - self.count

    def of(self, record: NDArray[np.int32]) -> NDArray[np.int32]:
        """The links of each record, one record after the other."""
        return self._place[within(self._start[record], self.count[record])]

    def find(self, identifier: NDArray[np.int32], record: NDArray[np.int32]) -> NDArray[np.int64]:
        """The link of each identifier to each record, or -1."""
        key = packed((identifier, self._bounds[0]), (record, self._bounds[1]))
        place = np.minimum(np.searchsorted(self._key, key), len(self._key) - 1)
        return np.where(self._key[place] == key, place, -1)


def _matches(columns: EvidenceColumns, index: _Index, candidates: NDArray[np.int64], rules: Rulebook) -> Matches:
    """Those of the candidates that have enough in common."""
    wide, b = unpacked(candidates, len(columns.records))
    a = wide.astype(np.int32)
    few = np.where(index.count[a] <= index.count[b], a, b)
    mine = index.of(few)
    candidate = np.repeat(np.arange(len(a)), index.count[few])
    theirs = index.find(index.links.identifier[mine], (a + b - few)[candidate])
    both = (theirs >= 0) & (np.bincount(candidate[theirs >= 0], minlength=len(a)) > 1)[candidate]
    candidate, mine, theirs = _in_key_order(columns, index.links, candidate[both], mine[both], theirs[both])
    common = Runs.of(candidate)
    doubt, seen = index.links.doubt, index.links.first_seen
    together = noisy_or(common, (PPM - doubt[mine]) / PPM * ((PPM - doubt[theirs]) / PPM))
    ppm = np.rint(np.minimum(together, CAP) * PPM).astype(np.int32)
    enough = np.flatnonzero(ppm >= rules.accumulated_threshold)
    since = np.maximum.reduceat(np.maximum(seen[mine], seen[theirs]), common.start) if len(ppm) else seen[:0]
    matched = candidate[common.start[enough]]
    return Matches(a[matched], b[matched], PPM - ppm[enough], since[enough])


def _in_key_order(
    columns: EvidenceColumns,
    links: Links,
    candidate: NDArray[np.int64],
    mine: NDArray[np.int32],
    theirs: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int64]]:
    """What each candidate has in common by its keys, where order can matter: a product of two is the same both ways."""
    common = Runs.of(candidate)
    many = common.count > 2
    place = within(common.start[many], common.count[many])
    _, rank = alphabetical(columns.identifiers, links.identifier[mine[place]])
    ordered = place[np.lexsort((rank, candidate[place]))]
    mine[place], theirs[place] = mine[ordered], theirs[ordered]
    return candidate, mine, theirs
