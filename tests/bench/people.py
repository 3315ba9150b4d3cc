"""The people that the benches write: three records each, with an email, a member number and a cookie a record."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import neo4j

from onefold.v1 import identity_service_pb2, record_pb2

SOURCES = ("crm", "shop", "web")
SEEN = 1_700_000_000

_IDENTIFIER = "kind: '{kind}', value: {value}, component: r[8], identity: r[8], shared: false, events: false"

_LINK = """ON CREATE SET {l}.source = r[1], {l}.assurance = 'verified', {l}.confidence = {confidence},
  {l}.first_seen = datetime({{epochMillis: r[7]}}), {l}.last_seen = datetime({{epochMillis: r[7]}}),
  {l}.observations = 1, {l}.stated_by = r[9], {l}.recorded_at = datetime({{epochMillis: r[7]}})"""

RAW = f"""
UNWIND $rows AS r
MERGE (i:Identity {{id: r[8]}})
  ON CREATE SET i.anonymous = false, i.created_at = datetime({{epochMillis: r[7]}})
MERGE (c:Customer {{key: r[0]}})
  ON CREATE SET c.source = r[1], c.source_id = r[2], c.full_name = r[3], c.country = 'GB', c.component = r[8],
    c.digest = r[9], c.utc_offset_minutes = 0, c.created_at = datetime({{epochMillis: r[7]}}),
    c.observed_at = datetime({{epochMillis: r[7]}})
MERGE (e:Email {{key: r[4]}}) ON CREATE SET e += {{{_IDENTIFIER.format(kind="email", value="r[4]")}}}
MERGE (m:ExternalId {{key: r[5]}}) ON CREATE SET m += {{{_IDENTIFIER.format(kind="member", value="r[5]")}}}
MERGE (d:Device {{key: r[6]}}) ON CREATE SET d += {{{_IDENTIFIER.format(kind="cookie", value="r[6]")}}}
MERGE (c)-[:MEMBER_OF]->(i)
MERGE (c)-[x:HAS_EMAIL]->(e) {_LINK.format(l="x", confidence=0.98)}
MERGE (c)-[y:HAS_ID]->(m) {_LINK.format(l="y", confidence=0.99)}
MERGE (c)-[z:USES_DEVICE]->(d) {_LINK.format(l="z", confidence=0.9)}
"""
"""The ceiling: the same nodes and links with the same properties, all known beforehand and nothing decided. The log of
decisions is ours alone."""

Person = tuple[str, str, str, str, str, str]
"""Source, id, name, email, member number, cookie."""


def people(tag: str, first: int, count: int) -> list[Person]:
    """Records ``first`` to ``first + count``; equal numbers are equal records."""
    return [
        (
            SOURCES[i % 3],
            f"{tag}-{i}",
            f"Name {i}",
            f"{tag}p{i // 3}@example.org",
            f"{tag.upper()}M{i // 3}",
            f"{tag}c{i}",
        )
        for i in range(first, first + count)
    ]


def write_raw(driver: neo4j.Driver, database: str, records: Sequence[Person], batch: int) -> None:
    """Write the records' nodes and links, one transaction a batch."""
    with driver.session(database=database) as session:
        for start in range(0, len(records), batch):
            rows = [
                [
                    f"{source}:{id}", source, id, name,
                    f"email:{email}", f"member:{member}", f"cookie:{cookie}", SEEN * 1000,
                    f"0199c7a2-0000-7000-8000-{member:>12}", "0123456789abcdef",
                ]
                for source, id, name, email, member, cookie in records[start : start + batch]
            ]  # fmt: skip
            with session.begin_transaction() as tx:
                tx.run(RAW, rows=rows).consume()
                tx.commit()


def messages(records: Sequence[Person], batch: int) -> list[identity_service_pb2.StreamRecordsRequest]:
    """The same records for the stream, ``batch`` a message."""
    return [
        identity_service_pb2.StreamRecordsRequest(
            sequence=start, items=[_item(person) for person in records[start : start + batch]]
        )
        for start in range(0, len(records), batch)
    ]


def _item(person: Person) -> record_pb2.Item:
    source, id, name, email, member, cookie = person
    item = record_pb2.Item()
    item.customer.key.source = source
    item.customer.key.source_id = id
    item.customer.traits.full_name = name
    item.customer.traits.country = "GB"
    item.customer.observe_time.seconds = SEEN
    for kind, value in (("email", email), ("member", member), ("cookie", cookie)):
        item.customer.identifiers.add(kind=kind, value=value, assurance=record_pb2.ASSURANCE_VERIFIED)
    return item


def counted(answers: Iterator[identity_service_pb2.StreamRecordsResponse]) -> int:
    """How many items were accepted."""
    return sum(1 for answer in answers for result in answer.results if not result.HasField("status"))
