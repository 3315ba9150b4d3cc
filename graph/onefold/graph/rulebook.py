"""A policy as resolution reads it: its thresholds in parts per million, each kind's numbers, and what is limited."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Final

from onefold.graph.model import IdentifierKey, RecordName, kind_of, source_of
from onefold.graph.policy import KindRule, Policy

PPM: Final = 1_000_000
CAP: Final = 0.999
"""No evidence is surer than this."""


@dataclass(frozen=True, slots=True, order=True)
class Quota:
    """How much of something one identity may claim; they sort in the order in which rule 8 asks.

    ``what`` is a kind for a limit, a source that is deduplicated, or a banned pair.
    """

    rank: int
    what: tuple[str, ...]
    limit: int = field(default=1, compare=False)

    @classmethod
    def of_ban(cls, a: RecordName, b: RecordName) -> Quota:
        """One of the two."""
        return cls(0, (a, b))

    @classmethod
    def of_source(cls, source: str) -> Quota:
        """One record of a deduplicated source."""
        return cls(1, (source,))

    @classmethod
    def of_kind(cls, kind: str, limit: int) -> Quota:
        """So many identifiers of a kind."""
        return cls(2, (kind,), limit)

    @property
    def is_ban(self) -> bool:
        """Whether an operator set it, so that it binds operators too."""
        return self.rank == 0

    @property
    def is_source(self) -> bool:
        """Whether what it counts is records."""
        return self.rank == 1


class Kind:
    """What a kind's rule says, laid out for one look-up each."""

    __slots__ = ("alike", "base", "bounds", "factors", "shared_above")

    def __init__(self, name: str, rule: KindRule, policy: Policy) -> None:
        self.base = lru_cache(maxsize=1 << 10)(partial(policy.base_confidence, name))
        """How sure one assertion makes a link, by its assurance and its source."""
        self.shared_above = rule.shared_above
        self.bounds = [step.up_to for step in rule.specificity if step.up_to is not None]
        self.factors = [step.factor for step in rule.specificity]
        self.alike = min([rule.shared_above, *self.bounds[:1]])
        """Up to so many persons an identifier counts as if it had one."""

    def factor(self, d: int) -> float:
        """The specificity of an identifier that ``d`` persons seem to have."""
        return self.factors[bisect_left(self.bounds, d)]


class Rulebook:
    """What a policy says, likewise. Made by :func:`rulebook`."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.most_doubt = PPM - in_ppm(policy.link_threshold)
        """A link with more doubt than this doesn't join."""
        self.accumulated_threshold = in_ppm(policy.accumulated_threshold)
        self.kinds = {name: Kind(name, rule, policy) for name, rule in policy.kinds.items()}
        self.kind_at = lru_cache(maxsize=1 << 15)(self._kind_at)
        """The kind of an identifier; None if the policy blocks it."""
        self.limited: Mapping[str, Quota] = {
            kind: Quota.of_kind(kind, rule.limit) for kind, rule in policy.kinds.items() if rule.limit is not None
        }
        """By kind."""
        self.deduplicated: Mapping[str, Quota] = {
            source: Quota.of_source(source) for source, rule in policy.sources.items() if rule.deduplicated
        }
        """By source."""

    def _kind_at(self, identifier: IdentifierKey) -> Kind | None:
        return None if self._policy.is_blocked(identifier) else self.kinds[kind_of(identifier)]

    def quota_of_source(self, record: RecordName) -> Quota | None:
        """The quota that a record takes up by being its source's."""
        return self.deduplicated.get(source_of(record)) if record.startswith("customer:") else None


_MOST_RULEBOOKS = 64
_rulebooks: dict[str, Rulebook] = {}


def rulebook(policy: Policy) -> Rulebook:
    """The policy, laid out; once for each version."""
    # By the version, since a cache by the policy would compare policies, which takes longer than to decide a component.
    laid_out = _rulebooks.get(policy.version)
    if laid_out is None:
        if len(_rulebooks) >= _MOST_RULEBOOKS:
            _rulebooks.clear()
        laid_out = _rulebooks[policy.version] = Rulebook(policy)
    return laid_out


def in_ppm(probability: float) -> int:
    """Whole parts per million, the only form in which confidences are compared."""
    return round(probability * PPM)
