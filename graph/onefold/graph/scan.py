"""Everything that is stored, or all about some records, read page by page into columns.

Keys are read first, in whatever order the engine has them, and what they name a page at a time: an engine that ordered
each page anew would read a large graph once a page. What is written meanwhile may be seen in part.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final

import pyarrow as pa

from onefold.graph.bulk.stored import Stored, StoredBuilder
from onefold.graph.cypher import IDENTIFIER_LABELS, RECORD_LABELS, RECORD_LINK_TYPES
from onefold.graph.evidence import NEVER, LinkKey, LinkState, RecordState
from onefold.graph.model import IdentifierKey, RecordName, split_name
from onefold.graph.reader import Reader
from onefold.graph.resolve import Ban, Match
from onefold.graph.store import link_state

Progress = Callable[[int, int], None]
"""Told how many nodes have been read, of how many."""

_PAGE: Final = 1_000
_KEYS_AT_ONCE: Final = 10_000

_ALL_KEYS: Final[dict[str, str]] = {
    label: f"MATCH (n:{label}) RETURN n.key" for label in (*RECORD_LABELS.values(), *IDENTIFIER_LABELS)
}

_LINKS: Final = {
    record: f"""COLLECT {{
      MATCH (r)-[l:MEMBER_OF|HAD|{"|".join(types.values())}]->(x) WHERE l.resumed_at IS NULL
      RETURN [type(l), coalesce(x.key, x.id), l.source, l.assurance, l.first_seen.epochMillis, l.last_seen.epochMillis,
        l.observations, l.stated_by, l.sighted_at.epochMillis, l.ordered_at.epochMillis, l.withdrawn_at.epochMillis,
        l.refused] }}"""
    for record, types in RECORD_LINK_TYPES.items()
}

_RECORD: Final = "r.key, r.component, r.observed_at.epochMillis, r.digest, r.deleted_at.epochMillis"

_RECORDS: Final = {
    "customer": f"""
UNWIND $keys AS k MATCH (r:Customer {{key: k}})
RETURN collect([{_RECORD}, false, {_LINKS["customer"]},
  COLLECT {{ MATCH (r)-[w:SAME_AS|NEVER_SAME]->(o:Customer)
    RETURN [type(w), o.key, w.at.epochMillis, w.expires_at.epochMillis, w.lapsed] }}]) AS rows
""",
    "order": f"""
UNWIND $keys AS k MATCH (r:Order {{key: k}})
WITH r, COUNT {{ (r)<-[:PLACED]-(:Customer) }} > 0 AS claimed, {_LINKS["order"]} AS links
WHERE NOT claimed OR size(links) > 0
RETURN collect([{_RECORD}, claimed, links, []]) AS rows
""",
}
"""One row a page: the driver takes several times as long over rows as over a list in a row. A customer's order is no
record, and has no links unless something is wrong."""

_HAS_EVENTS: Final = {
    label: "EXISTS { (v)-[:DID]->(:Event) }" if label == "Device" else "false" for label in IDENTIFIER_LABELS
}

_IDENTIFIERS: Final[dict[str, str]] = {
    label: f"""
UNWIND $keys AS k MATCH (v:{label} {{key: k}})
RETURN collect([v.key, v.component, v.identity, coalesce(v.shared, false), coalesce(v.events, false), {events}]) AS rows
"""
    for label, events in _HAS_EVENTS.items()
}
"""Whether events hang on a device is told by its mark, and by what hangs on it."""

_TEXTS: Final[dict[str, str]] = {**{RECORD_LABELS[record]: text for record, text in _RECORDS.items()}, **_IDENTIFIERS}

_COMPONENTS: Final = {
    label: f"UNWIND $keys AS k MATCH (n:{label} {{key: k}}) WHERE n.component IS NOT NULL RETURN DISTINCT n.component"
    for label in _ALL_KEYS
}

_MEMBERS: Final = {
    label: f"UNWIND $components AS c MATCH (n:{label} {{component: c}}) RETURN n.key"
    for label in (*RECORD_LABELS.values(), "Device")
}
"""Other identifiers than devices are in a component by a link of one of its records."""

_HOLDERS: Final = {
    (
        record,
        label,
    ): f"UNWIND $keys AS k MATCH (v:{label} {{key: k}})<-[:{type_}]-(r:{RECORD_LABELS[record]}) RETURN r.key"
    for record, types in RECORD_LINK_TYPES.items()
    for label, type_ in types.items()
}


def scan(reader: Reader, progress: Progress = lambda done, total: None) -> Stored:
    """Everything that is stored, in a few dozen bytes a link. Raises Unavailable when the engine goes away."""
    pages = [(label, page) for label in _ALL_KEYS for page in _pages_of_keys(reader, label)]
    total = sum(len(page) for _, page in pages)
    done = 0
    builder = StoredBuilder()
    for label, page in pages:
        _read(reader, builder, label, page.to_pylist())
        done += len(page)
        progress(done, total)
    return builder.build(reader.policy)


def read_around(
    reader: Reader,
    records: Collection[RecordName],
    identifiers: Collection[IdentifierKey],
    recount: Collection[IdentifierKey],
) -> Stored:
    """What is stored about these nodes, and about all that is said to hang together with them.

    Whether an identifier is shared is believed, but for those to ``recount``: whoever has one of them is read.
    """
    keys: dict[str, set[str]] = {label: set() for label in _ALL_KEYS}
    for name in records:
        record, key = split_name(name)
        keys[RECORD_LABELS[record]].add(key)
    for (record, _), text in _HOLDERS.items():
        keys[RECORD_LABELS[record]].update(_firsts(reader, text, keys=sorted(recount)))
    for label in IDENTIFIER_LABELS:  # each looks for all: of which label a kind is may be another policy's to say
        keys[label].update(identifiers, recount)
    components = {c for label, text in _COMPONENTS.items() for c in _firsts(reader, text, keys=sorted(keys[label]))}
    for member, text in _MEMBERS.items():
        keys[member].update(_firsts(reader, text, components=sorted(components)))
    builder = StoredBuilder()
    for record_label in RECORD_LABELS.values():
        for page in _paged(sorted(keys[record_label])):
            linked = _read(reader, builder, record_label, page)
            for of in IDENTIFIER_LABELS:
                keys[of] |= linked
    for label in IDENTIFIER_LABELS:
        for page in _paged(sorted(keys[label])):
            _read(reader, builder, label, page)
    return builder.build(reader.policy, recount=recount)


def _pages_of_keys(reader: Reader, label: str) -> Iterator[pa.Array]:
    keys = (row[0] for row in reader.stream(_ALL_KEYS[label], batch=_KEYS_AT_ONCE))
    return (pa.array(page, pa.string()) for page in _paged(keys))


def _paged(keys: Iterable[str]) -> Iterator[list[str]]:
    keys = iter(keys)
    while page := list(islice(keys, _PAGE)):
        yield page


def _firsts(reader: Reader, text: str, **parameters: Any) -> list[str]:
    return [row[0] for row in reader.rows(text, **parameters)]


def _read(reader: Reader, builder: StoredBuilder, label: str, keys: list[str]) -> set[IdentifierKey]:
    """Puts the nodes of these keys into the builder. Returns the identifiers that records among them have."""
    linked: set[IdentifierKey] = set()
    for (rows,) in reader.rows(_TEXTS[label], keys=keys):
        for row in rows:
            if label in IDENTIFIER_LABELS:
                builder.add_identifier(*row)
            else:
                linked.update(_take_record(builder, label, row))
    return linked


def _take_record(builder: StoredBuilder, label: str, row: Sequence[Any]) -> Iterator[IdentifierKey]:
    key, component, observed_at, digest, deleted_at, claimed, ends, words = row
    name = f"{label.lower()}:{key}"
    identities: list[str] = []
    links: list[tuple[LinkKey, LinkState]] = []
    for type_, end, source, assurance, *state in ends:
        if type_ == "MEMBER_OF":
            identities.append(end)
        else:
            links.append(((end, source, assurance), link_state(*state, stored=type_ != "HAD")))
    record = RecordState(
        name,
        component=component,
        observed_at=NEVER if observed_at is None else observed_at,
        digest=digest or "",
        deleted_at=deleted_at,
        claimed=claimed,
        links=dict(links),
    )
    record.spoken_for = bool(identities) or record.bears_witness
    builder.add_record(record, identities, links)
    for type_, other, at, expires_at, lapsed in words:
        a, b = sorted((name, f"customer:{other}"))
        if type_ == "SAME_AS":
            builder.add_match(Match(a, b, at))
        elif not lapsed:
            builder.add_ban(Ban(a, b, at, expires_at))
    return (identifier for (identifier, _, _), link in links if link.stored)
