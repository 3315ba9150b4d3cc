"""Labels and segments of one person: the rules of a catalogue, compiled once.

The twin of :mod:`onefold.segments.frame`, which says the same of everybody.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from onefold.graph.model import Instant
from onefold.segments.evaluate import compiled
from onefold.segments.frame import KEYS, Rules
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

    def all(self, row: Row, now: Instant, static: Iterable[str] = ()) -> Memberships:
        """What a person has of whom ``row`` is known; ``static`` are the static segments that they are in."""
        held = {"label": set[str](), "segment": set(static)}
        known: dict[str, Any] = {**row, LABELS: held["label"], SEGMENTS: held["segment"]}
        for kind, key, holds in self._rules:
            if holds(known, now):
                held[kind].add(key)
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
