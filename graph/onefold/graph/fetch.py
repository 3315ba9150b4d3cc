"""Whole components of the graph, read without locks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import replace
from typing import Any, Final

from onefold.graph import cypher
from onefold.graph.component import Component, Word, in_common
from onefold.graph.evidence import Evidence
from onefold.graph.identity import located, one
from onefold.graph.model import IdentifierKey, RecordName, kind_of
from onefold.graph.policy import LINK_TYPES, ORDER_LINK_TYPES, Label
from onefold.graph.reader import Reader
from onefold.graph.store import take_members
from onefold.graph.subject import Subject

_READ: Final = located(f"""
WITH i AS asked, COLLECT {{ MATCH (i)<-[:MEMBER_OF]-(r) RETURN DISTINCT r.component }}
  + COLLECT {{ MATCH (v:Device {{identity: i.id}}) RETURN DISTINCT v.component }} AS found
CALL (found) {{ UNWIND found AS c RETURN collect(DISTINCT c) AS components }}
WITH asked, components, 0 AS locked
{cypher.MEMBERS}
CALL (components) {{
  UNWIND components AS c MATCH (r:Customer {{component: c}})
  RETURN collect([r.key, r.full_name, r.given_name, r.family_name]) AS names
}}
CALL (components) {{
  UNWIND components AS c MATCH (r:Customer {{component: c}})
  MATCH (r)-[w:SAME_AS|NEVER_SAME]-(o:Customer) MATCH (o)-[:MEMBER_OF]->(other:Identity)
  RETURN collect([type(w), r.key, o.key, other.id, w.actor, coalesce(w.reason, w.evidence), w.at.epochMillis,
    w.expires_at.epochMillis]) AS words
}}
RETURN asked.id, customers, orders, devices, names, words
""")

_COUNT_LINKS: Final = {
    label: f"""
UNWIND $keys AS k MATCH (v:{label} {{key: k}})
RETURN k, COUNT {{ (v)<-[:{LINK_TYPES[label]}|{ORDER_LINK_TYPES[label]}]-() }}
"""
    for label in cypher.IDENTIFIER_LABELS
}


def fetch_component(reader: Reader, *subjects: Subject, seconds: float | None = None) -> Component:
    """Everything in the subjects' components. Raises NotFound if a subject leads to nobody.

    Costs as much as the components are large; what is read may be a little older for one than for another.
    """
    evidence = Evidence()
    words: set[Word] = set()
    display_names: dict[RecordName, str] = {}
    outside: dict[RecordName, str] = {}
    identities = []
    for subject in subjects:
        identity, customers, orders, devices, names, spoken = one(reader, _READ, subject, seconds=seconds)
        identities.append(identity)
        take_members(evidence, customers, orders, devices)
        for key, *parts in names:
            if shown := _display_name(*parts):
                display_names[f"customer:{key}"] = shown
        for row in spoken:
            words.add(_word(row))
            outside[f"customer:{row[2]}"] = row[3]
    component = Component(
        subjects,
        tuple(identities),
        evidence,
        tuple(sorted(words, key=lambda w: (w.a, w.b, w.same))),
        display_names,
        {name: identity for name, identity in outside.items() if name not in evidence.records},
    )
    if len(set(identities)) < 2:
        return component
    degrees = _degrees(reader, in_common(component, reader.policy), seconds)
    return replace(component, degrees=degrees)


def _degrees(reader: Reader, identifiers: Collection[IdentifierKey], seconds: float | None) -> dict[IdentifierKey, int]:
    by_label: dict[Label, list[IdentifierKey]] = defaultdict(list)
    for key in identifiers:
        if not reader.policy.is_blocked(key):
            by_label[reader.policy.kind(kind_of(key)).label].append(key)
    return {
        key: count
        for label, keys in by_label.items()
        for key, count in reader.rows(_COUNT_LINKS[label], keys=keys, seconds=seconds)
    }


def _display_name(full: str | None, given: str | None, family: str | None) -> str:
    return full or " ".join(part for part in (given, family) if part)


def _word(row: list[Any]) -> Word:
    type, one, other, _, actor, reason, at, expires_at = row
    a, b = sorted((f"customer:{one}", f"customer:{other}"))
    return Word(type == "SAME_AS", a, b, actor or "", reason or "", at, expires_at)
