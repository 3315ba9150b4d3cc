"""Which of several values is served: what records say of a person, and the policy's choice among it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onefold.graph.model import TRAITS, Instant, PropertyValue, RecordName, source_of
from onefold.graph.policy import Policy
from onefold.graph.timeline import properties_of, value_of


@dataclass(frozen=True, slots=True)
class TraitValue:
    """What one record says of a trait."""

    value: PropertyValue
    record: RecordName
    observed_at: Instant
    """When that record was observed."""


@dataclass(frozen=True, slots=True)
class GoldenTrait:
    """One trait of a person, chosen from what their records say."""

    name: str
    chosen: TraitValue
    alternatives: tuple[TraitValue, ...] = ()
    """The other values, each by the first record that gives it, in the order in which they would be chosen."""


@dataclass(frozen=True, slots=True)
class Known:
    """What one customer record says."""

    record: RecordName
    observed_at: Instant | None
    """None for a record that others only spoke of: it says nothing itself."""
    traits: Mapping[str, PropertyValue]
    properties: Mapping[str, PropertyValue]

    @classmethod
    def of(cls, row: Sequence[Any], names: Iterable[str] = TRAITS) -> Known:
        """From a row of the record's key, when it was observed, its traits of these names, and its free properties
        (:func:`onefold.graph.timeline.free_properties`)."""
        key, observed_at, values, properties = row
        traits = {t: value_of(v) for t, v in zip(names, values, strict=True) if v is not None}
        return cls(f"customer:{key}", observed_at, traits, properties_of(properties))


def golden_traits(known: Iterable[Known], policy: Policy) -> tuple[GoldenTrait, ...]:
    """Each trait that any record knows: by the policy's preferred sources, then the latest, then the record's name."""
    values: dict[str, list[TraitValue]] = defaultdict(list)
    for record in known:
        for name, value in record.traits.items():
            values[name].append(TraitValue(value, record.record, record.observed_at or 0))
    return tuple(_golden(name, values[name], policy) for name in sorted(values))


def latest_properties(known: Iterable[Known]) -> Mapping[str, PropertyValue]:
    """Each free property that any record knows, by name: the latest, then by the record's name."""
    latest: dict[str, PropertyValue] = {}
    for record in sorted(known, key=lambda k: (-(k.observed_at or 0), k.record)):
        for name, value in record.properties.items():
            latest.setdefault(name, value)
    return dict(sorted(latest.items()))


def _golden(name: str, values: list[TraitValue], policy: Policy) -> GoldenTrait:
    preferred = {source: rank for rank, source in enumerate(policy.preferred_sources(name))}

    def rank(value: TraitValue) -> tuple[int, Instant, RecordName]:
        return preferred.get(source_of(value.record), len(preferred)), -value.observed_at, value.record

    distinct: dict[PropertyValue, TraitValue] = {}
    for value in sorted(values, key=rank):
        distinct.setdefault(value.value, value)
    chosen, *others = distinct.values()
    return GoldenTrait(name, chosen, tuple(others))
