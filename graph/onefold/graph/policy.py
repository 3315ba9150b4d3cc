"""The resolution rules: how far each kind of identifier is believed, and when it stops telling people apart.

A policy is a YAML file (the shipped one, ``policies/retail.yaml``, documents every field). It is read once,
checked as a whole and never changes afterwards; :attr:`Policy.version` names it in every decision.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from functools import cached_property, lru_cache
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Final, Literal, cast

from phonenumbers import SUPPORTED_REGIONS
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema, field_validator
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from onefold.graph import document
from onefold.graph.errors import InvalidInput, InvalidPolicy, Violation
from onefold.graph.model import TRAITS, Assurance, IdentifierKey

Label = Literal["Email", "Phone", "Device", "ExternalId"]
"""The node label of an identifier."""

Normalizer = Literal["email", "phone", "ip", "exact", "lower", "code"]
"""How a value is brought to its one form; see :mod:`onefold.graph.normalize`."""

LINK_TYPES: Final[Mapping[Label, str]] = {
    "Email": "HAS_EMAIL",
    "Phone": "HAS_PHONE",
    "Device": "USES_DEVICE",
    "ExternalId": "HAS_ID",
}
"""The type of a customer's link to an identifier, by the identifier's label."""

ORDER_LINK_TYPES: Final[Mapping[Label, str]] = {
    "Email": "WITH_EMAIL",
    "Phone": "WITH_PHONE",
    "Device": "FROM_DEVICE",
    "ExternalId": "WITH_ID",
}
"""The type of a guest order's link to an identifier, by the identifier's label."""

DEFAULT_SURVIVORSHIP: Final = "default"
"""The entry of ``survivorship`` that serves every trait without its own."""


def _did_you_mean(word: str, known: Mapping[str, Any] | list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(known)}"


def _regular_expression(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as err:
        raise ValueError(f"is no regular expression: {err}") from err
    return pattern


def _trait(name: str) -> str:
    known = [*TRAITS, DEFAULT_SURVIVORSHIP]
    if name not in known:
        raise ValueError(f"is no trait{_did_you_mean(name, known)}")
    return name


Share = Annotated[float, Field(strict=True, gt=0, le=1, allow_inf_nan=False)]
Count = Annotated[int, Field(strict=True, ge=1)]
Kind = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
Source = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
Pattern = Annotated[str, Field(max_length=500), AfterValidator(_regular_expression)]
Trait = Annotated[str, AfterValidator(_trait), WithJsonSchema({"enum": [*TRAITS, DEFAULT_SURVIVORSHIP]})]


class _Rules(BaseModel):
    # The docstrings of fields are what an editor shows of them, by way of the published schema.
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Confidence(_Rules):
    """How sure one source's word makes a link, by how that source came to know the identifier."""

    verified: Share
    """The person proved control of it: a confirmed mail, a code by SMS, a log-in on the device."""
    declared: Share
    """The person or a clerk typed it."""
    observed: Share
    """It was seen alongside: a tracking cookie, an import without context."""

    @cached_property
    def by_assurance(self) -> Mapping[str, float]:
        """The same three numbers, by the words of :class:`~onefold.graph.model.Assurance`."""
        return {assurance.value: getattr(self, assurance.value) for assurance in Assurance}


class Step(_Rules):
    """One step of a specificity table: a factor, and for how many customers of one identifier it holds."""

    up_to: Count | None = None
    """The greatest number of customers; left out in the last step, which holds for all beyond the others."""
    factor: Share
    """Multiplies the confidence of every link to the identifier."""


class Blocked(_Rules):
    """Values that identify nobody. Both forms are compared without regard to case, with the whole value."""

    values: tuple[str, ...] = ()
    """As they are written."""
    patterns: tuple[Pattern, ...] = ()
    """Regular expressions, in Python's dialect."""

    @cached_property
    def _values(self) -> frozenset[str]:
        return frozenset(value.casefold() for value in self.values)

    @cached_property
    def _patterns(self) -> tuple[re.Pattern[str], ...]:
        # Not one alternation: a back-reference such as (.)\1 would count the groups of its neighbours.
        return tuple(re.compile(pattern, re.IGNORECASE) for pattern in self.patterns)

    def __contains__(self, value: str) -> bool:
        return value.casefold() in self._values or any(p.fullmatch(value) for p in self._patterns)


class KindRule(_Rules):
    """What the policy says of one kind of identifier."""

    label: Label
    """The label of its nodes in the graph."""
    normalize: Normalizer = "exact"
    """How a value is brought to its one form: as it is, in lower case, or by what an email, phone, ip or code is."""
    confidence: Confidence
    """How sure one source's word makes a link, by how the source came to know the identifier."""
    shared_above: Count
    """An identifier that more customers than this have is shared: inert, as if it were not there."""
    limit: Count | None = None
    """How many distinct identifiers of this kind one identity may claim; null for any number."""
    specificity: tuple[Step, ...] = (Step(factor=1.0),)
    """The factor on a link's confidence, by how many customers have the identifier; it never rises."""
    blocked: Blocked = Blocked()
    """Values of this kind that identify nobody."""

    @field_validator("specificity")
    @classmethod
    def _steps_go_down(cls, steps: tuple[Step, ...]) -> tuple[Step, ...]:
        if not steps or steps[-1].up_to is not None:
            raise ValueError("the last step must leave out up_to: it holds for all that is beyond the others")
        bounds = [step.up_to for step in steps[:-1]]
        if None in bounds:
            raise ValueError("only the last step may leave out up_to")
        known = cast(list[int], bounds)
        if any(a >= b for a, b in pairwise(known)):
            raise ValueError("each up_to must be greater than the one before")
        if any(a.factor < b.factor for a, b in pairwise(steps)):
            raise ValueError("a factor may not rise with the number of customers")
        return steps

    @property
    def link_type(self) -> str:
        """The relationship type of a customer's link: ``HAS_EMAIL`` …."""
        return LINK_TYPES[self.label]

    @property
    def order_link_type(self) -> str:
        """The relationship type of a guest order's link: ``WITH_EMAIL`` …."""
        return ORDER_LINK_TYPES[self.label]


class SourceRule(_Rules):
    """What the policy says of one source system."""

    trust: Share = 1.0
    """Multiplies the confidence of everything that the source says."""
    deduplicated: bool = Field(default=False, strict=True)
    """The source keeps at most one record per person, so two of its records are two persons."""


class Policy(_Rules):
    """The resolution rules, checked. Made by :func:`load` or :func:`parse`; constant from then on.

    Other rules are another text, parsed: a ``model_copy`` would go by the old version's name.
    """

    number: Annotated[int, Field(strict=True, ge=1, alias="version")]
    """The number that the file gives itself; raise it when the rules change."""
    link_threshold: Share
    """A link with at least this confidence joins its record to the identifier."""
    accumulated_threshold: Share
    """A pair of records with at least this combined confidence is matched without such a link."""
    max_component: Count = 1000
    """The size of a component, in records, from which on it is worth an operator's look: commits that touch it are
    counted and logged."""
    default_region: str | None = None
    """Where a national phone number is from, if its record doesn't say (ISO 3166-1 alpha-2)."""
    sources: Mapping[Source, SourceRule] = Field(default_factory=dict)
    """What differs from full trust and no deduplication, by source."""
    survivorship: Mapping[Trait, tuple[Source, ...]] = Field(default_factory=dict)
    """Whose word on a trait is served, best first, then the latest word; ``default`` serves every other trait."""
    blocked: Blocked = Blocked()
    """Values that identify nobody, of whatever kind."""
    kinds: Annotated[Mapping[Kind, KindRule], Field(min_length=1)]
    """The kinds of identifier that there are, by name. A value of any other kind is refused."""

    @field_validator("default_region")
    @classmethod
    def _region_is_known(cls, region: str | None) -> str | None:
        if region is not None and region not in SUPPORTED_REGIONS:
            raise ValueError(f"{region!r} is no region with phone numbers (ISO 3166-1 alpha-2, upper case)")
        return region

    @cached_property
    def version(self) -> str:
        """What decisions name these rules by: the file's number and a digest of what the rules say.

        Comments, order and spelling of numbers don't count; any change of meaning does.
        """
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return f"{self.number}-{hashlib.sha256(canonical.encode()).hexdigest()[:12]}"

    def __hash__(self) -> int:
        return hash(self.version)

    def kind(self, kind: str) -> KindRule:
        """The rules of a kind. Raises InvalidInput (field ``kind``) when the policy has none for it."""
        try:
            return self.kinds[kind]
        except KeyError:
            hint = _did_you_mean(kind, self.kinds)
            raise InvalidInput([Violation("kind", f"{kind!r} is no kind of this policy{hint}")]) from None

    def base_confidence(self, kind: str, assurance: str, source: str) -> float:
        """How sure one assertion makes a link: the kind's confidence times the source's trust, in (0, 1]."""
        return self._base_confidence(kind, assurance, source)

    @cached_property
    def _base_confidence(self) -> Callable[[str, str, str], float]:
        # Asked of every row of evidence, for the same few triples.
        @lru_cache(maxsize=1 << 12)
        def base_confidence(kind: str, assurance: str, source: str) -> float:
            return self.kind(kind).confidence.by_assurance[assurance] * self.trust(source)

        return base_confidence

    def specificity(self, kind: str, d: int) -> float:
        """The factor on a link's confidence when ``d`` customers have the identifier, in (0, 1]."""
        steps = self.kind(kind).specificity
        return next(step.factor for step in steps if step.up_to is None or d <= step.up_to)

    def is_blocked(self, identifier: IdentifierKey) -> bool:
        """Whether an identifier is to be taken as not said at all.

        So is one of a kind that these rules don't know: under them it ties nobody to anything.
        """
        return self._is_blocked(identifier)

    @cached_property
    def _is_blocked(self) -> Callable[[IdentifierKey], bool]:
        # Resolution asks of every row, and a dozen patterns take 3 µs.
        @lru_cache(maxsize=1 << 15)
        def is_blocked(identifier: IdentifierKey) -> bool:
            kind, _, value = identifier.partition(":")
            rule = self.kinds.get(kind)
            return rule is None or value in self.blocked or value in rule.blocked

        return is_blocked

    def trust(self, source: str) -> float:
        """The factor on everything that a source says; 1 for a source that isn't named."""
        rule = self.sources.get(source)
        return 1.0 if rule is None else rule.trust

    def is_deduplicated(self, source: str) -> bool:
        """Whether two records of this source are two persons."""
        rule = self.sources.get(source)
        return rule is not None and rule.deduplicated

    def preferred_sources(self, trait: str) -> tuple[str, ...]:
        """The sources whose word on a trait goes before all others', best first.

        Among records of one source, and of sources that aren't named, the latest word wins.
        """
        return self.survivorship.get(trait, self.survivorship.get(DEFAULT_SURVIVORSHIP, ()))


class _PublishedSchema(GenerateJsonSchema):
    """pydantic's JSON schema without titles that repeat the names, and as strict on names as the policy is."""

    def field_title_should_be_set(self, schema: object) -> bool:
        return False

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        described = super().dict_schema(schema)
        if "patternProperties" in described:
            described["additionalProperties"] = False
        names = self.generate_inner(schema["keys_schema"]) if "keys_schema" in schema else {}
        if "enum" in names:
            described["propertyNames"] = names
        return described

    def generate(
        self, schema: CoreSchema, mode: Literal["validation", "serialization"] = "validation"
    ) -> JsonSchemaValue:
        return {
            "$schema": self.schema_dialect,
            **super().generate(schema, mode),
            "title": "Onefold's resolution policy",
            "description": "Which identifiers make two records one person, and how surely.",
        }


def schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of a policy file, for editors. It holds for every policy that :func:`parse`
    takes, and can't say all: that steps go down, or that a pattern is a regular expression."""
    return Policy.model_json_schema(schema_generator=_PublishedSchema)


def load(path: Path | None = None) -> Policy:
    """The policy in a file, or the shipped one for retail.

    Raises InvalidPolicy when the file can't be read or breaks a rule, naming every field and its line.
    """
    return parse(read(path))


def read(path: Path | None = None) -> str:
    """The text of a policy file, or of the shipped one. Raises InvalidPolicy when it can't be read."""
    if path is None:
        return (resources.files("onefold.graph") / "policies" / "retail.yaml").read_text("utf-8")
    return document.read(path, error=InvalidPolicy)


def parse(text: str) -> Policy:
    """The policy in a YAML text. Raises InvalidPolicy, naming every field that breaks a rule and its line."""
    return document.parse(text, Policy, name="policy", error=InvalidPolicy)
