"""Rules 1 to 3 on columns: from rows of evidence to links with a confidence."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, TypeVar

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from onefold.graph.bulk.columns import Bools, Codes, EvidenceColumns, alphabetical
from onefold.graph.bulk.runs import Runs, before, distinct, in_order, last_of, least, noisy_or, packed, within
from onefold.graph.model import Instant
from onefold.graph.policy import Policy
from onefold.graph.rulebook import CAP, PPM, rulebook

_BLOCK = 1 << 17
"""So many rows are weighed together: few enough to stay in the processor's cache, which halves the time."""

THREADS: Final = min(4, os.cpu_count() or 1)
"""Each has a block's columns in memory."""

Seen = TypeVar("Seen")


@dataclass(frozen=True, slots=True)
class Links:
    """Pairs of a record and an identifier that isn't shared, by identifier, then record."""

    record: NDArray[np.int32]
    identifier: NDArray[np.int32]
    doubt: NDArray[np.int32]
    """What the confidence lacks of certainty, in parts per million."""
    first_seen: NDArray[np.int64]

    def where(self, chosen: Bools) -> Links:
        """Those that are chosen."""
        place = np.flatnonzero(chosen)
        return self if len(place) == len(chosen) else self.at(place)

    def at(self, place: Codes) -> Links:
        """Those at some places."""
        return Links(self.record[place], self.identifier[place], self.doubt[place], self.first_seen[place])


class Collected:
    """Columns that come block by block. Memory is taken as they come, and once."""

    def __init__(self, most: int, *columns: type[np.generic]) -> None:
        self._columns = [np.empty(most, column) for column in columns]
        self.count = 0

    def add(self, *block: NDArray[Any]) -> None:
        """Take in a block of each column."""
        end = self.count + len(block[0])
        for column, values in zip(self._columns, block, strict=True):
            column[self.count : end] = values
        self.count = end

    def columns(self) -> list[NDArray[Any]]:
        """All that came."""
        return [column[: self.count] for column in self._columns]


class Weighing:
    """What evidence is worth under a policy at an instant."""

    def __init__(self, columns: EvidenceColumns, policy: Policy, as_of: Instant) -> None:
        self._columns = columns
        self._as_of = as_of
        rules = rulebook(policy)
        self._kinds = {k: rules.kinds[kind] for k, kind in enumerate(columns.kinds) if kind in rules.kinds}
        known = np.array([k in self._kinds for k in range(len(columns.kinds))], np.bool_)
        self._alike = np.array([self._kinds[k].alike if k in self._kinds else 0 for k in range(len(known))])
        self._blocked = columns.blocked | ~known[columns.kind]
        self._bases, self._grades = _bases(columns, policy)
        # A row's source and assurance in one narrow column: fetched with one gather.
        words = len(columns.sources) * len(columns.assurances)
        self._word = columns.source.astype(np.min_scalar_type(-words)) * len(columns.assurances) + columns.assurance
        self._is_order = pc.starts_with(columns.records, "order:").to_numpy(zero_copy_only=False)
        self.shared = np.zeros(len(columns.identifiers), np.bool_) if columns.shared is None else columns.shared.copy()
        """Which identifiers are shared; complete when all links are weighed."""

    def links(self, each: Callable[[Links], Seen]) -> Iterator[Seen]:
        """What ``each`` sees in the links to identifiers that aren't shared, block by block; an identifier's links are
        in one block. ``each`` runs in several threads: nearly all the time goes to where Python holds none of them up.
        """
        columns = self._columns

        def see(identifiers: tuple[int, int]) -> Seen:
            first, end = identifiers
            row = rows[start[first] : start[end]]
            identifier = np.repeat(np.arange(first, end, dtype=np.int32), np.diff(start[first : end + 1]))
            first_seen = columns.first_seen[row]
            counts = np.flatnonzero((first_seen <= self._as_of) & ~self._blocked[identifier])
            return each(self._weighed(row[counts], identifier[counts], first_seen[counts]))

        with ThreadPoolExecutor(THREADS) as threads:
            strongest = threads.submit(self._two_strongest)
            start, rows = self._sorted()
            self._strongest = strongest.result()
            yield from threads.map(see, _blocks(start))

    def _sorted(self) -> tuple[Codes, Codes]:
        """The rows by identifier and record, and where those of each identifier start."""
        columns = self._columns
        start, row = in_order(columns.identifier, len(columns.identifiers))
        if (columns.record[1:] >= columns.record[:-1]).all():  # as a scan gives them
            return start, row
        _, by_record = in_order(columns.record, len(columns.records))
        _, row = in_order(columns.identifier[by_record], len(columns.identifiers))
        return start, by_record[row]

    def _weighed(self, row: Codes, identifier: NDArray[np.int32], first_seen: NDArray[np.int64]) -> Links:
        """The links of all rows at some identifiers."""
        columns = self._columns
        record, source, grade = columns.record[row].astype(np.int32), *self._said(row, identifier)
        pairs = Runs.of(identifier, record)
        sure = self._combined(pairs, source, grade)
        record, identifier = record[pairs.start], identifier[pairs.start]
        at = Runs.of(identifier)
        here = identifier[at.start]
        kind = columns.kind[here]
        persons = self._persons(pairs, source, record, identifier, at, kind)
        factor = np.zeros(len(here))
        for k, rule in self._kinds.items():
            of_kind = np.flatnonzero(kind == k)
            d = persons[of_kind]
            factor[of_kind] = np.take(rule.factors, np.searchsorted(rule.bounds, d))
            self.shared[here[of_kind[d > rule.shared_above]]] = True
        doubt = PPM - np.rint(np.minimum(sure, CAP) * at.spread(factor) * PPM).astype(np.int32)
        links = Links(record, identifier, doubt, least(pairs, first_seen))
        return links.where(at.spread(~self.shared[here]))

    def _said(self, row: Codes, identifier: Codes) -> tuple[Codes, Codes]:
        """The source of each row, and the place of its base confidence in ``bases``."""
        word = self._word[row]
        words = len(self._columns.sources) * len(self._columns.assurances)
        grade = np.take(self._grades, self._columns.kind[identifier].astype(np.int32) * words + word)
        return word // len(self._columns.assurances), grade

    # -- 2: confidence -----------------------------------------------------------------------------------------------

    def _combined(
        self, pairs: Runs, source: NDArray[np.integer[Any]], grade: NDArray[np.integer[Any]]
    ) -> NDArray[np.float64]:
        """The best row per source, then noisy-or over the sources in their order."""
        sources = self._columns.sources
        sure: NDArray[np.float64] = self._bases[grade[pairs.start]]
        several = np.flatnonzero(pairs.count > 1)
        row = within(pairs.start[several], pairs.count[several])
        pair = np.repeat(np.arange(len(several)), pairs.count[several])
        source_rank = np.argsort(np.argsort(sources))[source[row]]
        bounds = len(several), len(sources), len(self._bases)
        key = packed((pair, bounds[0]), (source_rank, bounds[1]), (grade[row], bounds[2]))
        key.sort()
        best = key[Runs.of(before(key, bounds[2])).start]
        base = self._bases[last_of(best, bounds[2])]
        by_pair = Runs.of(before(before(best, bounds[2]), bounds[1]))
        sure[several] = np.where(by_pair.count == 1, base[by_pair.start], noisy_or(by_pair, base))
        return sure

    # -- 2: how many persons an identifier seems to have -------------------------------------------------------------

    def _persons(
        self,
        pairs: Runs,
        source: NDArray[np.integer[Any]],
        record: NDArray[np.int32],
        identifier: NDArray[np.int32],
        at: Runs,
        kind: NDArray[np.integer[Any]],
    ) -> NDArray[np.int64]:
        """*d* of each identifier (the runs ``at`` of pairs); 1 where so few records make no difference."""
        columns = self._columns
        persons = np.ones(len(kind), np.int64)
        sources, identifiers = len(columns.sources), len(kind)
        rows = np.bincount(source * np.int64(identifiers) + pairs.spread(at.number), minlength=sources * identifiers)
        # No source has more persons than rows; for most identifiers that is few enough.
        crowded = np.flatnonzero(rows.reshape(sources, identifiers).max(axis=0, initial=0) > self._alike[kind])
        if not len(crowded):
            return persons
        pair = within(at.start[crowded], at.count[crowded])
        rows = pairs.count[pair]
        crowd = np.repeat(np.repeat(np.arange(len(crowded)), at.count[crowded]), rows)
        of_source = source[within(pairs.start[pair], rows)]
        person = np.repeat(self._as_persons(record[pair], identifier[pair]), rows)
        bounds = len(crowded), len(columns.sources), len(columns.records) + len(columns.identifiers) + 1
        each = distinct(packed((crowd, bounds[0]), (of_source, bounds[1]), (person, bounds[2])))
        each = before(each, bounds[2])
        by_source = Runs.of(each)
        by_crowd = Runs.of(before(each[by_source.start], bounds[1]))
        persons[crowded] = np.maximum.reduceat(by_source.count, by_crowd.start)
        return persons

    def _as_persons(self, record: NDArray[np.int32], identifier: NDArray[np.int32]) -> NDArray[np.int64]:
        """Whom each record counts as at an identifier: a customer as itself, a guest order as the strongest other
        identifier that it has."""
        person = record.astype(np.int64)
        guest = np.flatnonzero(self._is_order[record])
        strongest, next_to_it = self._strongest[:, record[guest]]
        other = np.where(strongest == identifier[guest], next_to_it, strongest)
        person[guest] = len(self._columns.records) + other  # beyond the records' codes
        return person

    def _two_strongest(self) -> NDArray[np.int32]:
        """Each guest order's strongest identifier and the next to it, by record; beyond all codes where it has none."""
        columns = self._columns
        strongest = np.full((2, len(columns.records)), len(columns.identifiers), np.int32)
        row = np.flatnonzero(self._is_order[columns.record])
        row = row[(columns.first_seen[row] <= self._as_of) & ~self._blocked[columns.identifier[row]]]
        row = row[np.argsort(columns.record[row], kind="stable")]  # no work where they come so
        order, identifier = columns.record[row], columns.identifier[row]
        _, grade = self._said(row, identifier)
        for nth in strongest:
            found = self._first(order, grade, identifier)
            at = Runs.of(order)
            nth[order[at.start]] = found
            others = identifier != at.spread(found)
            order, grade, identifier = order[others], grade[others], identifier[others]
        return strongest

    def _first(self, order: Codes, grade: Codes, identifier: Codes) -> Codes:
        """Of each run of an order the identifier of the lowest grade, the first of several by its key."""
        at = Runs.of(order)
        best = np.flatnonzero(grade == at.spread(np.minimum.reduceat(grade, at.start))) if len(order) else at.start
        identifier = identifier[best]
        at = Runs.of(order[best])
        found = identifier[at.start]
        is_tied = at.any(identifier != at.spread(found))
        codes, rank = alphabetical(self._columns.identifiers, identifier[at.spread(is_tied)])
        tied = at.count[is_tied]
        found[is_tied] = codes[np.minimum.reduceat(rank, np.cumsum(tied) - tied)] if len(rank) else codes
        return found


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


def _blocks(start: Codes) -> Iterator[tuple[int, int]]:
    """Ranges of identifiers with about :data:`_BLOCK` rows each, given where the rows of each identifier start."""
    cuts = np.arange(0, int(start[-1]) + _BLOCK, _BLOCK).clip(max=start[-1])
    # Of the same integers: else all of ``start`` is copied to find a place in it.
    return pairwise(np.unique(np.searchsorted(start, cuts.astype(start.dtype))).tolist())
