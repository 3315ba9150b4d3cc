"""What a policy comes to: how far each kind of identifier reaches, and what in the rules is legal but hardly meant."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from onefold.graph.document import Step
from onefold.graph.model import Assurance
from onefold.graph.policy import KindRule, Label, Normalizer, Policy
from onefold.graph.resolve import CAP, in_ppm

_OWN_NORMALIZER: Final[dict[Label, Normalizer]] = {"Email": "email", "Phone": "phone"}


@dataclass(frozen=True, slots=True)
class Doubt:
    """A rule that is legal and hardly meant."""

    path: tuple[Step, ...]
    """The field, as steps into the policy's file."""
    words: str


def reach(policy: Policy, kind: str, assurance: Assurance) -> int:
    """The number of customers up to which one fully trusted source's word joins them by an identifier of this kind;
    0 where it never does and is a hint only. At most the kind's ``shared_above``."""
    return _reach(policy, kind, policy.kind(kind).confidence.by_assurance[assurance])


def doubts(policy: Policy) -> list[Doubt]:
    """What an owner of the policy should look at again, in the order of the rules' fields. Each holds for certain:
    a rule that can't take effect, or one that contradicts what it is for."""
    found = [*_of_thresholds(policy), *_of_sources(policy)]
    for kind in policy.kinds:
        found += _of_kind(policy, kind)
    return found


def _reach(policy: Policy, kind: str, confidence: float) -> int:
    rule, reached = policy.kind(kind), 0
    for step in rule.specificity:
        if in_ppm(confidence * step.factor) < in_ppm(policy.link_threshold):
            break
        reached = rule.shared_above if step.up_to is None else min(step.up_to, rule.shared_above)
    return reached


def _only_hints(policy: Policy, kind: str) -> bool:
    """Whether no link of this kind is ever eligible, however many sources say it."""
    return _reach(policy, kind, CAP) == 0


def _of_thresholds(policy: Policy) -> Iterator[Doubt]:
    if all(_only_hints(policy, kind) for kind in policy.kinds):
        yield Doubt(("link_threshold",), "no link of any kind reaches it: nothing ever joins by itself")
    if policy.accumulated_threshold > CAP:
        yield Doubt(("accumulated_threshold",), f"nothing reaches it: hints together make at most {CAP}, however many")
    if policy.accumulated_threshold < policy.link_threshold:
        yield Doubt(
            ("accumulated_threshold",),
            "is below link_threshold: several identifiers, each too weak to join, join with less than one needs alone",
        )


def _of_sources(policy: Policy) -> Iterator[Doubt]:
    for source, rule in policy.sources.items():
        if not any(
            _reach(policy, kind, known.confidence.verified * rule.trust) for kind, known in policy.kinds.items()
        ):
            yield Doubt(("sources", source, "trust"), f"nothing that {source} says joins by itself, not even verified")


def _of_kind(policy: Policy, kind: str) -> Iterator[Doubt]:
    rule, here = policy.kind(kind), ("kinds", kind)
    own = _OWN_NORMALIZER.get(rule.label)
    if own is not None and rule.normalize != own:
        yield Doubt((*here, "normalize"), f"is not {own!r}: two ways to write one {own} are two identifiers")
    surest = [rule.confidence.verified, rule.confidence.declared, rule.confidence.observed]
    if surest != sorted(surest, reverse=True):
        yield Doubt((*here, "confidence"), "verified should be at least as sure as declared, and declared as observed")
    if rule.limit is not None and _only_hints(policy, kind):
        yield Doubt(
            (*here, "limit"), "never counts: no link of this kind reaches link_threshold, and hints are no claims"
        )
    yield from _of_steps(rule, here)


def _of_steps(rule: KindRule, here: tuple[Step, ...]) -> Iterator[Doubt]:
    for place, (before, step) in enumerate(zip(rule.specificity, rule.specificity[1:], strict=False), start=1):
        if before.up_to is not None and before.up_to >= rule.shared_above:
            words = f"never holds: above {rule.shared_above} customers (shared_above) an identifier is inert"
            yield Doubt((*here, "specificity", place), words)
        elif before.factor == step.factor:
            yield Doubt((*here, "specificity", place), "has the factor of the step before")
