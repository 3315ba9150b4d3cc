"""All stored evidence that bears on some people, for those who ask why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from onefold.graph.evidence import Evidence
from onefold.graph.model import IdentifierKey, Instant, RecordName
from onefold.graph.policy import Policy
from onefold.graph.subject import Subject, SubjectKind


@dataclass(frozen=True, slots=True)
class Word:
    """What an operator said of two customer records."""

    same: bool
    """True: they are one person. False: they never are."""
    a: RecordName
    b: RecordName
    actor: str
    reason: str
    at: Instant
    expires_at: Instant | None = None
    lapsed: bool = False
    """Whether the service has said that its time is over: until then it holds, whatever a clock says."""


@dataclass(frozen=True, slots=True)
class Component:
    """The whole components of some subjects, as stored."""

    subjects: tuple[Subject, ...]
    identities: tuple[str, ...]
    """The identity of each subject."""
    evidence: Evidence
    words: tuple[Word, ...] = ()
    """By the names of the records; one of the two may be outside."""
    display_names: Mapping[RecordName, str] = field(default_factory=dict)
    """The name that a customer record gives, where it gives one."""
    outside: Mapping[RecordName, str] = field(default_factory=dict)
    """The identities of records outside that operators spoke of."""
    degrees: Mapping[IdentifierKey, int] = field(default_factory=dict)
    """How many links lead to each identifier that all subjects have and that is shared."""

    def ends(self, number: int) -> frozenset[str]:
        """The nodes that a subject means: the record or identifier it names, else all that its identity consists of."""
        subject, identity = self.subjects[number], self.identities[number]
        named = self.evidence.records if subject.kind is SubjectKind.RECORD else self.evidence.identifiers
        if subject.kind is not SubjectKind.IDENTITY and subject.name in named:
            return frozenset((subject.name,))
        return self.members(identity) or frozenset(
            key for key, state in self.evidence.identifiers.items() if state.identity == identity
        )

    def members(self, identity: str) -> frozenset[RecordName]:
        """The records of an identity."""
        return frozenset(name for name, r in self.evidence.records.items() if r.identity == identity)

    def identity_of(self, node: str) -> str:
        """The identity of a record or an identifier; empty if it has none."""
        state = self.evidence.records.get(node) or self.evidence.identifiers.get(node)
        return (state.identity if state else self.outside.get(node)) or ""


def in_common(component: Component, policy: Policy) -> list[IdentifierKey]:
    """The identifiers that tie nobody to anything (shared or blocked) and that all the subjects have, sorted."""
    evidence = component.evidence
    held = [
        {key[0] for name in component.members(identity) for key in evidence.records[name].links}
        for identity in component.identities
    ]
    return sorted(v for v in set.intersection(*held) if evidence.identifiers[v].shared or policy.is_blocked(v))
