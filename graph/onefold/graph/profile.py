"""All that is known about a person, in one statement: traits, identifiers, activity, what is recent.

What the graph gives is rows; which of several values is served is decided by :mod:`onefold.graph.survivorship`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, NamedTuple

from onefold.graph.cypher import RECORD_LINK_TYPES
from onefold.graph.identity import located, one
from onefold.graph.model import (
    TRAITS,
    Event,
    IdentifierKey,
    Instant,
    Micros,
    Order,
    PropertyValue,
    RecordName,
)
from onefold.graph.policy import Policy
from onefold.graph.profile_past import Past
from onefold.graph.reader import Reader
from onefold.graph.resolve import Edges, Link, resolve
from onefold.graph.subject import Subject
from onefold.graph.survivorship import GoldenTrait, Known, golden_traits, latest_properties
from onefold.graph.timeline import (
    EVENT_COUNTS,
    NEWEST_EVENTS,
    NEWEST_ORDERS,
    OWNERS,
    event_of,
    events_of,
    free_properties,
    order_of,
    orders_of,
)

RECENT: Final = 10
"""How many of the latest orders and events a profile shows."""


class Part(StrEnum):
    """What a profile consists of besides the identity's id; a part that is not asked for is not read."""

    TRAITS = "traits"
    PROPERTIES = "properties"
    IDENTIFIERS = "identifiers"
    RECORDS = "records"
    ACTIVITY = "activity"
    RECENT_ORDERS = "recent_orders"
    RECENT_EVENTS = "recent_events"
    COMPLETENESS = "completeness"


ALL: Final = frozenset(Part)


@dataclass(frozen=True, slots=True)
class ProfileIdentifier:
    """One identifier of a person."""

    key: IdentifierKey
    shared: bool
    sources: tuple[str, ...]
    first_seen: Instant | None
    """None for a device that was only ever anonymous: no record has a link to it."""
    last_seen: Instant | None
    confidence: int
    """Of the person's strongest link to it, in parts per million; 0 for one that ties nobody to anything."""


@dataclass(frozen=True, slots=True)
class Spending:
    """What a person spent in one currency, cancelled orders aside."""

    currency: str
    orders: int
    total: Micros
    """What was charged, before refunds."""
    refunded: Micros

    @property
    def average(self) -> Micros:
        """What was charged per order, before refunds, rounded half up."""
        return (2 * self.total + self.orders) // (2 * self.orders)


@dataclass(frozen=True, slots=True)
class Activity:
    """What a person did, over all their records and devices. Cancelled orders count for nothing."""

    order_count: int = 0
    spending: tuple[Spending, ...] = ()
    """By currency."""
    first_order_at: Instant | None = None
    last_order_at: Instant | None = None
    event_count: int = 0
    event_counts: Mapping[str, int] = field(default_factory=dict)
    """By type."""
    channel_counts: Mapping[str, int] = field(default_factory=dict)
    """Orders and events by channel, those without one aside."""
    first_event_at: Instant | None = None
    last_event_at: Instant | None = None
    anonymous_event_count: int = 0
    """Events seen on one of their devices, without a customer."""


@dataclass(frozen=True, slots=True)
class Profile:
    """All that is known about a person; a part that was not asked for is empty."""

    identity: str
    created_at: Instant
    traits: tuple[GoldenTrait, ...] = ()
    """By name."""
    properties: Mapping[str, PropertyValue] = field(default_factory=dict)
    identifiers: tuple[ProfileIdentifier, ...] = ()
    """By key."""
    records: tuple[RecordName, ...] = ()
    """By name."""
    activity: Activity = Activity()
    recent_orders: tuple[Order, ...] = ()
    recent_events: tuple[Event, ...] = ()
    completeness: float = 0.0
    """Which share of the traits is known."""


_LINKS: Final = "|".join((*RECORD_LINK_TYPES["customer"].values(), *RECORD_LINK_TYPES["order"].values()))
_LINK_ROW: Final = """[CASE WHEN r:Order THEN 'order' ELSE 'customer' END, r.key, v.key, v.shared, l.source,
    l.assurance, l.first_seen.epochMillis, l.last_seen.epochMillis]"""

_READ: Final = located(f"""
{OWNERS}
CALL (customers) {{
  UNWIND CASE WHEN $records THEN customers ELSE [] END AS r
  RETURN collect([r.key, r.observed_at.epochMillis, [{", ".join(f"r.{trait}" for trait in TRAITS)}],
    {free_properties("r")}]) AS known
}}
CALL (customers, guest_orders) {{
  UNWIND CASE WHEN $identifiers THEN customers + guest_orders ELSE [] END AS r MATCH (r)-[l:{_LINKS}]->(v)
  RETURN collect({_LINK_ROW}) AS links,
    collect(DISTINCT CASE WHEN v.component IS NULL THEN null ELSE v END) AS ties
}}
CALL (i, ties) {{
  UNWIND ties AS t MATCH (t)<-[:{_LINKS}]-(r)
  WITH DISTINCT i, r MATCH (r)-[:MEMBER_OF]->(other:Identity) WHERE other.id <> i.id
  MATCH (r)-[l:{_LINKS}]->(v)
  RETURN collect({_LINK_ROW}) AS foreign_links
}}
{orders_of("$orders")}
CALL (placed) {{
  UNWIND CASE WHEN $activity THEN placed ELSE [] END AS p WITH p[0] AS o WHERE o.status <> 'cancelled'
  WITH o.currency AS currency, o.channel AS channel, count(*) AS n,
    sum(o.total_micros / 1000000) AS units, sum(o.total_micros % 1000000) AS micros,
    sum(coalesce(o.refunded_micros, 0) / 1000000) AS refunded_units,
    sum(coalesce(o.refunded_micros, 0) % 1000000) AS refunded_micros,
    min(o.placed_at.epochMillis) AS first, max(o.placed_at.epochMillis) AS last
  RETURN collect([currency, channel, n, units, micros, refunded_units, refunded_micros, first, last]) AS bought
}}
CALL (customers, devices) {{
  {events_of("$activity")} {EVENT_COUNTS}
}}
CALL (placed) {{
  UNWIND CASE WHEN $recent_orders THEN placed ELSE [] END AS p WITH p[0] AS o, p[1] AS customer {NEWEST_ORDERS}
}}
CALL (customers, devices) {{
  {events_of("$recent_events")}
  WITH n, e {NEWEST_EVENTS}
}}
RETURN i.id, i.created_at.epochMillis, known, [o IN guest_orders | o.key], links, foreign_links,
  CASE WHEN $identifiers THEN [v IN devices | v.key] ELSE [] END, bought, did, orders, events
""")
"""Amounts are summed as whole units and micros apart: a sum of micros alone could leave 64 bits."""


def read_profile(
    reader: Reader,
    subject: Subject,
    parts: Collection[Part] = ALL,
    *,
    as_of: Instant | None = None,
) -> Profile:
    """The profile of a person, of an anonymous one too; with ``as_of``, as it would have been served at that instant.

    Raises NotFound.
    """
    wanted = frozenset(parts)
    if as_of is None:
        rows = _Rows(*one(reader, _READ, subject, limit=RECENT, **_switches(wanted)))
    else:
        rows = _rows_then(Past(reader, subject, as_of), wanted)
    return _profile(rows, wanted, reader.policy)


class _Rows(NamedTuple):
    """What the graph gives for a profile, part by part; empty for what is not asked for."""

    identity: str
    created_at: Instant
    known: Sequence[Any]
    guest_orders: Sequence[str]
    links: Sequence[Any]
    foreign_links: Sequence[Any]
    devices: Sequence[str]
    bought: Sequence[Any]
    did: Sequence[Any]
    orders: Sequence[Any]
    events: Sequence[Any]


def _switches(wanted: frozenset[Part]) -> dict[str, bool]:
    """Which parts of :data:`_READ` are wanted, by the names of its parameters."""
    return {
        "records": bool(wanted & {Part.TRAITS, Part.PROPERTIES, Part.RECORDS, Part.COMPLETENESS}),
        "identifiers": Part.IDENTIFIERS in wanted,
        "activity": Part.ACTIVITY in wanted,
        "orders": bool(wanted & {Part.ACTIVITY, Part.RECENT_ORDERS}),
        "recent_orders": Part.RECENT_ORDERS in wanted,
        "recent_events": Part.RECENT_EVENTS in wanted,
    }


def _rows_then(then: Past, wanted: frozenset[Part]) -> _Rows:
    switched = _switches(wanted)
    links, foreign_links = then.links() if switched["identifiers"] else ([], [])
    bought, orders = then.orders(RECENT) if switched["orders"] else ([], [])
    return _Rows(
        then.identity.id,
        then.identity.created_at,
        known=then.known() if switched["records"] else [],
        guest_orders=then.guest_orders,
        links=links,
        foreign_links=foreign_links,
        devices=then.devices if switched["identifiers"] else [],
        bought=bought if switched["activity"] else [],
        did=then.event_counts() if switched["activity"] else [],
        orders=orders if switched["recent_orders"] else [],
        events=then.newest_events(RECENT) if switched["recent_events"] else [],
    )


def _profile(rows: _Rows, wanted: frozenset[Part], policy: Policy) -> Profile:
    known = [Known.of(row) for row in rows.known]
    traits = golden_traits(known, policy) if wanted & {Part.TRAITS, Part.COMPLETENESS} else ()
    return Profile(
        rows.identity,
        rows.created_at,
        traits=traits if Part.TRAITS in wanted else (),
        properties=latest_properties(known) if Part.PROPERTIES in wanted else {},
        identifiers=_identifiers(rows.links, rows.foreign_links, rows.devices, policy),
        records=_names(known, rows.guest_orders) if Part.RECORDS in wanted else (),
        activity=_activity(rows.bought, rows.did),
        recent_orders=tuple(order_of(row) for row in rows.orders),
        recent_events=tuple(event_of(row) for row in rows.events),
        completeness=len(traits) / len(TRAITS) if Part.COMPLETENESS in wanted else 0.0,
    )


def _names(known: Iterable[Known], guest_orders: Iterable[str]) -> tuple[RecordName, ...]:
    return tuple(sorted([k.record for k in known] + [f"order:{key}" for key in guest_orders]))


# -- identifiers -----------------------------------------------------------------------------------------------


def _identifiers(
    links: Sequence[Any], foreign_links: Sequence[Any], devices: Sequence[str], policy: Policy
) -> tuple[ProfileIdentifier, ...]:
    """The identifiers of the own links, and devices that no record has a link to.

    The links of others to the same identifiers are needed, since they make a confidence smaller.
    """
    evidence = [*links, *foreign_links]
    edges = Edges(
        links=[Link(_name(r[0], r[1]), r[2], r[4], r[5], r[6]) for r in evidence],
        shared={r[2] for r in evidence if r[3]},
    )
    partition, _ = resolve(edges, policy)
    own: dict[IdentifierKey, list[Sequence[Any]]] = {key: [] for key in devices}
    for row in links:
        own.setdefault(row[2], []).append(row)
    return tuple(_identifier(key, own[key], partition.confidence) for key in sorted(own))


def _identifier(
    key: IdentifierKey,
    rows: Sequence[Sequence[Any]],
    confidence: Mapping[tuple[RecordName, IdentifierKey], int],
) -> ProfileIdentifier:
    return ProfileIdentifier(
        key,
        shared=any(r[3] for r in rows),
        sources=tuple(sorted({r[4] for r in rows})),
        first_seen=min((r[6] for r in rows), default=None),
        last_seen=max((r[7] for r in rows), default=None),
        confidence=max((confidence.get((_name(r[0], r[1]), key), 0) for r in rows), default=0),
    )


def _name(label: str, key: str) -> RecordName:
    return f"{label}:{key}"


# -- activity --------------------------------------------------------------------------------------------------


def _activity(bought: Sequence[Any], did: Sequence[Any]) -> Activity:
    spending: dict[str, Spending] = {}
    types: dict[str, int] = defaultdict(int)
    channels: dict[str, int] = defaultdict(int)
    for currency, channel, n, units, micros, refunded_units, refunded_micros, _, _ in bought:
        before = spending.get(currency, Spending(currency, 0, 0, 0))
        spending[currency] = Spending(
            currency,
            before.orders + n,
            before.total + units * 1_000_000 + micros,
            before.refunded + refunded_units * 1_000_000 + refunded_micros,
        )
        channels[channel or ""] += n
    for type, channel, _, n, _, _ in did:
        types[type] += n
        channels[channel or ""] += n
    channels.pop("", None)
    return Activity(
        order_count=sum(row[2] for row in bought),
        spending=tuple(spending[currency] for currency in sorted(spending)),
        first_order_at=min((row[7] for row in bought), default=None),
        last_order_at=max((row[8] for row in bought), default=None),
        event_count=sum(row[3] for row in did),
        event_counts=dict(sorted(types.items())),
        channel_counts=dict(sorted(channels.items())),
        first_event_at=min((row[4] for row in did), default=None),
        last_event_at=max((row[5] for row in did), default=None),
        anonymous_event_count=sum(row[3] for row in did if row[2]),
    )
