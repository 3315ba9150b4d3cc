"""Labels and segments of one person: the rules of a catalogue, compiled once.

The twin of :mod:`onefold.segments.frame`, which says the same of everybody. Where little changed little is asked: only
the rules that read what changed, or what follows from it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from onefold.graph.model import Instant
from onefold.segments.evaluate import compiled
from onefold.segments.frame import KEYS, Rules
from onefold.segments.reads import Named, has_clock, reads
from onefold.segments.vocabulary import LABELS, SEGMENTS, Row


@dataclass(frozen=True, slots=True)
class Memberships:
    """What one person has."""

    labels: frozenset[str]
    segments: frozenset[str]


class CompiledRules:
    """The rules of a catalogue as functions. All threads may use it."""

    def __init__(self, catalogue: Rules) -> None:
        self._rules = [(named.kind, named.key, compiled(catalogue.rules[named])) for named in catalogue.order]
        self._readers: dict[str | Named, list[int]] = defaultdict(list)
        """Of a feature's column, or of a label or segment: the places of the rules that read it."""
        self._clocks: list[int] = []
        """Of the rules that time alone may change."""
        for place, named in enumerate(catalogue.order):
            rule = catalogue.rules[named]
            read: list[str | Named] = [*rule.features, *reads(rule.tree).named]
            for each in read:
                self._readers[each].append(place)
            if has_clock(rule.tree):
                self._clocks.append(place)

    def all(self, row: Row, now: Instant, static: Iterable[str] = ()) -> Memberships:
        """What a person has of whom ``row`` is known; ``static`` are the static segments that they are in."""
        held = {"label": set[str](), "segment": set(static)}
        known: dict[str, Any] = {**row, LABELS: held["label"], SEGMENTS: held["segment"]}
        for kind, key, holds in self._rules:
            if holds(known, now):
                held[kind].add(key)
        return Memberships(frozenset(held["label"]), frozenset(held["segment"]))

    def again(self, row: Row, now: Instant, before: Memberships, changed: Collection[str]) -> Memberships:
        """What a person has now who had ``before`` until the features ``changed``, at the same instant or before now.

        Static segments stay as they were.
        """
        held = {"label": set(before.labels), "segment": set(before.segments)}
        known: dict[str, Any] = {**row, LABELS: held["label"], SEGMENTS: held["segment"]}
        due = bytearray(len(self._rules))
        for feature in changed:
            self._mark(due, self._readers.get(feature, ()))
        self._mark(due, self._clocks)
        place = due.find(1)
        while place >= 0:
            kind, key, holds = self._rules[place]
            keys = held[kind]
            if (key in keys) != (is_in := holds(known, now) is True):
                (keys.add if is_in else keys.discard)(key)
                self._mark(due, self._readers.get(Named(kind, key), ()))  # they all come later
            place = due.find(1, place + 1)
        return Memberships(frozenset(held["label"]), frozenset(held["segment"]))

    def evaluated(self, features: pa.Table, static: Mapping[str, Collection[str]], now: Instant) -> pa.Table:
        """As :func:`onefold.segments.frame.evaluated`, for few people: no statement is planned for them."""
        known = features
        for place, field in enumerate(features.schema):
            if pa.types.is_timestamp(field.type):
                known = known.set_column(place, field.name, features[field.name].cast(pa.int64()))
        found = [
            self.all(row, now, [key for key, identities in static.items() if row["identity"] in identities])
            for row in known.to_pylist()
        ]
        for column, keys in (
            (LABELS, [sorted(each.labels) for each in found]),
            (SEGMENTS, [sorted(each.segments) for each in found]),
        ):
            features = features.append_column(pa.field(column, KEYS, nullable=False), pa.array(keys, KEYS))
        return features

    @staticmethod
    def _mark(due: bytearray, places: Iterable[int]) -> None:
        for place in places:
            due[place] = 1
