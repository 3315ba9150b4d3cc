"""Does what is stored equal what the evidence says? Resolves the whole graph anew and names what differs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from onefold.graph import cypher
from onefold.graph.evidence import Evidence
from onefold.graph.reader import Reader
from onefold.graph.resolve import Edges, Partition, components, resolve
from onefold.graph.store import take_members

_PAGE = 2_000


def verify(reader: Reader) -> list[str]:
    """Each difference between the stored identities and the partition of all stored evidence, in words; none if equal.

    Reads the graph page by page; a graph that is being written to may show differences that are only the writing.
    """
    evidence = read_all(reader)
    # What is marked as shared is to be proved, not believed.
    edges = replace(evidence.edges(), shared=())
    partition, refusals = resolve(edges, reader.policy, evidence.standing_bans())
    refused = {(r.record, r.identifier) for r in refusals}
    return [
        *_membership(evidence, partition),
        *_identifiers(evidence, partition),
        *_components(evidence, edges, partition, reader),
        *_ends(evidence),
        *(
            f"{name} -> {key[0]} is {'not ' if link.refused is None else ''}marked as refused"
            for name, record in evidence.records.items()
            for key, link in record.links.items()
            if (link.refused is not None) != ((name, key[0]) in refused)
        ),
    ]


def read_all(reader: Reader) -> Evidence:
    """All stored evidence."""
    evidence = Evidence()
    for row in _scan(reader, cypher.SCAN_CUSTOMERS):
        take_members(evidence, [row], [], [])
    for row in _scan(reader, cypher.SCAN_ORDERS):
        if row[1] is not None:
            take_members(evidence, [], [row], [])
    for row in _scan(reader, cypher.SCAN_DEVICES):
        take_members(evidence, [], [], [row])
    return evidence


def _scan(reader: Reader, text: str) -> Iterator[Any]:
    after = ""
    while rows := reader.rows(text, after=after, limit=_PAGE):
        yield from (row["row"] for row in rows)
        after = max(row["row"][0] for row in rows)


def _membership(evidence: Evidence, partition: Partition) -> Iterator[str]:
    """Stored identities and groups must be one to one."""
    stored: dict[str, set[str]] = defaultdict(set)
    for name, record in evidence.records.items():
        stored[record.identity or ""].add(name)
    for group in partition.groups():
        identities = {evidence.records[name].identity for name in group}
        if len(identities) > 1:
            yield f"{', '.join(group)} should be one identity and are {len(identities)}"
        elif extra := stored[next(iter(identities)) or ""] - set(group):
            yield f"{group[0]} should not be one identity with {', '.join(sorted(extra))}"


def _identifiers(evidence: Evidence, partition: Partition) -> Iterator[str]:
    persons = {record.identity for record in evidence.records.values() if record.identity}
    for key, state in evidence.identifiers.items():
        if state.shared != (key in partition.shared):
            yield f"{key} is {'' if state.shared else 'not '}marked as shared"
        owner = partition.owner.get(key)
        if owner is not None:
            if state.identity != evidence.records[owner].identity:
                yield f"{key} should follow {owner} and is of identity {state.identity}"
        elif state.identity in persons:
            yield f"{key} belongs with nobody and is of identity {state.identity}"


def _ends(evidence: Evidence) -> Iterator[str]:
    """Nobody's records must be members of nothing, and links that hold no longer be marked as ended."""
    for name, record in evidence.records.items():
        if record.identity is not None and not record.live:
            yield f"{name} should be nobody's and is of identity {record.identity}"
        for key, link in record.links.items():
            if not record.holds(link):
                yield f"{name} -> {key[0]} ({key[1]}) holds no longer and should be ended"


def _components(evidence: Evidence, edges: Edges, partition: Partition, reader: Reader) -> Iterator[str]:
    """Stored components must be one to one with the connected ones, and bear the id of one of their identities."""
    links = {(link.record, link.identifier) for link in edges.links}
    inert = partition.shared | {v for _, v in links if reader.policy.is_blocked(v)}
    found = components(edges.records, links, [(m.a, m.b) for m in edges.matches], inert)
    parts: dict[str, set[str]] = defaultdict(set)
    for node, root in found.items():
        parts[root].add(node)
    named: set[str] = set()
    for nodes in parts.values():
        states = [evidence.records.get(n) or evidence.identifiers[n] for n in nodes]
        stored = {state.component for state in states}
        identities = {state.identity for state in states}
        if len(stored) != 1 or None in stored:
            yield f"{min(nodes)} and all it hangs together with should be one component and are {stored}"
        elif not stored <= identities or stored & named:
            yield f"the component of {min(nodes)} is not named after one of its own identities"
        named |= {name for name in stored if name}
    for key in inert:
        if evidence.identifiers[key].component is not None:
            yield f"{key} is inert and should have no component"
