"""Everybody as columns: the traits and properties that a profile serves, how they can be reached, what is predicted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Final

import pyarrow as pa

from onefold.graph.columns import INSTANT, PROPERTIES, as_text
from onefold.graph.cypher import RECORD_LINK_TYPES
from onefold.graph.model import kind_of
from onefold.graph.policy import Policy
from onefold.graph.reader import Reader
from onefold.graph.survivorship import Known, golden_traits, latest_properties
from onefold.graph.timeline import free_properties

PEOPLE: Final = pa.schema(
    [
        pa.field("identity", pa.string(), nullable=False),
        pa.field("created_at", INSTANT, nullable=False),
        pa.field("gender", pa.string()),
        pa.field("birth_date", pa.date32()),
        pa.field("language", pa.string()),
        pa.field("country", pa.string()),
        pa.field("region", pa.string()),
        pa.field("city", pa.string()),
        pa.field("company", pa.string()),
        pa.field("job_title", pa.string()),
        pa.field("loyalty_tier", pa.string()),
        pa.field("loyalty_points", pa.int64()),
        pa.field("member_since", pa.date32()),
        pa.field("reachable_by", pa.list_(pa.string()), nullable=False),
        pa.field("sources", pa.list_(pa.string()), nullable=False),
        pa.field("properties", PROPERTIES, nullable=False),
    ]
)
"""One row per current identity that is not anonymous. ``reachable_by`` are the kinds of their identifiers that are not
shared (nor blocked by the policy), ``sources`` those of their records; both sorted."""

PREDICTIONS: Final = pa.schema(
    [
        pa.field("identity", pa.string(), nullable=False),
        pa.field("churn_probability", pa.float64()),
        pa.field("expected_orders", pa.float64()),
        pa.field("predicted_spend_micros", pa.int64()),
        pa.field("next_order_at", INSTANT),
        pa.field("identity_confidence", pa.float64()),
        pa.field("weakest_merge_share", pa.float64()),
    ]
)
"""One row per identity on which a prediction is (:mod:`onefold.graph.predictions`)."""

_TRAITS: Final = tuple(PEOPLE.names[2:-3])

_LINKS: Final = "|".join(sorted({type for types in RECORD_LINK_TYPES.values() for type in types.values()}))

_PEOPLE: Final = f"""
WHERE i.merged_into IS NULL AND i.erased_at IS NULL AND NOT i.anonymous
CALL (i) {{
  MATCH (i)<-[:MEMBER_OF]-(r:Customer)
  RETURN collect([r.key, r.observed_at.epochMillis, [{", ".join(f"r.{trait}" for trait in _TRAITS)}],
    {free_properties("r")}]) AS known
}}
CALL (i) {{
  MATCH (i)<-[:MEMBER_OF]-(r) RETURN collect(DISTINCT r.source) AS sources
}}
CALL (i) {{
  MATCH (i)<-[:MEMBER_OF]-(r)-[:{_LINKS}]->(v) WHERE NOT v.shared
  RETURN collect(DISTINCT v.key) AS identifiers
}}
RETURN i.id, i.created_at.epochMillis, known, sources, identifiers
"""

_PREDICTIONS: Final = """
WHERE i.score_run IS NOT NULL
RETURN i.id, i.churn_probability, i.expected_orders, i.predicted_spend_micros, i.next_order_at.epochMillis,
  i.identity_confidence, i.weakest_merge_share
"""

_ALL: Final = "MATCH (i:Identity)"
_SOME: Final = "UNWIND $identities AS id MATCH (i:Identity {id: id})"

_AT_ONCE: Final = 1_000


def people(reader: Reader, identities: Sequence[str] | None = None) -> pa.Table:
    """Everybody as they are now, in the columns of :data:`PEOPLE`; anonymous, retired and erased identities aside.

    All of them or, with ``identities``, those of these ids. In no order. Raises DeadlineExceeded, and Unavailable when
    the engine can't be reached or goes away.
    """
    rows = (_person(row, reader.policy) for row in _found(reader, _PEOPLE, identities))
    return pa.Table.from_batches(_batches(rows, PEOPLE), PEOPLE)


def predictions(reader: Reader, identities: Sequence[str] | None = None) -> pa.Table:
    """What is predicted of people, in the columns of :data:`PREDICTIONS`; stale ones too. Else as :func:`people`."""
    found = _found(reader, _PREDICTIONS, identities)
    rows = (dict(zip(PREDICTIONS.names, row, strict=True)) for row in found)
    return pa.Table.from_batches(_batches(rows, PREDICTIONS), PREDICTIONS)


def _found(reader: Reader, body: str, identities: Sequence[str] | None) -> Iterator[Sequence[Any]]:
    if identities is None:
        return reader.stream(_ALL + body, batch=_AT_ONCE)
    return iter(reader.rows(_SOME + body, identities=list(identities)))


def _batches(found: Iterator[dict[str, Any]], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    while rows := list(islice(found, _AT_ONCE)):
        yield pa.RecordBatch.from_pylist(rows, schema)


def _person(row: Sequence[Any], policy: Policy) -> dict[str, Any]:
    identity, created_at, records, sources, identifiers = row
    known = [Known.of(record, _TRAITS) for record in records]
    return {
        "identity": identity,
        "created_at": created_at,
        **{trait.name: trait.chosen.value for trait in golden_traits(known, policy)},
        "reachable_by": sorted({kind_of(key) for key in identifiers if not policy.is_blocked(key)}),
        "sources": sorted(sources),
        "properties": [(name, as_text(value)) for name, value in latest_properties(known).items()],
    }
