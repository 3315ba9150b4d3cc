"""Whole components of the graph, as they are or were at an instant, read without locks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

from onefold.graph import cypher, past
from onefold.graph.component import Component, Word, in_common
from onefold.graph.evidence import Evidence, IdentifierState, LinkState, RecordState
from onefold.graph.identity import located, one
from onefold.graph.model import IdentifierKey, Instant, RecordName, is_record, kind_of, split_name
from onefold.graph.policy import LINK_TYPES, ORDER_LINK_TYPES, Label, Policy
from onefold.graph.reader import Reader
from onefold.graph.resolve import Ban
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
    w.expires_at.epochMillis, w.lapsed]) AS words
}}
RETURN asked.id, customers, orders, devices, names, words
""")

_NAMES_THEN: Final = f"""
UNWIND $keys AS key MATCH (n:Customer {{key: key}}) {past.SAID}
RETURN key, s.full_name, s.given_name, s.family_name
"""

_WORDS_THEN: Final = f"""
UNWIND $keys AS key MATCH (r:Customer {{key: key}})-[w:SAME_AS|NEVER_SAME|SAID]-(o:Customer)
WHERE {past.held("w", "replaced_at", "lapsed_at")}
RETURN coalesce(w.word, type(w)), key, o.key, '', w.actor, coalesce(w.reason, w.evidence), w.at.epochMillis,
  w.expires_at.epochMillis, false
"""

_COUNT_LINKS: Final = {
    label: f"""
UNWIND $keys AS k MATCH (v:{label} {{key: k}})
RETURN k, COUNT {{ (v)<-[:{LINK_TYPES[label]}|{ORDER_LINK_TYPES[label]}]-() }}
"""
    for label in cypher.IDENTIFIER_LABELS
}


def fetch_component(reader: Reader, *subjects: Subject) -> Component:
    """Everything in the subjects' components. Raises NotFound if a subject leads to nobody.

    Costs as much as the components are large; what is read may be a little older for one than for another.
    """
    evidence = Evidence()
    words: set[Word] = set()
    display_names: dict[RecordName, str] = {}
    outside: dict[RecordName, str] = {}
    identities = []
    for subject in subjects:
        identity, customers, orders, devices, names, spoken = one(reader, _READ, subject)
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
    degrees = _degrees(reader, in_common(component, reader.policy))
    return replace(component, degrees=degrees)


def fetch_component_as_of(reader: Reader, subject: Subject, at: Instant) -> Component:
    """Everything that was in the subject's component at an instant. Raises NotFound if it led to nobody then.

    No name of a component is kept, so it is found as it was made: from the identity's records to their identifiers, to
    the records that had these, and so on, a few statements a step.
    """
    identity = past.identity_of(reader, subject, at)
    members = past.members_of(reader, identity, at)
    evidence = Evidence()
    for key in members:
        if not is_record(key):
            evidence.identifiers[key] = IdentifierState(key)
    words: set[Word] = set()
    following = {name for name in members if is_record(name)}
    while following:
        for name in following:
            evidence.records[name] = RecordState(name, spoken_for=True)
        ties = _take_holdings(evidence, past.holdings(reader, following, at), reader.policy)
        spoken = _words_then(reader, following, at)
        words |= spoken
        following = past.holders(reader, ties, at)
        following |= {end for word in spoken if word.same for end in (word.a, word.b)}
        following -= evidence.records.keys()
    return _placed(reader, subject, identity, evidence, words, at)


def _take_holdings(evidence: Evidence, rows: Iterable[Any], policy: Policy) -> set[IdentifierKey]:
    """Put links of then into the evidence; returns the identifiers, new to it, by which other records may hang on."""
    ties = set()
    for name, key, shared, source, assurance, first_seen, last_seen, observations in rows:
        state = LinkState(first_seen, last_seen, observations, sighted_at=last_seen, stored=True)
        evidence.records[name].links[key, source, assurance] = state
        evidence.identifiers.setdefault(key, IdentifierState(key, shared=shared))
        if not shared and not policy.is_blocked(key):
            ties.add(key)
    return ties


def _words_then(reader: Reader, records: Iterable[RecordName], at: Instant) -> set[Word]:
    keys = [split_name(name)[1] for name in records if name.startswith("customer:")]
    return {_word(row) for row in reader.rows(_WORDS_THEN, keys=keys, at=at)}


def _placed(
    reader: Reader,
    subject: Subject,
    identity: str,
    evidence: Evidence,
    words: set[Word],
    at: Instant,
) -> Component:
    """The component with the identity of each of its members, and of who else operators spoke of."""
    spoken_of = {end for word in words for end in (word.a, word.b)}
    whose = past.identities_of(reader, {*evidence.records, *evidence.identifiers, *spoken_of}, at)
    for name, record in evidence.records.items():
        record.identity = whose.get(name)
    for key, identifier in evidence.identifiers.items():
        identifier.identity = whose.get(key)
    heard = tuple(sorted((w for w in words if {w.a, w.b} <= whose.keys()), key=lambda w: (w.a, w.b, w.same)))
    for word in heard:
        if word.same:
            evidence.matches[word.a, word.b] = word.at
        else:
            evidence.bans[word.a, word.b] = Ban(word.a, word.b, word.at, word.expires_at)
    outside = {end: whose[end] for word in heard for end in (word.a, word.b) if end not in evidence.records}
    named = [split_name(name)[1] for name in evidence.records if name.startswith("customer:")]
    display_names = {
        f"customer:{key}": shown
        for key, *parts in reader.rows(_NAMES_THEN, keys=named, at=at)
        if (shown := _display_name(*parts))
    }
    return Component((subject,), (identity,), evidence, heard, display_names, outside)


def _degrees(reader: Reader, identifiers: Collection[IdentifierKey]) -> dict[IdentifierKey, int]:
    by_label: dict[Label, list[IdentifierKey]] = defaultdict(list)
    for key in identifiers:
        if not reader.policy.is_blocked(key):
            by_label[reader.policy.kind(kind_of(key)).label].append(key)
    return {
        key: count for label, keys in by_label.items() for key, count in reader.rows(_COUNT_LINKS[label], keys=keys)
    }


def _display_name(full: str | None, given: str | None, family: str | None) -> str:
    return full or " ".join(part for part in (given, family) if part)


def _word(row: Sequence[Any]) -> Word:
    type, one, other, _, actor, reason, at, expires_at, lapsed = row
    a, b = sorted((f"customer:{one}", f"customer:{other}"))
    return Word(type == "SAME_AS", a, b, actor or "", reason or "", at, expires_at, bool(lapsed))
