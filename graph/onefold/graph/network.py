"""The evidence on some people as nodes and edges, each edge with what the policy makes of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from onefold.graph.component import Component
from onefold.graph.cypher import RECORD_LABELS, RECORD_LINK_TYPES
from onefold.graph.evidence import LinkState
from onefold.graph.model import IdentifierKey, Instant, RecordName, kind_of, split_name
from onefold.graph.policy import Policy
from onefold.graph.resolve import PPM, Partition, Refusal, RefusalReason, resolve

POLICY: Final = "policy"
"""Who asserts a match that several identifiers make together."""


@dataclass(frozen=True, slots=True)
class Node:
    """A record or an identifier."""

    name: str
    label: str
    """Its label in the graph; empty for an identifier of a kind that the policy no longer knows."""
    identity: str
    """Empty for an identifier of nobody."""
    shared: bool = False
    display_name: str = ""
    """For a customer record: the name it gives."""


@dataclass(frozen=True, slots=True)
class Edge:
    """All links of a record to an identifier taken together, or a word on two records."""

    start: RecordName
    end: str
    type: str
    """Its type in the graph; ``SAME_AS`` also for a match that several identifiers make together."""
    sources: tuple[str, ...]
    """Who asserts it: source systems, an operator, or :data:`POLICY`."""
    confidence: int
    """In parts per million; 0 for what ties nobody to anything."""
    eligible: bool
    """Whether the confidence is enough to join its ends."""
    first_seen: Instant | None = None
    last_seen: Instant | None = None
    observations: int = 0
    refusal: RefusalReason | None = None
    """Why it was kept from joining its ends; None where it was not."""

    @property
    def accumulated(self) -> bool:
        """Whether it is a match that several identifiers make together; the graph stores no such edge."""
        return self.type == "SAME_AS" and self.sources == (POLICY,)


@dataclass(frozen=True, slots=True)
class Network:
    """Nodes and edges, sorted by name."""

    nodes: Mapping[str, Node]
    edges: tuple[Edge, ...]
    refusals: tuple[Refusal, ...] = ()

    def around(self, identity: str) -> Network:
        """The part about one identity: its records and devices, all they are linked to, and the far ends of what
        was refused or forbidden."""
        own = {name for name, node in self.nodes.items() if node.identity == identity}
        held = {e.end for e in self.edges if e.start in own and e.end not in own}
        refused = {end for r in self.refusals for end in (r.record, r.owner) if {r.record, r.owner} & own}
        spoken = {end for e in self.edges if _is_word(e) and {e.start, e.end} & own for end in (e.start, e.end)}
        shown = own | held | refused | spoken
        return Network(
            {name: node for name, node in self.nodes.items() if name in shown},
            tuple(e for e in self.edges if e.start in shown and e.end in shown),
            tuple(r for r in self.refusals if {r.record, r.owner} & own),
        )


def network(component: Component, policy: Policy) -> Network:
    """All nodes and edges of some components, and what ``resolve`` says of them."""
    partition, refusals = resolve(component.evidence.edges(), policy, component.evidence.standing_bans())
    edges = [*_links(component, partition, refusals, policy), *_words(component, refusals)]
    edges += _accumulated(partition, refusals)
    return Network(
        {node.name: node for node in sorted(_nodes(component, partition, policy), key=lambda n: n.name)},
        tuple(sorted(edges, key=lambda e: (e.start, e.end, e.type))),
        tuple(refusals),
    )


def _is_word(edge: Edge) -> bool:
    return edge.type in ("SAME_AS", "NEVER_SAME")


def _nodes(component: Component, partition: Partition, policy: Policy) -> Iterator[Node]:
    names = component.display_names
    for name, record in component.evidence.records.items():
        label = RECORD_LABELS[split_name(name)[0]]
        yield Node(name, label, record.identity or "", display_name=names.get(name, ""))
    for key, state in component.evidence.identifiers.items():
        yield Node(key, _label(key, policy), state.identity or "", shared=key in partition.shared)
    for name, identity in component.outside.items():
        yield Node(name, "Customer", identity, display_name=names.get(name, ""))


def _label(key: IdentifierKey, policy: Policy) -> str:
    rule = policy.kinds.get(kind_of(key))
    return "" if rule is None else rule.label


def _links(component: Component, partition: Partition, refusals: list[Refusal], policy: Policy) -> Iterator[Edge]:
    threshold = round(policy.link_threshold * PPM)
    refused = {(r.record, r.identifier): r.reason for r in refusals}
    for name, record in component.evidence.records.items():
        types: Mapping[Any, str] = RECORD_LINK_TYPES[split_name(name)[0]]
        by_identifier: dict[IdentifierKey, list[tuple[str, LinkState]]] = defaultdict(list)
        for (identifier, source, _), link in record.links.items():
            by_identifier[identifier].append((source, link))
        for identifier, links in by_identifier.items():
            confidence = partition.confidence.get((name, identifier), 0)
            yield Edge(
                name,
                identifier,
                types.get(_label(identifier, policy), ""),
                sources=tuple(sorted({source for source, _ in links})),
                confidence=confidence,
                eligible=confidence >= threshold,
                first_seen=min(link.first_seen for _, link in links),
                last_seen=max(link.last_seen for _, link in links),
                observations=sum(link.observations for _, link in links),
                refusal=refused.get((name, identifier)),
            )


def _words(component: Component, refusals: list[Refusal]) -> Iterator[Edge]:
    refused = _refused_pairs(refusals)
    for word in component.words:
        if not word.lapsed:
            yield Edge(
                word.a,
                word.b,
                "SAME_AS" if word.same else "NEVER_SAME",
                sources=(word.actor,),
                confidence=PPM if word.same else 0,
                eligible=word.same,
                first_seen=word.at,
                last_seen=word.at,
                observations=1,
                refusal=refused.get((word.a, word.b)) if word.same else None,
            )


def _accumulated(partition: Partition, refusals: list[Refusal]) -> Iterator[Edge]:
    refused = _refused_pairs(refusals)
    for (a, b), confidence in partition.accumulated.items():
        yield Edge(a, b, "SAME_AS", (POLICY,), confidence, True, refusal=refused.get((a, b)))


def _refused_pairs(refusals: list[Refusal]) -> dict[tuple[RecordName, RecordName], RefusalReason]:
    return {(min(r.record, r.owner), max(r.record, r.owner)): r.reason for r in refusals if r.identifier is None}
