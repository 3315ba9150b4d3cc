"""Definitions of segments, and the catalogue in force, in the graph.

What a rule may say is not known here: whoever changes definitions sees all of them first, under a lock, and decides.

A list names records, never identities: an identity may merge or split, and its records then say who is meant. It is
kept in pages, written before the segment that has them, so that no transaction grows with it.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import neo4j

from onefold.graph.ingest import Writer, transaction, until_committed
from onefold.graph.model import Instant, RecordName, split_name
from onefold.graph.reader import Reader

PAGE: Final = 5_000
"""Records in a page of a list."""

_ORPHANED_MS: Final = 86_400_000
"""Pages that no segment has come to have in a day were left by a writer that failed."""

_LOCK: Final = "MERGE (c:Catalogue {key: 'current'}) SET c.lock = $lock"

_CATALOGUE: Final = """
MATCH (c:Catalogue {key: 'current'}) WHERE c.text IS NOT NULL
RETURN c.text, c.etag, c.updated_at.epochMillis, c.listed, c.lists
"""

_SEGMENTS: Final = """
MATCH (s:Segment)
RETURN s.key, s.description, s.owner, s.rule, s.list, s.records, s.etag, s.created_at.epochMillis,
  s.updated_at.epochMillis
"""

_PUT_CATALOGUE: Final = """
MATCH (c:Catalogue {key: 'current'})
SET c.text = $text, c.etag = $etag, c.updated_at = datetime({epochMillis: $at}), c.listed = $listed, c.lists = $lists
"""

_PUT: Final = """
UNWIND $rows AS r MERGE (s:Segment {key: r[0]})
SET s.description = r[1], s.owner = r[2], s.rule = r[3], s.list = r[4], s.records = r[5], s.etag = r[6],
  s.created_at = datetime({epochMillis: r[7]}), s.updated_at = datetime({epochMillis: r[8]})
"""

_DROP: Final = "UNWIND $rows AS k MATCH (s:Segment {key: k}) DELETE s"

_PUT_PAGE: Final = """
CREATE (:SegmentPage {list: $list, number: $number, customers: $customers, orders: $orders,
  at: datetime({epochMillis: $at})})
"""

_DROP_PAGES: Final = """
MATCH (p:SegmentPage)
WHERE p.list IN $dropped OR (p.at.epochMillis < $before AND NOT p.list IN $kept)
DELETE p
"""

_LISTED: Final = """
MATCH (p:SegmentPage {list: $list})
CALL (p) {
  UNWIND p.customers AS k MATCH (:Customer {key: k})-[:MEMBER_OF]->(i:Identity) RETURN i.id AS id
  UNION ALL
  UNWIND p.orders AS k MATCH (:Order {key: k})-[:MEMBER_OF]->(i:Identity) RETURN i.id AS id
  UNION ALL
  UNWIND p.orders AS k MATCH (:Order {key: k})<-[:PLACED]-(:Customer)-[:MEMBER_OF]->(i:Identity) RETURN i.id AS id
}
RETURN DISTINCT id
"""

_LISTED_RECORDS: Final = "MATCH (p:SegmentPage {list: $list}) RETURN p.number, p.customers, p.orders"

_ANCHORS: Final = """
UNWIND $identities AS id MATCH (i:Identity {id: id})
RETURN id, COLLECT { MATCH (i)<-[:MEMBER_OF]-(c:Customer) WITH c.key AS k ORDER BY k LIMIT 1 RETURN k },
  COLLECT { MATCH (i)<-[:MEMBER_OF]-(o:Order) WITH o.key AS k ORDER BY k LIMIT 1 RETURN k }
"""

_RECORDS: Final = """
UNWIND $identities AS id MATCH (i:Identity {id: id})
RETURN id, COLLECT { MATCH (i)<-[:MEMBER_OF]-(c:Customer) RETURN c.key },
  COLLECT { MATCH (i)<-[:MEMBER_OF]-(o:Order) RETURN o.key }
    + COLLECT { MATCH (i)<-[:MEMBER_OF]-(:Customer)-[:PLACED]->(o:Order) RETURN o.key }
"""


@dataclass(frozen=True, slots=True)
class StoredSegment:
    """A segment that was created by a call."""

    key: str
    description: str
    owner: str
    rule: str | None
    """None for a list."""
    list: str | None
    """The id of its list (:func:`write_list`); None for a rule."""
    records: int
    """How many the list has."""
    etag: str
    created_at: Instant
    updated_at: Instant


@dataclass(frozen=True, slots=True)
class StoredCatalogue:
    """A catalogue that was put in force."""

    text: str
    etag: str
    updated_at: Instant
    lists: Mapping[str, str] = field(default_factory=dict)
    """The ids of the lists (:func:`write_list`) of its static segments, by the segment's key."""


@dataclass(frozen=True, slots=True)
class Definitions:
    """All that is defined at one moment."""

    catalogue: StoredCatalogue | None = None
    """None: the one that comes with Onefold."""
    segments: Mapping[str, StoredSegment] = field(default_factory=dict)
    """By key."""

    @property
    def lists(self) -> Mapping[str, str]:
        """The id of each segment's list, by the segment's key."""
        own = {segment.key: segment.list for segment in self.segments.values() if segment.list}
        return {**(self.catalogue.lists if self.catalogue else {}), **own}

    @property
    def etag(self) -> str:
        """The same for the same definitions."""
        of = [self.catalogue.etag if self.catalogue else ""]
        return " ".join(of + [f"{s.key}={s.etag}" for _, s in sorted(self.segments.items())])


@dataclass(frozen=True, slots=True)
class Edit:
    """What becomes of definitions."""

    put: Sequence[StoredSegment] = ()
    drop: Collection[str] = ()
    catalogue: StoredCatalogue | None = None


def read_definitions(reader: Reader) -> Definitions:
    """All definitions as they are. Raises DeadlineExceeded, Unavailable."""
    return _definitions(reader.rows(_CATALOGUE), reader.rows(_SEGMENTS))


def change_definitions(
    writer: Writer, decide: Callable[[Definitions], Edit], seconds: float | None = None
) -> Definitions:
    """Have definitions changed as ``decide`` says of those that are there; nobody else changes them meanwhile.

    It may be asked again. Returns what they are then. Raises what it raises, and as
    :func:`onefold.graph.ingest.ingest` does.
    """

    def attempt(until: float | None) -> Definitions:
        with transaction(writer, until) as tx:
            tx.run(_LOCK, lock=uuid.uuid4().hex).consume()
            before = _definitions(tx.run(_CATALOGUE).values(), tx.run(_SEGMENTS).values())
            edit = decide(before)
            after = _edited(before, edit)
            if edit.catalogue is not None:
                _put_catalogue(tx, edit.catalogue)
            if edit.put:
                tx.run(_PUT, rows=[_row(segment) for segment in edit.put]).consume()
            if edit.drop:
                tx.run(_DROP, rows=sorted(edit.drop)).consume()
            kept = {*after.lists.values()}
            dropped = {*before.lists.values()} - kept
            orphaned = writer.clock() - _ORPHANED_MS
            tx.run(_DROP_PAGES, dropped=sorted(dropped), kept=sorted(kept), before=orphaned).consume()
            tx.commit()
        return after

    return until_committed(writer, attempt, seconds)


def write_list(writer: Writer, records: Iterable[RecordName], seconds: float | None = None) -> tuple[str, int]:
    """The id of a new list of these records, and how many they are; it lasts once a segment has it."""
    names = sorted(set(records))
    id = writer.new_id()
    for number, start in enumerate(range(0, len(names), PAGE)):
        keys: dict[str, list[str]] = {"customer": [], "order": []}
        for name in names[start : start + PAGE]:
            record, key = split_name(name)
            keys[record].append(key)

        def attempt(until: float | None, number: int = number, keys: dict[str, list[str]] = keys) -> None:
            with transaction(writer, until) as tx:
                tx.run(
                    _PUT_PAGE, list=id, number=number, customers=keys["customer"], orders=keys["order"],
                    at=writer.clock(),
                ).consume()  # fmt: skip
                tx.commit()

        until_committed(writer, attempt, seconds)
    return id, len(names)


def listed(reader: Reader, list: str) -> frozenset[str]:
    """The ids of those who have a record of a list, as of now."""
    return frozenset(row[0] for row in reader.rows(_LISTED, list=list))


def listed_records(reader: Reader, list: str) -> frozenset[RecordName]:
    """The names of a list's records."""
    return frozenset(
        name
        for _, customers, orders in reader.rows(_LISTED_RECORDS, list=list)
        for name in (*(f"customer:{key}" for key in customers), *(f"order:{key}" for key in orders))
    )


def anchors(reader: Reader, identities: Sequence[str]) -> list[RecordName]:
    """A record of each identity that has any, to stand for it: its first customer by name, else its first order."""
    found: list[RecordName] = []
    for start in range(0, len(identities), PAGE):
        for _, customers, orders in reader.rows(_ANCHORS, identities=identities[start : start + PAGE]):
            found += [f"customer:{customers[0]}"] if customers else [f"order:{key}" for key in orders]
    return sorted(found)


def records_of(reader: Reader, identities: Sequence[str]) -> dict[str, frozenset[RecordName]]:
    """The names of the records of each identity, orders of its customers among them."""
    return {
        id: frozenset((*(f"customer:{key}" for key in customers), *(f"order:{key}" for key in orders)))
        for id, customers, orders in reader.rows(_RECORDS, identities=identities)
    }


def _definitions(catalogues: Iterable[Sequence[Any]], segments: Iterable[Sequence[Any]]) -> Definitions:
    catalogue = next(
        (
            StoredCatalogue(text, etag, updated_at, dict(zip(listed or (), lists or (), strict=True)))
            for text, etag, updated_at, listed, lists in catalogues
        ),
        None,
    )
    found = [
        StoredSegment(key, description or "", owner or "", rule, list, records or 0, *rest)
        for key, description, owner, rule, list, records, *rest in segments
    ]
    return Definitions(catalogue, {segment.key: segment for segment in sorted(found, key=lambda s: s.key)})


def _put_catalogue(tx: neo4j.Transaction, catalogue: StoredCatalogue) -> None:
    listed = sorted(catalogue.lists)
    tx.run(
        _PUT_CATALOGUE, text=catalogue.text, etag=catalogue.etag, at=catalogue.updated_at, listed=listed,
        lists=[catalogue.lists[key] for key in listed],
    ).consume()  # fmt: skip


def _edited(before: Definitions, edit: Edit) -> Definitions:
    segments = {**before.segments, **{segment.key: segment for segment in edit.put}}
    return Definitions(
        edit.catalogue or before.catalogue,
        {key: segments[key] for key in sorted(segments) if key not in edit.drop},
    )


def _row(segment: StoredSegment) -> list[Any]:
    return [getattr(segment, name) for name in StoredSegment.__slots__]
