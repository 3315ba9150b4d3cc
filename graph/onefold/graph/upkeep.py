"""What has to be done by the clock: bans that are over, answers that nobody will ask for again."""

from __future__ import annotations

import time
from typing import Final

import neo4j

from onefold.graph import bounded, cypher
from onefold.graph.model import BanExpiry, Instant, customer_name
from onefold.graph.reader import Reader

_FORGET: Final = """
MATCH (q:Request) WHERE q.at < datetime({epochMillis: $before}) WITH q LIMIT $limit
DELETE q RETURN count(*)
"""

_AT_ONCE: Final = 1_000


def due_bans(reader: Reader, now: Instant, limit: int = 100) -> list[BanExpiry]:
    """The bans that should have ended by ``now`` and still hold, the longest due first, at most ``limit``."""
    return [
        BanExpiry(_name(a), _name(b), said_at) for a, b, said_at in reader.rows(cypher.READ_DUE, now=now, limit=limit)
    ]


def _name(key: str) -> str:
    source, _, source_id = key.partition(":")
    return customer_name(source, source_id)


def forget_answers(driver: neo4j.Driver, database: str, before: Instant, *, seconds: float | None = None) -> int:
    """Forget what requests were answered before an instant; how many there were. Raises what the driver raises, at the
    latest after ``seconds``."""
    forgotten = 0
    until = None if seconds is None else time.monotonic() + seconds
    with bounded.session(driver, database, until) as session:
        while count := session.execute_write(
            lambda tx: tx.run(_FORGET, before=before, limit=_AT_ONCE).single(strict=True)[0]
        ):
            forgotten += count
    return forgotten
