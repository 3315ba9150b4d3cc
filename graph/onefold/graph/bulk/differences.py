"""Where what is stored differs from what its evidence says, and what must be decided again because of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np

from onefold.graph.bulk.columns import codes_of, texts
from onefold.graph.bulk.expected import Nodes, expected, ties
from onefold.graph.bulk.stored import Stored
from onefold.graph.decide import refused_words
from onefold.graph.model import IdentifierKey, RecordName
from onefold.graph.policy import Policy


@dataclass(frozen=True, slots=True)
class Region:
    """What hangs together, by what is stored or by what should be, and holds a difference: to be decided as one."""

    records: tuple[RecordName, ...]
    identifiers: tuple[IdentifierKey, ...]
    """Those of its identifiers that differ."""
    recount: tuple[IdentifierKey, ...]
    """Those of them whose being shared differs."""


@dataclass(frozen=True, slots=True)
class _Finding:
    """Differences of one sort."""

    nodes: Nodes
    words: Callable[[int], str]
    """The difference at a place of ``nodes``."""


class Differences:
    """The differences between what is stored and what a policy makes of the stored evidence."""

    def __init__(self, stored: Stored, policy: Policy) -> None:
        self.stored = stored
        self.expected = expected(stored, policy)
        self.identity = _both(stored, "identity")
        """What each node is of, by what is stored."""
        self._records = len(stored.evidence.records)
        known = np.array([kind in policy.kinds for kind in stored.evidence.kinds], np.bool_)
        # Of a kind that the policy doesn't know nothing is decided.
        turned = (self.expected.shared != stored.shared) & known[stored.evidence.kind]
        self.turned = np.flatnonzero(turned)
        """Identifiers whose being shared differs."""
        self._findings = list(self._find())

    def __len__(self) -> int:
        return len(self.stored.astray) + sum(len(finding.nodes) for finding in self._findings)

    def words(self, limit: int) -> list[str]:
        """The first of them, each in words."""
        return list(islice(self._words(), limit))

    def regions(self) -> Iterator[Region]:
        """What must be decided again for the differences to be gone, each part by itself."""
        label = self._label[self._concerned]
        turned = frozenset((self.turned + self._records).tolist())
        for part in np.split(self._concerned, np.flatnonzero(np.diff(label)) + 1) if len(label) else ():
            records, identifiers = np.split(part, [np.searchsorted(part, self._records)])
            recount = np.array([node for node in identifiers.tolist() if node in turned], np.int64)
            yield Region(*(tuple(self._names(nodes)) for nodes in (records, identifiers, recount)))
        for astray in self.stored.astray:
            if astray.record not in self._astray_codes:
                yield Region((astray.record,), (), ())

    @cached_property
    def _concerned(self) -> Nodes:
        """The records of the regions and their identifiers that differ, region by region."""
        nodes = len(self.identity)
        wrong = np.zeros(nodes, np.bool_)
        wrong[list(self._astray_codes.values())] = True
        for finding in self._findings:
            wrong[finding.nodes] = True
        concerned = np.zeros(self._label.max(initial=-1) + 1, np.bool_)
        concerned[self._label[wrong]] = True
        shown = np.flatnonzero(concerned[self._label] & (wrong | (np.arange(nodes) < self._records)))
        return shown[np.argsort(self._label[shown], kind="stable")]

    @cached_property
    def _label(self) -> Nodes:
        """A number for each node, equal for those that hang together by what is stored or by what should be."""
        nodes = len(self.identity)
        pairs = [
            (np.flatnonzero(codes >= 0), codes[codes >= 0] + nodes)
            for codes in (self.identity, _both(self.stored, "component"))
        ]
        return ties(self.stored, self.expected.inert, nodes + len(self.stored.ids), *pairs)[:nodes]

    @cached_property
    def _astray_codes(self) -> dict[RecordName, int]:
        return codes_of([astray.record for astray in self.stored.astray], self.stored.evidence.records)

    def _words(self) -> Iterator[str]:
        for finding in self._findings:
            yield from map(finding.words, range(len(finding.nodes)))
        yield from (astray.words for astray in self.stored.astray)

    def _find(self) -> Iterator[_Finding]:
        identity, component = self.identity, _both(self.stored, "component")
        yield from self._misplaced("identity", self.expected.identity, identity)
        yield _Finding(self.turned + self._records, self._turned_words)
        yield from self._misplaced("component", self.expected.component, component)
        yield self._misnamed(identity, component)
        yield self._mismarked()
        yield self._eventful()

    def _misplaced(self, what: str, should: Nodes, stored: Nodes) -> Iterator[_Finding]:
        """Where the numbers of what should be and the ids that are stored are not one to one."""
        name = self._name
        first, first_stored = _first(should), _first(stored)

        def of(node: np.integer[Any]) -> str:
            return f"of {self.stored.ids[int(stored[node])]}" if stored[node] >= 0 else "of none"

        outside = np.flatnonzero((should < 0) & (stored >= 0))
        yield _Finding(outside, lambda n: f"{name(outside[n])} should be of no {what} and is {of(outside[n])}")

        lost = np.flatnonzero((should >= 0) & (stored < 0) & (first[should] == np.arange(len(should))))
        yield _Finding(lost, lambda n: f"{name(lost[n])} should be of some {what} and is of none")

        apart = np.flatnonzero((should >= 0) & (stored != stored[first[should]]))

        def in_words(n: int) -> str:
            node, other = apart[n], first[should[apart[n]]]
            return f"{name(node)} should be of one {what} with {name(other)} and is {of(node)}, not {of(other)}"

        yield _Finding(apart, in_words)

        joined = np.flatnonzero((should >= 0) & (stored >= 0) & (should != should[first_stored[stored]]))
        by = first_stored[stored[joined]]
        yield _Finding(joined, lambda n: f"{name(joined[n])} should not be of one {what} with {name(by[n])}")

    def _turned_words(self, n: int) -> str:
        marked = self.stored.shared[self.turned[n]]
        name = self._name(self.turned[n] + self._records)
        return f"{name} is {'' if marked else 'not '}marked as shared and should {'not ' if marked else ''}be"

    def _misnamed(self, identity: Nodes, component: Nodes) -> _Finding:
        """Components that bear the id of none of their identities: nobody could lock them."""
        should = self.expected.component
        first = _first(should)
        named = np.zeros(len(first), np.bool_)
        named[should[(identity == component) & (should >= 0)]] = True
        nodes = first[~named & (first >= 0)]
        nodes = nodes[component[nodes] >= 0]
        return _Finding(
            nodes, lambda n: f"the component of {self._name(nodes[n])} is not named after one of its own identities"
        )

    def _mismarked(self) -> _Finding:
        """Rows whose mark of being refused is wrong."""
        evidence = self.stored.evidence
        should = {
            (r.record, r.identifier): refused_words(r) for r in self.expected.refusals if r.identifier is not None
        }
        code = codes_of([record for record, _ in should], evidence.records)
        at = np.flatnonzero(np.isin(evidence.record, np.array(list(code.values()), np.int64)))
        rows = sorted({*at.tolist(), *self.stored.refused})
        names = texts(evidence.records, evidence.record[rows])
        keys = texts(evidence.identifiers, evidence.identifier[rows])
        wrong = [
            (row, name, key)
            for row, name, key in zip(rows, names, keys, strict=True)
            if self.stored.refused.get(row) != should.get((name, key))
        ]

        def words(n: int) -> str:
            row, name, key = wrong[n]
            marked, why = self.stored.refused.get(row), should.get((name, key))
            return f"{name} -> {key} is marked as {marked or 'not refused'} and should be as {why or 'not refused'}"

        return _Finding(np.array([evidence.record[row] for row, _, _ in wrong], np.int64), words)

    def _eventful(self) -> _Finding:
        """Identifiers whose mark of having events is wrong."""
        marked = self.stored.marked_events
        wrong = np.flatnonzero(marked != self.stored.has_events)

        def words(n: int) -> str:
            fault = "is marked as having events and has none" if marked[wrong[n]] else "has events and is not marked so"
            return f"{self._name(wrong[n] + self._records)} {fault}"

        return _Finding(wrong + self._records, words)

    def _name(self, node: np.integer[Any]) -> str:
        return self._names(np.array([node]))[0]

    def _names(self, nodes: Nodes) -> list[str]:
        evidence = self.stored.evidence
        records, identifiers = nodes[nodes < self._records], nodes[nodes >= self._records] - self._records
        return [*texts(evidence.records, records), *texts(evidence.identifiers, identifiers)]


def _both(stored: Stored, what: str) -> Nodes:
    """Where records and, beyond them, identifiers stand."""
    return np.concatenate((getattr(stored.records, what), getattr(stored.identifiers, what)))


def _first(numbers: Nodes) -> Nodes:
    """For each number the first place that has it, -1 for one that no place has."""
    first = np.full(max(numbers.max(initial=-1) + 1, 1), -1, np.int32)
    placed = np.flatnonzero(numbers >= 0)[::-1]
    first[numbers[placed]] = placed
    return first
