"""Rules 1 to 3 on columns: from rows of evidence to links with a confidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from onefold.graph.bulk.columns import Bools, EvidenceColumns, alphabetical
from onefold.graph.bulk.runs import Runs, distinct, noisy_or, packed, unpacked, within
from onefold.graph.model import Instant
from onefold.graph.policy import Policy
from onefold.graph.rulebook import CAP, PPM, Kind, rulebook


@dataclass(frozen=True, slots=True)
class Links:
    """Pairs of a record and an identifier that isn't shared, by identifier, then record."""

    record: NDArray[np.int32]
    identifier: NDArray[np.int32]
    doubt: NDArray[np.int32]
    """What the confidence lacks of certainty, in parts per million."""
    first_seen: NDArray[np.int64]

    def where(self, chosen: Bools) -> Links:
        """Some of them."""
        if chosen.all():
            return self
        return Links(self.record[chosen], self.identifier[chosen], self.doubt[chosen], self.first_seen[chosen])


def links_of(columns: EvidenceColumns, policy: Policy, as_of: Instant) -> tuple[Links, Bools]:
    """The links to identifiers that are not shared, and which identifiers are."""
    rows = _rows(columns, policy, as_of)
    rules = rulebook(policy)
    kinds = {k: rules.kinds[kind] for k, kind in enumerate(columns.kinds) if kind in rules.kinds}
    ends = rows.key if len(rows.pairs.start) == len(rows.key) else rows.key[rows.pairs.start]
    wide, record = unpacked(ends, len(columns.records))
    identifier = wide.astype(np.int32)
    first_seen = rows.first_seen
    if len(record) < len(first_seen):
        first_seen = np.minimum.reduceat(first_seen, rows.pairs.start)
    at = Runs.of(identifier)
    kind = columns.kind[identifier[at.start]]
    persons = _persons(columns, rows, record, identifier, at, kind, kinds)
    shared = np.zeros(len(columns.identifiers), np.bool_) if columns.shared is None else columns.shared.copy()
    factor = np.zeros(len(kind))
    for k, rule in kinds.items():
        here = np.flatnonzero(kind == k)
        d = persons[here]
        factor[here] = np.take(rule.factors, np.searchsorted(rule.bounds, d))
        shared[identifier[at.start[here[d > rule.shared_above]]]] = True
    confidence = _combined(columns, rows)
    np.minimum(confidence, CAP, out=confidence)
    confidence *= at.spread(factor)
    confidence *= PPM
    doubt = PPM - np.rint(confidence, out=confidence).astype(np.int32)
    return Links(record, identifier, doubt, first_seen).where(at.spread(~shared[identifier[at.start]])), shared


# -- 1: rows, sorted -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows that count, by identifier, then record."""

    key: NDArray[np.int64]
    """Identifier and record, packed."""
    source: NDArray[np.integer[Any]]
    grade: NDArray[np.integer[Any]]
    """The place of the row's base confidence in ``bases``."""
    first_seen: NDArray[np.int64]
    pairs: Runs
    """The rows of one pair each."""
    bases: NDArray[np.float64]
    """All base confidences that the policy gives here, the highest first."""


def _rows(columns: EvidenceColumns, policy: Policy, as_of: Instant) -> _Rows:
    known = np.array([kind in policy.kinds for kind in columns.kinds], np.bool_)
    blocked = columns.blocked | ~known[columns.kind]
    late = columns.first_seen > as_of
    key = packed((columns.identifier, len(columns.identifiers)), (columns.record, len(columns.records)))
    order = np.argsort(key)
    if blocked.any() or late.any():
        late |= blocked[columns.identifier]
        order = order[~late[order]]
    key = key[order]
    first_seen = columns.first_seen[order]
    source = columns.source[order]
    assurance = columns.assurance[order]
    del order
    bases, grades = _bases(columns, policy)
    grade = grades[columns.kind[unpacked(key, len(columns.records))[0]], source, assurance]
    return _Rows(key, source, grade, first_seen, Runs.of(key), bases)


def _bases(columns: EvidenceColumns, policy: Policy) -> tuple[NDArray[np.float64], NDArray[np.integer[Any]]]:
    """All base confidences, the highest first; and which of them a kind, a source and an assurance give."""
    base = np.zeros((len(columns.kinds), len(columns.sources), len(columns.assurances)))
    for k, kind in enumerate(columns.kinds):
        if kind in policy.kinds:
            base[k] = [
                [policy.base_confidence(kind, a, source) for a in columns.assurances] for source in columns.sources
            ]
    bases, place = np.unique(-base, return_inverse=True)
    return -bases, place.reshape(base.shape).astype(np.min_scalar_type(len(bases)))


def _combined(columns: EvidenceColumns, rows: _Rows) -> NDArray[np.float64]:
    """Rule 2 of each pair: the best row per source, then noisy-or over the sources in their order."""
    pairs = rows.pairs
    sure: NDArray[np.float64] = rows.bases[rows.grade[pairs.start]]
    several = np.flatnonzero(pairs.count > 1)
    row = within(pairs.start[several], pairs.count[several])
    pair = np.repeat(np.arange(len(several)), pairs.count[several])
    in_order = np.argsort(np.argsort(columns.sources))
    key = np.sort(
        packed(
            (pair, len(several)),
            (in_order[rows.source[row]], len(columns.sources)),
            (rows.grade[row], len(rows.bases)),
        )
    )
    said, grade = unpacked(key, len(rows.bases))
    best = Runs.of(said).start
    base = rows.bases[grade[best]]
    by_pair = Runs.of(unpacked(said[best], len(columns.sources))[0])
    sure[several] = np.where(by_pair.count == 1, base[by_pair.start], noisy_or(by_pair, base))
    return sure


# -- 2: how many persons an identifier seems to have -----------------------------------------------------------------


def _persons(
    columns: EvidenceColumns,
    rows: _Rows,
    record: NDArray[np.int32],
    identifier: NDArray[np.int32],
    at: Runs,
    kind: NDArray[Any],
    kinds: dict[int, Kind],
) -> NDArray[np.int64]:
    """*d* of each identifier (each of the runs ``at`` of pairs); 1 where so few records make no difference."""
    persons = np.ones(len(kind), np.int64)
    alike = np.array([kinds[k].alike if k in kinds else 0 for k in range(len(columns.kinds))])
    crowded = np.flatnonzero(at.count > alike[kind])
    if not len(crowded):
        return persons
    pair = within(at.start[crowded], at.count[crowded])
    where = np.repeat(np.arange(len(crowded)), at.count[crowded])
    person = record[pair].astype(np.int64)
    is_order = pc.starts_with(columns.records, "order:").to_numpy(zero_copy_only=False)
    guests = np.flatnonzero(is_order[person])
    if len(guests):
        others = _strongest_others(columns, rows, record, identifier, pair[guests])
        # Beyond the records' codes: the identifier that stands for the order, or one that stands for none.
        person[guests] = len(columns.records) + others
    sources = rows.pairs.count[pair]
    row = within(rows.pairs.start[pair], sources)
    crowd = np.repeat(where, sources) * len(columns.sources) + rows.source[row]
    several = len(columns.records) + len(columns.identifiers) + 1
    each = distinct(packed((crowd, len(crowded) * len(columns.sources)), (np.repeat(person, sources), several)))
    crowd, _ = unpacked(each, several)
    by_source = Runs.of(crowd)
    crowd = crowd[by_source.start] // len(columns.sources)
    persons[crowded] = np.maximum.reduceat(by_source.count, Runs.of(crowd).start)
    return persons


def _strongest_others(
    columns: EvidenceColumns,
    rows: _Rows,
    record: NDArray[np.int32],
    identifier: NDArray[np.int32],
    pair: NDArray[np.int64],
) -> NDArray[np.int64]:
    """For pairs of guest orders: the order's strongest other identifier; beyond all codes where there is none."""
    nothing = len(columns.identifiers)
    asked = np.zeros(len(columns.records), np.bool_)
    asked[record[pair]] = True
    theirs = np.flatnonzero(asked[record])
    grade = rows.grade
    if len(record) < len(grade):
        grade = np.minimum.reduceat(grade, rows.pairs.start)
    bounds = len(rows.bases), len(columns.identifiers)
    key = np.sort(packed((record[theirs], len(asked)), (grade[theirs], bounds[0]), (identifier[theirs], bounds[1])))
    graded, ranked = unpacked(key, bounds[1])
    ordered, _ = unpacked(graded, bounds[0])
    of_order = Runs.of(ordered)
    _settle_ties(columns, graded, ranked, of_order)
    first = np.full(len(asked), nothing, np.int64)
    second = first.copy()
    first[ordered[of_order.start]] = ranked[of_order.start]
    several = of_order.start[of_order.count > 1]
    second[ordered[several]] = ranked[several + 1]
    order = record[pair]
    return np.where(first[order] == identifier[pair], second[order], first[order])


def _settle_ties(
    columns: EvidenceColumns, graded: NDArray[np.int64], ranked: NDArray[np.int32], of_order: Runs
) -> None:
    """Bring those of an order's two strongest identifiers that are equally strong into the order of their keys."""
    start, count = of_order.start, of_order.count
    last = len(graded) - 1
    second, third = graded[np.minimum(start + 1, last)], graded[np.minimum(start + 2, last)]
    tied = ((count > 1) & (graded[start] == second)) | ((count > 2) & (second == third))
    place = within(start[tied], count[tied])
    codes, rank = alphabetical(columns.identifiers, ranked[place])
    equals = np.unique(graded[place], return_inverse=True)[1]
    ranked[place] = codes[unpacked(np.sort(packed((equals, len(place)), (rank, len(codes)))), len(codes))[1]]
