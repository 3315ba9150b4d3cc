"""What the graph knows about some components, and what a batch of items adds to it.

:class:`Evidence` begins as what was read under the lock. :meth:`Evidence.add` folds one item into it and notes what
has to be written; nothing here decides who is who. Folding is idempotent, and the order of items does not matter, but
for an operator's word, whose records must be known by then: the latest version of a record wins (ties go to the
greater digest), a link's sight is the union of all sights.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final

from onefold.graph.errors import InvalidInput, Violation
from onefold.graph.model import (
    Assertion,
    Customer,
    Event,
    IdentifierKey,
    IdentifierLink,
    Instant,
    Item,
    OperatorBan,
    OperatorMatch,
    Order,
    PropertyValue,
    RecordName,
    Refund,
)
from onefold.graph.policy import Label
from onefold.graph.resolve import Ban, Edges, Link, Match

LinkKey = tuple[IdentifierKey, str, str]
"""Identifier, source and assurance: one relationship of a record."""


NEVER: Final[Instant] = -(1 << 62)
"""Before any instant: the version of a record that others only spoke of."""


@dataclass(slots=True)
class LinkState:
    """One link of a record, as stored and as it will be."""

    first_seen: Instant
    last_seen: Instant
    observations: int = 1
    refused: str | None = None
    """Why the policy keeps this link from joining; None where it does join or has nothing to join."""
    stored: bool = False
    dirty: bool = False

    def see(self, at: Instant) -> bool:
        """Note one more sight; True if it says anything new."""
        if self.first_seen <= at <= self.last_seen:
            return False
        self.first_seen, self.last_seen = min(at, self.first_seen), max(at, self.last_seen)
        self.observations += 1
        self.dirty = True
        return True


@dataclass(slots=True)
class RecordState:
    """A customer or a guest order: where it stands, and its links."""

    name: RecordName
    identity: str | None = None
    component: str | None = None
    created_at: Instant | None = None
    """When it came into the graph; None until it is written."""
    observed_at: Instant = NEVER
    digest: str = ""
    links: dict[LinkKey, LinkState] = field(default_factory=dict)


@dataclass(slots=True)
class IdentifierState:
    """An identifier: where it stands."""

    key: IdentifierKey
    identity: str | None = None
    component: str | None = None
    shared: bool = False
    has_events: bool = False
    label: Label | None = None
    """Its node's label; None for one that is not stored yet."""
    events_dirty: bool = False

    @property
    def stored(self) -> bool:
        """Whether it is in the graph already."""
        return self.label is not None


@dataclass(slots=True)
class OrderState:
    """A stored order: which version it is, and whose."""

    observed_at: Instant
    digest: str
    customer: RecordName | None


@dataclass(slots=True)
class Touched:
    """What a batch of items names: the keys to look up and lock."""

    records: set[RecordName] = field(default_factory=set)
    orders: set[str] = field(default_factory=set)
    events: set[str] = field(default_factory=set)
    identifiers: set[IdentifierKey] = field(default_factory=set)

    @classmethod
    def by(cls, items: Iterable[Item]) -> Touched:
        """What these items name."""
        touched = cls()
        for item in items:
            touched._add(item)
        return touched

    def _add(self, item: Item) -> None:
        match item:
            case Customer():
                self.records.add(item.name)
                self.identifiers.update(a.identifier for a in item.assertions)
            case Order():
                self.orders.add(item.key)
                self.records.add(item.customer or item.name)
                self.identifiers.update(a.identifier for a in item.assertions)
            case Event():
                self.events.add(item.key)
                if item.customer is not None:
                    self.records.add(item.customer)
                if item.device is not None:
                    self.identifiers.add(item.device)
            case IdentifierLink():
                self.records.add(item.customer)
                self.identifiers.add(item.assertion.identifier)
            case OperatorMatch() | OperatorBan():
                self.records.update((item.a, item.b))


@dataclass(slots=True)
class Evidence:
    """Stored evidence of some whole components, and what items add to it."""

    records: dict[RecordName, RecordState] = field(default_factory=dict)
    identifiers: dict[IdentifierKey, IdentifierState] = field(default_factory=dict)
    matches: dict[tuple[RecordName, RecordName], Instant] = field(default_factory=dict)
    bans: dict[tuple[RecordName, RecordName], Ban] = field(default_factory=dict)
    orders: dict[str, OrderState] = field(default_factory=dict)
    events: set[str] = field(default_factory=set)
    recounted: set[IdentifierKey] = field(default_factory=set)
    """Shared identifiers whose every record is here, so that it can be told whether they still are."""

    suspects: set[IdentifierKey] = field(default_factory=set)
    """Shared identifiers that may be shared no longer: a guest order at them has become more like another one."""
    new_records: list[RecordState] = field(default_factory=list)
    new_links: list[tuple[RecordName, LinkKey]] = field(default_factory=list)
    new_matches: list[OperatorMatch] = field(default_factory=list)
    new_bans: list[OperatorBan] = field(default_factory=list)
    new_events: list[Event] = field(default_factory=list)
    customers: dict[RecordName, Customer] = field(default_factory=dict)
    """Customers whose traits are to be written."""
    placed: dict[str, Order] = field(default_factory=dict)
    """Orders to be written, by key."""
    refunds: dict[str, dict[str, tuple[Instant, Refund]]] = field(default_factory=dict)
    """Refunds to be written, by order key and refund id, with the version of the order that says so; the latest
    version of each wins, and those that a version leaves out stay."""
    rewritten: set[str] = field(default_factory=set)
    """Keys of those of them that replace a stored version."""

    def add(self, item: Item) -> bool:
        """Fold one item in; True if it says anything that was not known.

        Raises InvalidInput, leaving everything as it was, if the item contradicts what is stored.
        """
        match item:
            case Customer():
                return self._add_customer(item)
            case Order():
                return self._add_order(item)
            case Event():
                return self._add_event(item)
            case IdentifierLink():
                record = self._record(item.customer)
                return self._assert(record, item.assertion, item.source, item.at)
            case OperatorMatch():
                return self._add_match(item)
            case OperatorBan():
                return self._add_ban(item)

    def edges(self) -> Edges:
        """All of it as rows for :func:`onefold.graph.resolve.resolve`."""
        return Edges(
            links=[
                Link(name, identifier, source, assurance, link.first_seen)
                for name, record in self.records.items()
                for (identifier, source, assurance), link in record.links.items()
            ],
            matches=[Match(a, b, at) for (a, b), at in self.matches.items()],
            records=self.records.keys(),
            shared=[
                key for key, identifier in self.identifiers.items() if identifier.shared and key not in self.recounted
            ],
        )

    def _add_customer(self, item: Customer) -> bool:
        record = self._record(item.name)
        new = [self._assert(record, a, item.source, item.observed_at) for a in item.assertions]
        digest = _digest(item.traits, item.properties)
        if (item.observed_at, digest) > (record.observed_at, record.digest):
            changed = digest != record.digest
            record.observed_at, record.digest = item.observed_at, digest
            self.customers[item.name] = item
            return changed or any(new)
        return any(new)

    def _add_order(self, item: Order) -> bool:
        digest = _order_digest(item)
        stored = self.orders.get(item.key)
        if stored is not None and stored.customer != item.customer:
            whose = stored.customer or "nobody (a guest order)"
            raise InvalidInput(
                [Violation("order.customer", f"must stay as first recorded: this order belongs to {whose}")]
            )
        record = self._record(item.customer or item.name)
        new = [self._assert(record, a, item.source, item.placed_at) for a in item.assertions]
        if item.customer is None and record.identity is not None and any(new):
            self.suspects.update(v for v, _, _ in record.links if self.identifiers[v].shared)
        if item.refunds and (stored is None or stored.digest != digest):
            refunds = self.refunds.setdefault(item.key, {})
            for refund in item.refunds:
                known = refunds.get(refund.refund_id)
                if known is None or (item.observed_at, _hex(refund)) > (known[0], _hex(known[1])):
                    refunds[refund.refund_id] = (item.observed_at, refund)
        if stored is not None and (item.observed_at, digest) <= (stored.observed_at, stored.digest):
            return any(new)
        if stored is not None and item.key not in self.placed:
            self.rewritten.add(item.key)
        self.orders[item.key] = OrderState(item.observed_at, digest, item.customer)
        self.placed[item.key] = item
        return stored is None or stored.digest != digest or any(new)

    def _add_event(self, item: Event) -> bool:
        new = False
        if item.customer is not None:
            record = self._record(item.customer)
            if item.device is not None:
                new = self._assert(record, Assertion(item.device, item.assurance), item.source, item.at)
        elif item.device is not None:
            device = self._identifier(item.device)
            if not device.has_events:
                device.has_events = device.events_dirty = True
        if item.key in self.events:
            return new
        self.events.add(item.key)
        self.new_events.append(item)
        return True

    def _add_match(self, item: OperatorMatch) -> bool:
        self._known("match", item.a, item.b)
        pair = (min(item.a, item.b), max(item.a, item.b))
        if item.at >= self.matches.get(pair, item.at + 1):
            return False
        self.matches[pair] = item.at
        self.new_matches.append(item)
        return True

    def _add_ban(self, item: OperatorBan) -> bool:
        self._known("ban", item.a, item.b)
        pair = (min(item.a, item.b), max(item.a, item.b))
        stored = self.bans.get(pair)
        ban = Ban(*pair, item.at, item.expires_at)
        if stored is not None and _latest(ban) <= _latest(stored):
            return False
        self.bans[pair] = ban
        self.new_bans.append(item)
        return True

    def _known(self, what: str, *names: RecordName) -> None:
        unknown = [
            Violation(f"{what}.{end}", f"must name a known record; {name} is not known")
            for end, name in zip("ab", names, strict=True)
            if name not in self.records
        ]
        if unknown:
            raise InvalidInput(unknown)

    def _record(self, name: RecordName) -> RecordState:
        record = self.records.get(name)
        if record is None:
            record = self.records[name] = RecordState(name)
            self.new_records.append(record)
        return record

    def _identifier(self, key: IdentifierKey) -> IdentifierState:
        identifier = self.identifiers.get(key)
        if identifier is None:
            identifier = self.identifiers[key] = IdentifierState(key)
        return identifier

    def _assert(self, record: RecordState, assertion: Assertion, source: str, at: Instant) -> bool:
        self._identifier(assertion.identifier)
        key = (assertion.identifier, source, assertion.assurance.value)
        link = record.links.get(key)
        if link is not None:
            return link.see(at)
        record.links[key] = LinkState(at, at)
        self.new_links.append((record.name, key))
        return True


def _latest(ban: Ban) -> tuple[Instant, float]:
    """Of two words on one pair the later one counts; of two at one instant, the one that holds longer."""
    return ban.at, float("inf") if ban.expires_at is None else ban.expires_at


def _digest(*parts: Mapping[str, PropertyValue]) -> str:
    """Sixteen hexadecimal digits that differ when the content does."""
    return _hex([sorted(part.items()) for part in parts])


def _order_digest(item: Order) -> str:
    return _hex(
        [
            (item.placed_at, item.utc_offset_minutes, item.currency, item.total, item.status, item.channel),
            (item.payment_method, item.coupons, item.lines, item.refunds),
            sorted(item.properties.items()),
        ]
    )


def _hex(content: object) -> str:
    return blake2b(repr(content).encode(), digest_size=8).hexdigest()
