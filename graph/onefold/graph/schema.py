"""The schema: one uniqueness constraint per label on its key, and the few indexes that reads need.

Created at start, idempotent and versioned: ``(:Schema {key: 'onefold', version})`` says which statements have run.
"""

from __future__ import annotations

from typing import Final

import neo4j

from onefold.graph.errors import Conflict

VERSION: Final = 4

_KEYS: Final = {
    "Schema": "key",
    "Customer": "key",
    "Email": "key",
    "Phone": "key",
    "Device": "key",
    "ExternalId": "key",
    "Order": "key",
    "Product": "key",
    "Refund": "key",
    "Event": "key",
    "Identity": "id",
    "Decision": "id",
    "DecisionLog": "key",
    "Request": "key",
    "Expiry": "key",
    "Score": "key",
    "FeatureOwner": "key",
    "Catalogue": "key",
    "Segment": "key",
    "SegmentFeed": "key",
    "SegmentChange": "sequence",
    "FrameCount": "key",
}

_INDEXES: Final = (
    ("Customer", "component"),
    ("Order", "component"),
    ("Order", "placed_at"),
    ("Device", "component"),
    ("Device", "identity"),
    ("Decision", "sequence"),
    ("Expiry", "due_at"),
    ("Request", "at"),
    ("Version", "customer"),
    ("Identity", "scores_sequence"),
    ("SegmentPage", "list"),
    ("FrameCount", "counted_at"),
)


def statements() -> list[str]:
    """Every schema statement, in order; each may run again without effect."""
    constraints = [
        f"CREATE CONSTRAINT {label.lower()}_{key} IF NOT EXISTS FOR (n:{label}) REQUIRE n.{key} IS UNIQUE"
        for label, key in _KEYS.items()
    ]
    indexes = [
        f"CREATE INDEX {label.lower()}_{key} IF NOT EXISTS FOR (n:{label}) ON (n.{key})" for label, key in _INDEXES
    ]
    return constraints + indexes


def ensure(driver: neo4j.Driver, database: str) -> int:
    """Bring the database's schema to this version; returns the version it had before (0: none).

    Raises Conflict if a newer Onefold made it: an older one would not keep what the newer promises.
    """
    with driver.session(database=database) as session:
        found = session.run("MATCH (s:Schema {key: 'onefold'}) RETURN s.version AS version").single()
        version = int(found["version"]) if found else 0
        if version > VERSION:
            raise Conflict(
                f"the graph has schema version {version}, this Onefold knows up to {VERSION}: upgrade Onefold"
            )
        if version < VERSION:
            for text in statements():
                session.run(text).consume()
            session.run("MERGE (s:Schema {key: 'onefold'}) SET s.version = $version", version=VERSION).consume()
    return version
