"""Why two subjects are one person, or are not: the best path between them, and what was refused, in words.

The best path is the one with the greatest product of confidences, over links to unshared identifiers and matches.
It is found as a shortest path under weights ``-log(confidence)`` (Dijkstra).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import networkx as nx

from onefold.graph.component import Component, Word, in_common
from onefold.graph.decide import Refused
from onefold.graph.model import IdentifierKey, kind_of, to_datetime
from onefold.graph.network import Edge, Network, network
from onefold.graph.policy import Policy
from onefold.graph.resolve import PPM, Refusal, RefusalReason

_HOP: Final = 1e-9
"""Of two equally sure paths the shorter is told."""


@dataclass(frozen=True, slots=True)
class Step:
    """One edge of a path, walked from ``start`` to ``end``."""

    start: str
    end: str
    edge: Edge


@dataclass(frozen=True, slots=True)
class Explanation:
    """What joins two subjects, or keeps them apart."""

    identities: tuple[str, str]
    connected: bool
    """Whether a path leads from one to the other, sure enough or not."""
    path: tuple[Step, ...]
    """From the first to the second; empty when there is none, or when both mean the same node."""
    path_confidence: float
    """The product of the confidences along the path; 0 when there is none."""
    refusals: tuple[Refused, ...]
    """The joins between the two that the policy refused."""
    summary: str
    """The answer in one sentence."""

    @property
    def same_identity(self) -> bool:
        """Whether they are one person."""
        return self.identities[0] == self.identities[1]


def explain(component: Component, policy: Policy) -> Explanation:
    """What joins the two subjects of the component, or keeps them apart, by the evidence and the policy."""
    first, second = component.identities
    net = network(component, policy)
    path = _best_path(net, component, same=first == second)
    refusals = tuple(
        Refused(r, component.identity_of(r.record), component.identity_of(r.owner))
        for r in net.refusals
        if {component.identity_of(r.record), component.identity_of(r.owner)} == {first, second} and first != second
    )
    return Explanation(
        identities=(first, second),
        connected=path is not None,
        path=tuple(path or ()),
        path_confidence=0.0 if path is None else math.prod(s.edge.confidence / PPM for s in path),
        refusals=refusals,
        summary=_summary(component, path, refusals, policy),
    )


# -- the path --------------------------------------------------------------------------------------------------


def _best_path(net: Network, component: Component, *, same: bool) -> list[Step] | None:
    """The surest path between the two subjects; for one person, by what really joined them if there is such a path.

    A match that several identifiers make together tells less than any of them: it is a way only where none of them is.
    """
    edges = [e for e in net.edges if e.confidence > 0]
    joining = [e for e in edges if e.eligible and e.refusal is None] if same else []
    single = [e for e in joining if not e.accumulated]
    for ways in (single, joining, edges):
        path = _shortest(ways, component.ends(0), component.ends(1))
        if path is not None:
            return path
    return None


def _shortest(edges: Iterable[Edge], starts: frozenset[str], ends: frozenset[str]) -> list[Step] | None:
    graph = nx.Graph()
    source, target = object(), object()
    graph.add_edges_from((source, node, {"weight": 0.0}) for node in sorted(starts))
    graph.add_edges_from((node, target, {"weight": 0.0}) for node in sorted(ends))
    for edge in edges:
        weight = _HOP - math.log(edge.confidence / PPM)
        known = graph.get_edge_data(edge.start, edge.end)
        if known is None or weight < known["weight"]:
            graph.add_edge(edge.start, edge.end, weight=weight, edge=edge)
    try:
        nodes = nx.dijkstra_path(graph, source, target)[1:-1]
    except nx.NetworkXNoPath:
        return None
    return [Step(a, b, graph.edges[a, b]["edge"]) for a, b in pairwise(nodes)]


# -- the sentence ----------------------------------------------------------------------------------------------


def _summary(
    component: Component,
    path: Sequence[Step] | None,
    refusals: Sequence[Refused],
    policy: Policy,
) -> str:
    a, b = (subject.name for subject in component.subjects)
    if component.identities[0] == component.identities[1]:
        return f"{a} and {b} are one person: {_joined(path)}."
    return f"{a} and {b} are two persons: {_parted(component, path, refusals, policy)}."


def _joined(path: Sequence[Step] | None) -> str:
    if path is None:
        return "the graph has them as one identity, though no path of evidence joins them any more"
    if not path:
        return "both lead to the same record"
    confidence = math.prod(step.edge.confidence / PPM for step in path)
    return f"they are joined by {_by(path)}, with confidence {_share(confidence)}"


def _by(path: Sequence[Step]) -> str:
    """What a path goes by, in its order: the identifiers between records, and the matches."""
    ways: list[str] = []
    for step in path:
        if step.edge.type == "SAME_AS":
            pair = f"{step.start} and {step.end}"
            actor = _and(step.edge.sources)
            ways.append(
                f"what {pair} have in common" if step.edge.accumulated else f"{actor}'s word that {pair} are one"
            )
        elif step.end == step.edge.end:
            ways.append(step.end)
        elif not ways:
            ways.append(step.start)
    return _and(ways)


def _parted(
    component: Component,
    path: Sequence[Step] | None,
    refusals: Sequence[Refused],
    policy: Policy,
) -> str:
    bans = _bans_between(component)
    if bans:
        return _and([_ban(word) for word in bans])
    if refusals:
        return _and(list(dict.fromkeys(_refusal(r.refusal) for r in refusals)))
    if path is None:
        return _nothing_between(component, policy)
    return _too_weak(path, policy)


def _bans_between(component: Component) -> list[Word]:
    identities = set(component.identities)
    return [
        w
        for w in component.words
        if not w.same and not w.lapsed and {component.identity_of(w.a), component.identity_of(w.b)} == identities
    ]


def _ban(word: Word) -> str:
    until = "" if word.expires_at is None else f", until {to_datetime(word.expires_at):%Y-%m-%d %H:%M} UTC"
    why = f" ({word.reason})" if word.reason else ""
    return f"{word.actor} said that {word.a} and {word.b} are never one{until}{why}"


def _refusal(refusal: Refusal) -> str:
    by = "" if refusal.identifier is None else f" by {refusal.identifier}"
    return f"the policy refused to join {refusal.record} with {refusal.owner}{by}, since {_since(refusal)}"


def _since(refusal: Refusal) -> str:
    match refusal.reason:
        case RefusalReason.BAN:
            return f"{_and(list(refusal.holders))} were said never to be one"
        case RefusalReason.SOURCE:
            return f"{refusal.kind} keeps one record per person and has {_and(list(refusal.holders))}"
        case RefusalReason.LIMIT:
            return f"together they would have more than {refusal.limit} identifiers of kind {refusal.kind}"


def _nothing_between(component: Component, policy: Policy) -> str:
    common = in_common(component, policy)
    if not common:
        return "nothing that is known connects them"
    return f"nothing connects them but {_and([_inert(v, component, policy) for v in common])}"


def _inert(identifier: IdentifierKey, component: Component, policy: Policy) -> str:
    if policy.is_blocked(identifier):
        return f"{identifier}, which the policy blocks"
    limit = policy.kind(kind_of(identifier)).shared_above
    links = component.degrees.get(identifier, 0)
    return f"{identifier}, which is shared: {links} links lead to it, and over {limit} people it says nothing"


def _too_weak(path: Sequence[Step], policy: Policy) -> str:
    """Why a path that nobody refused between the two still does not join them."""
    refused = next((s for s in path if s.edge.refusal is not None), None)
    if refused is not None:
        return (
            f"the path between them by {_by(path)} leads through {_link(refused)}, a join that the policy refused "
            f"({refused.edge.refusal})"
        )
    weakest = min((s for s in path if not s.edge.eligible), key=lambda s: s.edge.confidence, default=None)
    if weakest is None:
        return f"the evidence joins them by {_by(path)}, but the graph has not been decided again since it changed"
    return (
        f"they hang together by {_by(path)}, but {_link(weakest)} has confidence "
        f"{_share(weakest.edge.confidence / PPM)}, and it takes {_share(policy.link_threshold)}"
    )


def _link(step: Step) -> str:
    return f"the link of {step.edge.start} to {step.edge.end}"


def _share(share: float) -> str:
    return f"{math.floor(share * 1000) / 1000:.3f}"


def _and(parts: Sequence[str]) -> str:
    return " and ".join((", ".join(parts[:-1]), parts[-1])) if len(parts) > 1 else "".join(parts)
