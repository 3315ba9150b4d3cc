"""The form of a catalogue's file: which fields there are, and what may stand in each by itself.

What fields say together, and whether rules make sense, is for :mod:`onefold.segments.catalogue.reading`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from onefold.segments.catalogue.definitions import KEY, Layer, Status


def _time_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"{name!r} is no IANA time zone, such as Europe/London") from error
    return name


def _expectation(value: object) -> object:
    """What YAML takes for a truth, as a word."""
    return str(value).lower() if isinstance(value, bool) else value


def _moment(value: object) -> object:
    """What YAML takes for an instant, as a text."""
    return value.isoformat() if isinstance(value, date | datetime) else value


Key = Annotated[str, Field(pattern=KEY)]
PropertyName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
TimeZone = Annotated[str, AfterValidator(_time_zone)]
Version = Annotated[int, Field(strict=True, ge=1)]
Refresh = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,3}[hd]$")]
Expectation = Annotated[str, BeforeValidator(_expectation), WithJsonSchema({"type": ["boolean", "string"]})]
Moment = Annotated[str, BeforeValidator(_moment)]
FeatureType = Literal["int", "float", "days", "text", "bool", "instant", "list of text"]


class _Part(BaseModel):
    # The docstrings of fields are what an editor shows of them, by way of the published schema.
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class EventFieldInFile(_Part):
    """What count_events may ask of an event."""

    type: Literal["text", "int", "float", "bool"]
    """What its values are."""
    property: PropertyName
    """The free property of the event that it reads."""


class FeatureInFile(_Part):
    """A feature of your own."""

    type: FeatureType
    """What its values are."""
    source: str
    """Where it comes from: `count_events("view", category == "fitness", 30d)`, or `property("company_size")` for a free
    property of the profile."""
    unit: str = ""
    """What is counted or measured, in the plural; amount and micros can't be compared with plain numbers."""
    meaning: str = ""
    """For whoever writes a rule."""
    null_means: str = ""
    """What it says of a person that there is no value."""


class ExampleInFile(_Part):
    """A person of whom you say what the rule comes to; `onefold catalogue check` asks."""

    given: Mapping[str, Any] = Field(default_factory=dict)
    """What is known of the person, by feature, and under `labels` and `segments` what the person has. What is left out
    is unknown. An instant is a day, an instant in UTC, or as `91d ago` or `in 3d`."""
    at: Moment = "2026-01-01"
    """When the rule is asked: a day or an instant."""
    is_: Expectation = Field(alias="is")
    """true, false or unknown; of a ladder, the key of a tier."""


Examples = tuple[ExampleInFile, ...]


class LabelInFile(_Part):
    """A label: whoever makes its rule true has it."""

    key: Key
    """By which rules ask for it: has_label("…")."""
    layer: Layer
    """What it is about."""
    rule: str
    """In the rule language."""
    description: str = ""
    """For people."""
    owner: str = ""
    """Who answers for it, and is asked before it changes."""
    version: Version = 1
    """Raise it when the rule changes."""
    status: Status = Status.ACTIVE
    """A draft is checked and tested, but nobody has it; a retired label is kept for what it meant."""
    refresh: Refresh = "1d"
    """How old an answer may be: hours or days."""
    tests: Examples = ()
    """People of whom you say whether they have it."""


class TierInFile(_Part):
    """A rung of a ladder."""

    key: Key
    """The label of those in it is the ladder's key, an underscore, and this."""
    rule: str
    """Who is in, of those for whom no rung above holds."""
    description: str = ""
    """For people."""


class LadderInFile(_Part):
    """Tiers, of which everybody has exactly one: the first whose rule is true."""

    key: Key
    """Of the whole."""
    of: Annotated[tuple[TierInFile, ...], Field(min_length=1)]
    """The rungs, the first of them asked first."""
    unknown: Key = "unknown"
    """The tier of those for whom a rule is left open, and none above it is true."""
    otherwise: Key = "other"
    """The tier of those for whom all rules are false."""
    layer: Layer = Layer.VALUE
    """What it is about."""
    description: str = ""
    """For people."""
    owner: str = ""
    """Who answers for it, and is asked before it changes."""
    version: Version = 1
    """Raise it when a rule changes."""
    status: Status = Status.ACTIVE
    """As of a label."""
    refresh: Refresh = "1d"
    """How old an answer may be: hours or days."""
    tests: Examples = ()
    """People of whom you say in which tier they are."""


class StaticInFile(_Part):
    """A list of people, fixed at a moment."""

    records: str
    """A CSV file beside this one with a column `record`, as customer:crm:17: one record of each person."""


class SegmentInFile(_Part):
    """Those who make a rule true, or a list of people."""

    key: Key
    """By which rules ask for it: in_segment("…")."""
    rule: str | None = None
    """In the rule language."""
    static: StaticInFile | None = None
    """In place of a rule."""
    description: str = ""
    """For people."""
    owner: str = ""
    """Who answers for it, and is asked before it changes."""
    tests: Examples = ()
    """People of whom you say whether they are in it."""


class CatalogueInFile(_Part):
    """Labels and segments, and what their rules may speak of besides what comes with Onefold."""

    catalogue: Version
    """The number of this version; raise it when something changes."""
    time_zone: TimeZone = "UTC"
    """Where an order or an event happened whose record does not say; an IANA name."""
    event_fields: Mapping[Key, EventFieldInFile] = Field(default_factory=dict)
    """What count_events may ask of an event besides channel and category, by key."""
    features: Mapping[Key, FeatureInFile] = Field(default_factory=dict)
    """Features of your own, by key."""
    labels: tuple[LabelInFile, ...] = ()
    """In any order."""
    tiers: tuple[LadderInFile, ...] = ()
    """Ladders, in any order."""
    segments: tuple[SegmentInFile, ...] = ()
    """In any order."""


class _PublishedSchema(GenerateJsonSchema):
    """pydantic's JSON schema without titles that repeat the names, and as strict on names as the file is."""

    def field_title_should_be_set(self, schema: object) -> bool:
        return False

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        described = super().dict_schema(schema)
        if "patternProperties" in described:
            described["additionalProperties"] = False
        return described

    def generate(
        self, schema: CoreSchema, mode: Literal["validation", "serialization"] = "validation"
    ) -> JsonSchemaValue:
        return {
            "$schema": self.schema_dialect,
            **super().generate(schema, mode),
            "title": "Onefold's catalogue of labels",
            "description": "Labels, tiers and segments: rules on what is known of a person.",
        }


def schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of a catalogue's file, for editors. It holds for every file that
    :func:`onefold.segments.catalogue.parse` takes, and can't say all: that a rule makes sense, or that keys differ."""
    return CatalogueInFile.model_json_schema(schema_generator=_PublishedSchema)
