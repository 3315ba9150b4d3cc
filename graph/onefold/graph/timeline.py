"""What a person did, newest first: their orders and events over all records and devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from onefold.graph.cypher import RECORD_LINK_TYPES
from onefold.graph.identity import located, one
from onefold.graph.model import (
    PROPERTY_PREFIX,
    Assertion,
    Assurance,
    Event,
    Instant,
    Order,
    OrderLine,
    PropertyValue,
    Refund,
)
from onefold.graph.page import Page, Place, place_of, size_of, token_of
from onefold.graph.reader import Reader
from onefold.graph.subject import Subject

OWNERS: Final = """
CALL (i) { MATCH (i)<-[:MEMBER_OF]-(r:Customer) RETURN collect(r) AS customers }
CALL (i) { MATCH (i)<-[:MEMBER_OF]-(o:Order) RETURN collect(o) AS guest_orders }
CALL (i) { MATCH (v:Device {identity: i.id}) RETURN collect(v) AS devices }
"""
"""Binds all that orders and events of the identity ``i`` hang on: ``customers``, ``guest_orders``, ``devices``."""


def orders_of(switch: str) -> str:
    """The Cypher that, after :data:`OWNERS`, binds ``placed``: each order with the key of its customer, or null.

    Nothing is read, and guest orders are all there is, where ``switch`` is false.
    """
    return f"""
CALL (customers) {{
  UNWIND CASE WHEN {switch} THEN customers ELSE [] END AS r MATCH (r)-[:PLACED]->(o:Order)
  RETURN collect([o, r.key]) AS of_customers
}}
WITH *, of_customers + [o IN guest_orders | [o, null]] AS placed
"""


def events_of(switch: str) -> str:
    """The Cypher that, after :data:`OWNERS`, binds each event ``e`` and its owner ``n``; none if not ``switch``."""
    return f"UNWIND CASE WHEN {switch} THEN customers + devices ELSE [] END AS n MATCH (n)-[:DID]->(e:Event)"


def free_properties(node: str) -> str:
    """The Cypher for a node's free properties, as a list of names and values."""
    return f"[k IN keys({node}) WHERE k STARTS WITH '{PROPERTY_PREFIX}' | [k, {node}[k]]]"


ORDER_SAID: Final = f"""
    o.key, customer, o.placed_at.epochMillis, o.observed_at.epochMillis, o.utc_offset_minutes, o.status, o.currency,
    o.total_micros, o.channel, o.payment_method, o.coupons, {free_properties("o")}"""
"""What a version of an order says itself."""

ORDER_ROW: Final = f"""[{ORDER_SAID},
    COLLECT {{ MATCH (o)-[c:CONTAINS]->(p:Product)
      RETURN [c.line, p.sku, p.name, p.category, c.quantity, c.unit_price_micros] }},
    COLLECT {{ MATCH (o)-[:REFUNDED]->(f:Refund)
      RETURN [f.key, f.at.epochMillis, f.amount_micros, f.sku, f.quantity, f.reason] }},
    COLLECT {{ MATCH (o)-[l:{"|".join(RECORD_LINK_TYPES["order"].values())}]->(v) WHERE l.source = o.source
      RETURN [v.key, l.assurance] }}
  ]"""
"""One order ``o`` as :func:`order_of` reads it."""

EVENT_ROW: Final = f"""[
    e.key, customer, device, e.source, e.type, e.at.epochMillis, e.utc_offset_minutes, e.channel,
    {free_properties("e")}
  ]"""
"""One event ``e`` as :func:`event_of` reads it."""

EVENT_COUNTS: Final = """
  WITH e.type AS type, e.channel AS channel, n:Device AS anonymous, count(*) AS many,
    min(e.at.epochMillis) AS first, max(e.at.epochMillis) AS last
  RETURN collect([type, channel, anonymous, many, first, last]) AS did
"""
"""How many events ``e``, each of its owner ``n``, there are of which sort."""

NEWEST_ORDERS: Final = f"""
  ORDER BY o.placed_at DESC, o.key + '' DESC LIMIT $limit
  RETURN collect({ORDER_ROW}) AS orders
"""
NEWEST_EVENTS: Final = f"""
  ORDER BY e.at DESC, e.key + '' DESC LIMIT $limit
  WITH e, CASE WHEN n:Device THEN null ELSE n.key END AS customer,
    CASE WHEN n:Device THEN n.key ELSE e.device END AS device
  RETURN collect({EVENT_ROW}) AS events
"""
"""The newest of them by instant, then by key.

A key is sorted as ``key + ''``: Neo4j sorts stored strings by code points, and compares them, as it does results of
``+``, by UTF-16 units. Pages must be sorted by what they are continued by.
"""

_LIST_ORDERS: Final = located(f"""
{OWNERS}
{orders_of("true")}
CALL (placed) {{
  UNWIND placed AS p WITH p[0] AS o, p[1] AS customer
  WHERE o.placed_at.epochMillis < $at OR (o.placed_at.epochMillis = $at AND o.key < $after)
  WITH o, customer {NEWEST_ORDERS}
}}
RETURN orders
""")

_LIST_EVENTS: Final = located(f"""
{OWNERS}
CALL (customers, devices) {{
  {events_of("true")}
  WHERE e.at.epochMillis >= $start AND e.at.epochMillis < $end
    AND (e.at.epochMillis < $at OR (e.at.epochMillis = $at AND e.key < $after))
    AND ($types IS NULL OR e.type IN $types) AND ($channels IS NULL OR coalesce(e.channel, '') IN $channels)
  WITH n, e {NEWEST_EVENTS}
}}
RETURN events
""")

_FIRST: Final[Instant] = -(1 << 62)
_BEYOND: Final[Instant] = 1 << 62
_START: Final[Place] = (_BEYOND, "")


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events are asked for; an empty field asks for all."""

    types: frozenset[str] = frozenset()
    channels: frozenset[str] = frozenset()
    start: Instant | None = None
    """Only events at or after it."""
    end: Instant | None = None
    """Only events before it."""


def list_orders(reader: Reader, subject: Subject, *, size: int = 0, token: str = "") -> Page[Order]:
    """One page of a person's orders, newest first, cancelled ones too.

    An order's identifiers are known only of a guest order: those on a customer's order became the customer's.
    Raises NotFound, InvalidInput (field ``page_token``).
    """
    asked = ("orders", subject)
    at, after = place_of(asked, token, _START)
    size = size_of(size)
    (rows,) = one(reader, _LIST_ORDERS, subject, at=at, after=after, limit=size + 1)
    orders = tuple(order_of(row) for row in rows[:size])
    more = len(rows) > size
    return Page(orders, token_of(asked, (orders[-1].placed_at, orders[-1].key)) if more else "")


def list_events(
    reader: Reader,
    subject: Subject,
    wanted: EventFilter = EventFilter(),
    *,
    size: int = 0,
    token: str = "",
) -> Page[Event]:
    """One page of a person's events, newest first, with what their devices saw before they were known.

    Raises NotFound, InvalidInput (field ``page_token``).
    """
    types, channels = sorted(wanted.types), sorted(wanted.channels)
    asked = ("events", subject, types, channels, wanted.start, wanted.end)
    at, after = place_of(asked, token, _START)
    size = size_of(size)
    (rows,) = one(
        reader, _LIST_EVENTS, subject, at=at, after=after, limit=size + 1,
        types=types or None, channels=channels or None,
        start=_FIRST if wanted.start is None else wanted.start, end=_BEYOND if wanted.end is None else wanted.end,
    )  # fmt: skip
    events = tuple(event_of(row) for row in rows[:size])
    more = len(rows) > size
    return Page(events, token_of(asked, (events[-1].at, events[-1].key)) if more else "")


def order_of(row: Sequence[Any]) -> Order:
    """The order in an :data:`ORDER_ROW`."""
    (
        key, customer, placed_at, observed_at, offset, status, currency, total, channel, payment_method, coupons,
        properties, lines, refunds, links,
    ) = row  # fmt: skip
    source, _, order_id = key.partition(":")
    return Order(
        source=source,
        order_id=order_id,
        placed_at=placed_at,
        currency=currency,
        total=total,
        status=status,
        observed_at=observed_at,
        customer=None if customer is None else f"customer:{customer}",
        assertions=tuple(Assertion(identifier, Assurance(word)) for identifier, word in sorted(links)),
        lines=tuple(
            OrderLine(sku, quantity, unit_price, name or "", category or "")
            for _, sku, name, category, quantity, unit_price in sorted(lines, key=lambda line: line[0])
        ),
        refunds=tuple(
            Refund(refund_key.removeprefix(f"{key}:"), at, amount, sku or "", quantity or 0, reason or "")
            for refund_key, at, amount, sku, quantity, reason in sorted(refunds, key=lambda r: (r[1], r[0]))
        ),
        channel=channel or "",
        payment_method=payment_method or "",
        coupons=tuple(coupons or ()),
        properties=properties_of(properties),
        utc_offset_minutes=offset or 0,
    )


def event_of(row: Sequence[Any]) -> Event:
    """The event in an :data:`EVENT_ROW`."""
    key, customer, device, source, type, at, offset, channel, properties = row
    return Event(
        source=source,
        event_id=key.removeprefix(f"{source}:"),
        type=type,
        at=at,
        customer=None if customer is None else f"customer:{customer}",
        device=device,
        channel=channel or "",
        properties=properties_of(properties),
        utc_offset_minutes=offset or 0,
    )


def properties_of(pairs: Sequence[tuple[str, Any]]) -> Mapping[str, PropertyValue]:
    """Free properties by name, from what :func:`free_properties` gives."""
    return {name.removeprefix(PROPERTY_PREFIX): value_of(value) for name, value in sorted(pairs)}


def value_of(value: Any) -> PropertyValue:
    """A property's value as the domain has it: days as dates, lists as tuples."""
    if isinstance(value, list):
        return tuple(value)
    if hasattr(value, "to_native"):
        native: date = value.to_native()
        return native
    return value  # type: ignore[no-any-return]
