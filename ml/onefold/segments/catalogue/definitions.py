"""What a catalogue defines: custom features, labels, ladders of tiers, segments; all of it checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import Final

from onefold.graph.errors import InvalidInput, NotFound
from onefold.graph.model import Instant
from onefold.segments.check import Rule
from onefold.segments.printing import text_of
from onefold.segments.problems import did_you_mean
from onefold.segments.reads import Named, evaluation_order, reads
from onefold.segments.tree import CountEvents
from onefold.segments.vocabulary import Row, Type, TypedFeature, Vocabulary

MAX_KEY: Final = 63
KEY: Final = r"^[a-z][a-z0-9_]{0,62}$"
"""What a feature, a label, a tier or a segment may be called."""


class InvalidCatalogue(InvalidInput):
    """A catalogue breaks rules; carries the path, line and column of each."""


class Layer(StrEnum):
    """What a label is about."""

    ATTRIBUTE = "attribute"
    BEHAVIOUR = "behaviour"
    VALUE = "value"
    INTEREST = "interest"
    SOCIAL = "social"
    LIFE_CYCLE = "life_cycle"
    CHANNEL = "channel"


class Status(StrEnum):
    """How far a label is in its life."""

    DRAFT = "draft"
    """Checked and tested, but nobody has it yet."""
    ACTIVE = "active"
    RETIRED = "retired"
    """Kept for what it meant; nobody has it any more."""


VISIBLE: Final = {
    Status.ACTIVE: frozenset({Status.ACTIVE}),
    Status.DRAFT: frozenset({Status.ACTIVE, Status.DRAFT}),
    Status.RETIRED: frozenset(Status),
}
"""Which labels a rule may read, by the status of what has the rule."""


@dataclass(frozen=True, slots=True)
class EventField:
    """What ``count_events`` may ask of an event."""

    key: str
    type: Type
    property: str
    """The free property of the event; empty for ``channel``, which every event has."""


BASE_EVENT_FIELDS: Final = (EventField("channel", Type.TEXT, ""), EventField("category", Type.TEXT, "category"))
"""The fields that every catalogue has."""


@dataclass(frozen=True, slots=True)
class Property:
    """A free property of the profile, the source of a custom feature."""

    name: str

    def __str__(self) -> str:
        return f'property("{self.name}")'


@dataclass(frozen=True, slots=True)
class CustomFeature:
    """A feature of the user's own."""

    key: str
    type: Type
    source: CountEvents | Property
    meaning: str = ""
    unit: str = ""
    null_means: str = ""
    """What it says of a person that there is no value."""

    @property
    def typed(self) -> TypedFeature:
        """As rules see it."""
        return TypedFeature(self.key, self.type, self.unit)


@dataclass(frozen=True, slots=True)
class Example:
    """A person of whom the author says what a rule comes to."""

    place: str
    """In the file, for whoever mends it."""
    given: Row
    at: Instant
    expected: str
    """``true``, ``false`` or ``unknown``; of a ladder, the key of a tier."""


@dataclass(frozen=True, slots=True)
class Label:
    """A label: whoever makes its rule true has it."""

    key: str
    layer: Layer
    rule: Rule
    description: str = ""
    owner: str = ""
    version: int = 1
    status: Status = Status.ACTIVE
    refresh_hours: int = 24
    """How old an answer may be."""
    ladder: str = ""
    """The key of the ladder of which this is a tier."""
    examples: tuple[Example, ...] = ()

    @property
    def named(self) -> Named:
        """Its name among labels and segments."""
        return Named("label", self.key)


@dataclass(frozen=True, slots=True)
class Tier:
    """A rung of a ladder."""

    key: str
    rule: Rule
    """As the author wrote it: what it asks beside that no rung before it is reached."""
    description: str = ""


@dataclass(frozen=True, slots=True)
class Ladder:
    """Tiers, of which everybody has exactly one: the first whose rule is true.

    Where an earlier rule is left open, the tier is ``unknown``; where all are false, ``otherwise``. Every tier is a
    label, called as the ladder and the tier: ``rfm_high_value``.
    """

    key: str
    tiers: tuple[Tier, ...]
    unknown: str
    otherwise: str
    layer: Layer
    description: str = ""
    owner: str = ""
    version: int = 1
    status: Status = Status.ACTIVE
    refresh_hours: int = 24
    examples: tuple[Example, ...] = ()

    def label(self, tier: str) -> str:
        """The key of the label that those of a tier have."""
        return f"{self.key}_{tier}"


@dataclass(frozen=True, slots=True)
class Segment:
    """Those who make a rule true, or a list of people fixed at a moment."""

    key: str
    rule: Rule | None
    """None for a static list."""
    description: str = ""
    owner: str = ""
    records_file: str = ""
    """Of a static list: the CSV file that names a record of each, relative to the catalogue."""
    examples: tuple[Example, ...] = ()

    @property
    def named(self) -> Named:
        """Its name among labels and segments."""
        return Named("segment", self.key)


@dataclass(frozen=True)
class Catalogue:
    """All that is defined. Made by :func:`onefold.segments.catalogue.load` or ``parse``; constant from then on."""

    number: int
    """The number that the file gives itself; raise it when something changes."""
    time_zone: str
    """Where an order or event happened whose record does not say; an IANA name."""
    base: Mapping[str, TypedFeature]
    """The features that come with Onefold, by key."""
    event_fields: Mapping[str, EventField]
    features: Mapping[str, CustomFeature]
    labels: Mapping[str, Label]
    """By key, with those that are tiers of a ladder."""
    ladders: Mapping[str, Ladder] = field(default_factory=dict)
    segments: Mapping[str, Segment] = field(default_factory=dict)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """What the rule of a new segment may speak of."""
        return Vocabulary(
            {**self.base, **{key: feature.typed for key, feature in self.features.items()}},
            {key: TypedFeature(key, each.type) for key, each in self.event_fields.items()},
            frozenset(key for key, label in self.labels.items() if label.status is Status.ACTIVE),
            frozenset(self.segments),
        )

    @cached_property
    def rules(self) -> Mapping[Named, Rule]:
        """What is evaluated: the rule of each active label and of each segment that has one."""
        labels = {label.named: label.rule for label in self.labels.values() if label.status is Status.ACTIVE}
        segments = {segment.named: segment.rule for segment in self.segments.values() if segment.rule}
        return labels | segments

    @cached_property
    def order(self) -> tuple[Named, ...]:
        """The names of :attr:`rules`, each after all that its rule reads."""
        return tuple(evaluation_order({name: rule.tree for name, rule in self.rules.items()}))

    @cached_property
    def windows(self) -> tuple[CountEvents, ...]:
        """Every count of events that a rule or a custom feature asks for, once, by its canonical text."""
        asked = {window for rule in self.rules.values() for window in reads(rule.tree).windows}
        asked |= {each.source for each in self.features.values() if isinstance(each.source, CountEvents)}
        return tuple(sorted(asked, key=text_of))

    @cached_property
    def version(self) -> str:
        """What frames name this catalogue by: the file's number and a digest of what it says.

        Comments, spelling and the order of definitions don't count; any change of what they say does.
        """
        return f"{self.number}-{self.digest[:12]}"

    @cached_property
    def digest(self) -> str:
        """A digest (SHA-256, in hexadecimal digits) of what the catalogue says."""
        return hashlib.sha256(json.dumps(as_data(self), sort_keys=True).encode()).hexdigest()

    def readers(self, name: Named) -> tuple[Named, ...]:
        """Who reads a label or a segment in its rule, drafts and retired labels too, by name."""
        return self._readers.get(name, ())

    @cached_property
    def _readers(self) -> Mapping[Named, tuple[Named, ...]]:
        rules = {label.named: label.rule for label in self.labels.values()} | dict(self.rules)
        found: dict[Named, list[Named]] = {}
        for reader in sorted(rules):
            for name in reads(rules[reader].tree).named:
                found.setdefault(name, []).append(reader)
        return {name: tuple(readers) for name, readers in found.items()}

    def dependents(self, names: Iterable[Named]) -> tuple[Named, ...]:
        """Who reads any of these, or reads who does, and so on, by name."""
        found: set[Named] = set()
        waiting = list(names)
        while waiting:
            new = {*self.readers(waiting.pop())} - found
            found |= new
            waiting += new
        return tuple(sorted(found))

    def with_segments(self, segments: Iterable[Segment]) -> Catalogue:
        """This catalogue with more segments, such as those that were made by RPC; one of its own key takes its place.

        Raises InvalidCatalogue where rules then go around in a circle.
        """
        more = {segment.key: segment for segment in segments}
        combined = replace(self, segments={**self.segments, **more})
        try:
            _ = combined.order
        except InvalidInput as error:
            raise InvalidCatalogue(error.violations) from error
        return combined


def tier_rules(ladder: Ladder) -> dict[str, str]:
    """The text of the rule of every tier by itself, by the tier's key.

    A rung asks that each above it is false, and not only that it is not true; who has no other tier is ``unknown``.
    """
    rules: dict[str, str] = {}
    refused: list[str] = []
    for tier in ladder.tiers:
        rules[tier.key] = " && ".join([*refused, f"({tier.rule.text})"])
        refused.append(f"!({tier.rule.text})")
    rules[ladder.otherwise] = " && ".join(refused)
    rules[ladder.unknown] = " && ".join(f'!has_label("{ladder.label(key)}")' for key in rules)
    return rules


def named(catalogue: Catalogue, key: str) -> Label | Ladder | Segment | CustomFeature:
    """What is defined under a key; a label before a segment of the same key. Raises NotFound with the nearest key."""
    for defined in (catalogue.ladders, catalogue.labels, catalogue.segments, catalogue.features):
        if found := defined.get(key):
            return found
    keys = [*catalogue.ladders, *catalogue.labels, *catalogue.segments, *catalogue.features]
    raise NotFound("label, tier, segment or custom feature", key, did_you_mean(key, keys).removeprefix("; "))


def as_data(catalogue: Catalogue) -> dict[str, object]:
    """A catalogue as JSON has it: by kind and key, what :func:`definition` says."""
    return {
        "catalogue": catalogue.number,
        "time_zone": catalogue.time_zone,
        "event_fields": {key: {"type": e.type, "property": e.property} for key, e in catalogue.event_fields.items()},
        "features": {key: definition(each) for key, each in catalogue.features.items()},
        "labels": {key: definition(each) for key, each in catalogue.labels.items() if not each.ladder},
        "tiers": {key: definition(each) for key, each in catalogue.ladders.items()},
        "segments": {key: definition(each) for key, each in catalogue.segments.items()},
    }


def definition(defined: Label | Ladder | Segment | CustomFeature) -> dict[str, object]:
    """What is said of one thing, field by field, called as in the file; rules in their canonical text, no examples."""
    match defined:
        case CustomFeature():
            source = text_of(defined.source) if isinstance(defined.source, CountEvents) else str(defined.source)
            return {
                "type": defined.type.value,
                "source": source,
                "unit": defined.unit,
                "meaning": defined.meaning,
                "null_means": defined.null_means,
            }
        case Label():
            return {"layer": defined.layer.value, "rule": defined.rule.text, **_life(defined)}
        case Ladder():
            of = [{"key": tier.key, "rule": tier.rule.text, "description": tier.description} for tier in defined.tiers]
            ends = {"unknown": defined.unknown, "otherwise": defined.otherwise}
            return {"layer": defined.layer.value, "of": of, **ends, **_life(defined)}
        case Segment():
            rule = {"rule": defined.rule.text} if defined.rule else {"static": defined.records_file}
            return {**rule, "description": defined.description, "owner": defined.owner}


def _life(defined: Label | Ladder) -> dict[str, object]:
    return {
        "description": defined.description,
        "owner": defined.owner,
        "version": defined.version,
        "status": defined.status.value,
        "refresh_hours": defined.refresh_hours,
    }
