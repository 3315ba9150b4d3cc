"""What an engine has stored, taken out by queries of our own and held against all that was said."""

from __future__ import annotations

from collections.abc import Iterable

from onefold.graph.audit import verify_log
from onefold.graph.evidence import IdentifierState, LinkState, OrderState, RecordState
from onefold.graph.model import Item, OwnItem
from onefold.graph.policy import LINK_TYPES, ORDER_LINK_TYPES
from onefold.graph.reader import Reader
from onefold.graph.verify import verify
from tests.memory import Memory, differences

RECORDS = """
MATCH (r:{label}) OPTIONAL MATCH (r)-[:MEMBER_OF]->(i:Identity) RETURN r.key, i.id, r.component, r.digest
"""
LINKS = """
MATCH (r:{label})-[l:{types}]->(v) RETURN r.key, v.key, l.source, l.assurance, l.first_seen.epochMillis
"""
ORDERS = "MATCH (o:Order) RETURN o.key, COLLECT { MATCH (o)<-[:PLACED]-(c:Customer) RETURN 'customer:' + c.key }"
EVENTS = "MATCH (e:Event) RETURN e.key"
IDENTIFIERS = "MATCH (v:{label}) RETURN v.key, v.identity, v.component, coalesce(v.shared, false)"
DECISIONS = "MATCH (d:Decision) RETURN d.sequence, d.identity, d.members, d.origins ORDER BY d.sequence"
ENDS = """
MATCH (i:Identity) WHERE i.merged_into IS NOT NULL
RETURN i.id, COUNT {{ (i)-[:MERGED_INTO]->() }}, COUNT {{ (i)-[:MERGED_INTO]->({{id: i.merged_into}}) }},
  COUNT {{ (i)<-[:MEMBER_OF]-() }}, COUNT {{ (:Identity {{merged_into: i.id}}) }}
"""


def faults(reader: Reader, items: Iterable[Item | OwnItem]) -> list[str]:
    """What is stored otherwise than all that these items say would have it, in words: versions, orders, events, links,
    identities, owners, shared flags, components, ids and the log."""
    graph = memory_of(reader)
    return [*differences(graph, items), *verify(reader), *_log_faults(reader, graph), *_retired_faults(reader)]


def memory_of(reader: Reader) -> Memory:
    """The stored graph, as far as it says who is who and why."""
    graph = Memory(reader.policy)
    for label, types in (("Customer", LINK_TYPES), ("Order", ORDER_LINK_TYPES)):
        for key, identity, component, digest in reader.rows(RECORDS.format(label=label)):
            name = f"{label.lower()}:{key}"
            graph.records[name] = RecordState(name, identity, component, digest=digest or "")
        for key, *link, first_seen in reader.rows(LINKS.format(label=label, types="|".join(types.values()))):
            graph.records[f"{label.lower()}:{key}"].links[tuple(link)] = LinkState(first_seen, stored=True)
    for label in LINK_TYPES:
        for key, identity, component, shared in reader.rows(IDENTIFIERS.format(label=label)):
            graph.identifiers[key] = IdentifierState(key, identity, component, shared, label=label)
    for key, customers in reader.rows(ORDERS):
        graph.orders[key] = OrderState(placed_by=" and ".join(customers) or None)
    graph.events = {key for (key,) in reader.rows(EVENTS)}
    return graph


def _log_faults(reader: Reader, graph: Memory) -> list[str]:
    """The log's seals hold, its numbers have no gaps, and what it tells leads to what is stored."""
    found = [fault] if (fault := verify_log(reader).fault) else []
    told: dict[str, str] = {}
    for number, (sequence, identity, members, origins) in enumerate(reader.rows(DECISIONS), start=1):
        if sequence != number:
            return [*found, f"decision {number} bears the number {sequence}"]
        for member, origin in zip(members, origins, strict=True):
            # Who left the identity that a decision is about is nobody's.
            told[member] = "" if origin == identity else identity
    states = graph.records | graph.identifiers
    found += [
        f"{name} is of identity {state.identity} and in the log of {told.get(name)}"
        for name, state in states.items()
        if (state.identity or "") != told.get(name, "")
    ]
    return found


def _retired_faults(reader: Reader) -> list[str]:
    """A retired id leads on to one identity, which is not retired itself, and has no member."""
    return [
        f"retired {id} leads to {ways} identities, {right} of them the right one; {members} members, {older} before it"
        for id, ways, right, members, older in reader.rows(ENDS.format())
        if (ways, right, members, older) != (1, 1, 0, 0)
    ]
