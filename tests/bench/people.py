"""The people that the benches write: three records each, with an email, a member number and a cookie a record."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import neo4j

from onefold.v1 import identity_service_pb2, record_pb2

SOURCES = ("crm", "shop", "web")
SEEN = 1_700_000_000

RAW = """
UNWIND $rows AS r
MERGE (c:Customer {key: r[0]}) SET c.source = r[1], c.source_id = r[2], c.full_name = r[3], c.country = 'GB'
MERGE (e:Email {key: r[4]}) MERGE (m:ExternalId {key: r[5]}) MERGE (d:Device {key: r[6]})
MERGE (c)-[x:HAS_EMAIL]->(e) SET x.source = r[1], x.assurance = 'verified', x.confidence = 0.98,
  x.first_seen = datetime({epochMillis: r[7]}), x.last_seen = datetime({epochMillis: r[7]}), x.observations = 1
MERGE (c)-[y:HAS_ID]->(m) SET y.source = r[1], y.assurance = 'verified', y.confidence = 0.99,
  y.first_seen = datetime({epochMillis: r[7]}), y.last_seen = datetime({epochMillis: r[7]}), y.observations = 1
MERGE (c)-[z:USES_DEVICE]->(d) SET z.source = r[1], z.assurance = 'verified', z.confidence = 0.9,
  z.first_seen = datetime({epochMillis: r[7]}), z.last_seen = datetime({epochMillis: r[7]}), z.observations = 1
"""
"""The ceiling: the same nodes and links with the same properties, and nothing decided."""

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
