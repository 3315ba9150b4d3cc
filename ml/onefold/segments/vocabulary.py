"""What rules may speak of: features with their types, fields of events, labels and segments."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from onefold.graph.errors import InvalidInput, Violation
from onefold.ml import catalogue
from onefold.segments.functions import FUNCTIONS
from onefold.segments.person_features import PERSON_FEATURES
from onefold.segments.tokens import RESERVED
from onefold.segments.types import Type as Type

LABELS: Final = "labels"
SEGMENTS: Final = "segments"
"""Under these names a row has the keys of the labels and the segments that its person has."""

Value = int | float | bool | str | Collection[str]
"""What a row may hold: an instant as milliseconds, a text case-folded, a finite number, no negative zero."""

Row = Mapping[str, Value | None]
"""What is known of one person, by the keys of features, with :data:`LABELS` and :data:`SEGMENTS`. What is unknown is
None or missing."""


@dataclass(frozen=True, slots=True)
class TypedFeature:
    """A feature, or a field of events, as rules see it."""

    key: str
    """A column of the frame is called so."""
    type: Type
    unit: str = ""
    """As in :class:`onefold.ml.catalogue.Feature`; ``amount``, ``micros`` and the type ``days`` are measures of their
    own, everything else counts as a plain number."""
    property: str = ""
    """Of ``(:Identity)`` in the graph; by default ``f_`` and the key."""

    def __post_init__(self) -> None:
        if not self.property:
            object.__setattr__(self, "property", f"f_{self.key}")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """All that a rule may speak of."""

    features: Mapping[str, TypedFeature]
    """By key."""
    event_fields: Mapping[str, TypedFeature] = field(default_factory=dict)
    """What ``count_events`` may ask of an event, by key."""
    labels: Collection[str] | None = None
    segments: Collection[str] | None = None
    """By key; None where it is not known which there are, so that any may be asked for."""

    def __post_init__(self) -> None:
        wrong = [key for key in (*self.features, *self.event_fields) if not is_key(key)]
        if wrong:
            words = "must be lower-case letters, digits and underscores, and no word of the rule language"
            raise InvalidInput([Violation(key, words) for key in wrong])


_KEY: Final = re.compile(r"[a-z_][a-z0-9_]*")
_TAKEN: Final = (LABELS, SEGMENTS, "true", "false", *RESERVED, *FUNCTIONS)


def is_key(word: str) -> bool:
    """Whether a feature or a field of events may be called so."""
    return _KEY.fullmatch(word) is not None and word not in _TAKEN


def by_key(features: Iterable[TypedFeature]) -> dict[str, TypedFeature]:
    """The features by their keys."""
    return {feature.key: feature for feature in features}


def _of_catalogue(feature: catalogue.Feature) -> TypedFeature:
    if feature.unit == "days":
        return TypedFeature(feature.key, Type.DAYS, feature.unit)
    whole = feature.type is catalogue.ValueType.WHOLE
    return TypedFeature(feature.key, Type.INT if whole else Type.FLOAT, feature.unit)


PREDICTIONS: Final = (
    TypedFeature("churn_probability", Type.FLOAT, "share", "churn_probability"),
    TypedFeature("expected_orders", Type.FLOAT, "orders", "expected_orders"),
    TypedFeature("predicted_spend_micros", Type.INT, "micros", "predicted_spend_micros"),
    TypedFeature("next_order_at", Type.INSTANT, "", "next_order_at"),
    TypedFeature("identity_confidence", Type.FLOAT, "share", "identity_confidence"),
    TypedFeature("weakest_merge_share", Type.FLOAT, "share", "weakest_merge_share"),
)
"""What is predicted of those who were scored (``docs/scores.md``)."""

FEATURES: Final = by_key(
    [
        *map(_of_catalogue, catalogue.CATALOGUE),
        *PREDICTIONS,
        *(TypedFeature(feature.key, feature.type, feature.unit) for feature in PERSON_FEATURES),
    ]
)
"""What a frame knows of everybody, in the order of its columns: the features of :data:`onefold.ml.catalogue.CATALOGUE`,
:data:`PREDICTIONS`, and :data:`onefold.segments.person_features.PERSON_FEATURES`."""

EVENT_FIELDS: Final = by_key([TypedFeature("channel", Type.TEXT), TypedFeature("category", Type.TEXT)])
"""What can be asked of an event."""


def shipped(labels: Collection[str] | None = None, segments: Collection[str] | None = None) -> Vocabulary:
    """The features that come with Onefold, with these labels and segments."""
    return Vocabulary(FEATURES, EVENT_FIELDS, labels, segments)
