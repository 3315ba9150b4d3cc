"""What a profile of the past is made of: the rows that the graph would have given then.

Each has the form that :mod:`onefold.graph.profile` reads, so that what is served of them is decided in one place. They
come from a statement a part, where a profile of now is one statement: who asks for the past can wait a little longer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from onefold.graph import past
from onefold.graph.cypher import RECORD_LINK_TYPES
from onefold.graph.model import TRAITS, Instant, is_record, split_name
from onefold.graph.past import LINK_HELD, PLACED_BY, SAID, held
from onefold.graph.reader import Reader
from onefold.graph.subject import Subject
from onefold.graph.timeline import EVENT_COUNTS, NEWEST_EVENTS, ORDER_SAID, free_properties

_KNOWN: Final = f"""
UNWIND $keys AS key MATCH (n:Customer {{key: key}}) {SAID}
RETURN key, s.observed_at.epochMillis, s.confirmed, [{", ".join(f"s.{trait}" for trait in TRAITS)}],
  {free_properties("s")}
"""

_REFUND: Final = f"MATCH (n)-[:REFUNDED]->(:Refund)-[:WAS*0..1]->(f) WHERE {held('f', 'replaced_at')}"

_ORDERS: Final = f"""
CALL () {{
  UNWIND $customers AS key MATCH (:Customer {{key: key}})-[:PLACED]->(n:Order) RETURN n
  UNION ALL
  UNWIND $customers AS key MATCH (:Version {{customer: key}})<-[:WAS]-(n:Order) RETURN n
  UNION ALL
  UNWIND $guests AS key MATCH (n:Order {{key: key}}) RETURN n
}}
WITH DISTINCT n {SAID}
WITH n, s, {PLACED_BY} AS customer
WHERE customer IN $customers OR (customer IS NULL AND n.key IN $guests)
RETURN n.key, s.status, s.currency, s.channel, s.total_micros, s.placed_at.epochMillis,
  COLLECT {{ {_REFUND} RETURN f.amount_micros }}
"""
"""Orders may have changed hands: those that the customers had then are among those they have now or once had."""

_ORDER_ROWS: Final = f"""
UNWIND $keys AS key MATCH (n:Order {{key: key}}) {SAID}
WITH n, s AS o, {PLACED_BY} AS customer
RETURN o.confirmed, [{ORDER_SAID},
    COLLECT {{ MATCH (o)-[c:CONTAINS|CONTAINED]->(p:Product)
      RETURN [c.line, p.sku, p.name, p.category, c.quantity, c.unit_price_micros] }},
    COLLECT {{ {_REFUND} RETURN [f.key, f.at.epochMillis, f.amount_micros, f.sku, f.quantity, f.reason] }},
    COLLECT {{ MATCH (n)-[l:{"|".join(RECORD_LINK_TYPES["order"].values())}|HAD]->(v)
      WHERE l.source = n.source AND {LINK_HELD} RETURN [v.key, l.assurance] }}
  ]
"""

_EVENTS: Final = """
CALL () {
  UNWIND $customers AS key MATCH (n:Customer {key: key}) RETURN n
  UNION ALL
  UNWIND $devices AS key MATCH (n:Device {key: key}) RETURN n
}
MATCH (n)-[:DID]->(e:Event) WHERE e.recorded_at.epochMillis <= $at
"""

_COUNTED_EVENTS: Final = f"{_EVENTS} {EVENT_COUNTS}"

_NEWEST_EVENTS: Final = f"{_EVENTS} WITH n, e {NEWEST_EVENTS}"


class Past:
    """A person at an instant, read part by part. Raises NotFound if the subject led to nobody then."""

    def __init__(self, reader: Reader, subject: Subject, at: Instant) -> None:
        self._reader, self._at = reader, at
        self.identity, members = past.identity_as_of(reader, subject, at)
        self._records = sorted(filter(is_record, members))
        self._customers = [split_name(name)[1] for name in self._records if name.startswith("customer:")]
        self.guest_orders = [split_name(name)[1] for name in self._records if name.startswith("order:")]
        """Keys of the orders that are records themselves."""
        self.devices = [m for m in members if not is_record(m) and past.label_of(m, reader.policy) == "Device"]
        """Keys of the devices."""

    def known(self) -> list[Sequence[Any]]:
        """What the customer records said: key, when observed, traits, free properties."""
        said = {
            key: [key, past.known_then(observed_at, confirmed, self._at), traits, properties]
            for key, observed_at, confirmed, traits, properties in self._rows(_KNOWN, keys=self._customers)
        }
        return [said.get(key, [key, None, [None] * len(TRAITS), []]) for key in self._customers]

    def links(self) -> tuple[list[Sequence[Any]], list[Sequence[Any]]]:
        """The person's links, and those of all others who had any of the same unshared identifiers."""
        own = past.holdings(self._reader, self._records, self._at)
        policy = self._reader.policy
        ties = {key for _, key, shared, *_ in own if not shared and not policy.is_blocked(key)}
        others = past.holders(self._reader, ties, self._at).difference(self._records)
        foreign = past.holdings(self._reader, others, self._at)
        return list(map(_link_row, own)), list(map(_link_row, foreign))

    def orders(self, limit: int) -> tuple[list[Sequence[Any]], list[Sequence[Any]]]:
        """What was bought, a row an order that was not cancelled; and the newest orders in full."""
        orders = self._rows(_ORDERS, customers=self._customers, guests=self.guest_orders)
        bought: list[Sequence[Any]] = [
            [currency, channel, 1, *divmod(total, _UNIT), *divmod(sum(refunds), _UNIT), placed_at, placed_at]
            for _, status, currency, channel, total, placed_at, refunds in orders
            if status != "cancelled"
        ]
        newest = sorted(((row[5], _utf_16(row[0]), row[0]) for row in orders), reverse=True)[:limit]
        rows = {}
        for confirmed, row in self._rows(_ORDER_ROWS, keys=[key for _, _, key in newest]):
            key, customer, placed_at, observed_at, *rest = row
            rows[key] = [key, customer, placed_at, past.known_then(observed_at, confirmed, self._at), *rest]
        return bought, [rows[key] for _, _, key in newest]

    def event_counts(self) -> list[Sequence[Any]]:
        """How many events there were of which sort."""
        ((counts,),) = self._rows(_COUNTED_EVENTS, customers=self._customers, devices=self.devices)
        return counts  # type: ignore[no-any-return]

    def newest_events(self, limit: int) -> list[Sequence[Any]]:
        """The newest events."""
        ((events,),) = self._rows(_NEWEST_EVENTS, customers=self._customers, devices=self.devices, limit=limit)
        return events  # type: ignore[no-any-return]

    def _rows(self, text: str, **parameters: Any) -> list[Any]:
        return list(self._reader.rows(text, at=self._at, **parameters))


_UNIT: Final = 1_000_000


def _link_row(row: Sequence[Any]) -> list[Any]:
    name, key, shared, source, assurance, first_seen, last_seen, _ = row
    label, record = split_name(name)
    return [label, record, key, shared, source, assurance, first_seen, last_seen]


def _utf_16(key: str) -> bytes:
    """What the graph sorts keys of orders of one instant by."""
    return key.encode("utf-16-be")
