"""What the graph knows about some components, and what a batch of items adds to it.

:class:`Evidence` begins as what was read under the lock. :meth:`Evidence.add` folds one item into it and notes what
has to be written; nothing here decides who is who. Folding is idempotent, and the order of items does not matter, but
for an operator's word, whose records must be known by then:

* the latest version of a record or order wins (ties go to the greater digest), and with it what it states;
* a link's sight is the union of all sights; whether it holds depends on the latest word for and against it;
* what an order says of its customer is said while its latest version says so, and while it is not deleted;
* of two words on one pair of records the later one counts.

So nothing is forgotten: a link that holds no longer stays as an ended one, since an older word may come later.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final

from onefold.graph.errors import InvalidInput, Violation
from onefold.graph.model import (
    Assertion,
    BanExpiry,
    Customer,
    Deletion,
    Event,
    IdentifierKey,
    IdentifierLink,
    Instant,
    Item,
    OperatorBan,
    OperatorMatch,
    Order,
    OwnItem,
    PropertyValue,
    Recheck,
    RecordName,
    Refund,
    Withdrawal,
    split_name,
)
from onefold.graph.policy import Label
from onefold.graph.resolve import Ban, Edges, Link, Match

LinkKey = tuple[IdentifierKey, str, str]
"""Identifier, source and assurance: one relationship of a record."""

Given = tuple[RecordName, LinkKey]
"""A link that a customer has by an order."""


NEVER: Final[Instant] = -(1 << 62)
"""Before any instant: the version of a record that others only spoke of."""

UNSEEN: Final[Instant] = 1 << 62
"""After any instant: the first sight of a link that was only ever taken back."""


@dataclass(slots=True)
class LinkState:
    """One link of a record, as stored and as it will be."""

    first_seen: Instant = UNSEEN
    last_seen: Instant = NEVER
    observations: int = 0
    stated_by: str | None = None
    """The digest of the last version of its record that said so, or of an order's; None if no version ever did."""
    sighted_at: Instant = NEVER
    """When anything but a version last said so: an event, a link."""
    ordered_at: Instant = NEVER
    """When the last of the orders was placed that say so still."""
    withdrawn_at: Instant = NEVER
    """Up to when its source took its word back."""
    refused: str | None = None
    """Why the policy keeps this link from joining; None where it does join or has nothing to join."""
    stored: bool | None = None
    """Whether it is in the graph as one that holds (True) or has ended (False); None if it is not there."""
    dirty: bool = False
    """Whether any of this differs from what is stored."""

    def see(self, at: Instant) -> bool:
        """Note one more sight; True if it says anything new."""
        if self.first_seen <= at <= self.last_seen:
            return False
        self.first_seen, self.last_seen = min(at, self.first_seen), max(at, self.last_seen)
        self.observations += 1
        return True


@dataclass(slots=True)
class RecordState:
    """A customer or an order as a record: where it stands, and its links."""

    name: RecordName
    identity: str | None = None
    """None for one that is nobody's: new, deleted, a customer's order, or only ever spoken against."""
    component: str | None = None
    created_at: Instant | None = None
    """When it came into the graph; None until it is written."""
    observed_at: Instant = NEVER
    digest: str = ""
    deleted_at: Instant | None = None
    ended: bool = False
    """Whether ended links of it are stored."""
    spoken_for: bool = False
    """Whether anybody ever said that it is: by a version, an order, an event, a link or a match."""
    claimed: bool = False
    """Whether it is a customer's order, and so no record."""
    links: dict[LinkKey, LinkState] = field(default_factory=dict)

    @property
    def stored(self) -> bool:
        """Whether its node is in the graph."""
        return self.created_at is not None

    @property
    def bears_witness(self) -> bool:
        """Whether what is stored of it shows that somebody spoke for it, be its membership there or lost.

        In a component is only who was spoken for, and a link is only seen where somebody said so.
        """
        said = self.identity is not None or self.component is not None or self.observed_at != NEVER
        return said or any(link.observations for link in self.links.values())

    @property
    def live(self) -> bool:
        """Whether it is a record that belongs to somebody."""
        return self.spoken_for and not self.claimed and (self.deleted_at is None or self.observed_at > self.deleted_at)

    def holds(self, link: LinkState) -> bool:
        """Whether one of its links holds: the latest word for it is later than every word against it."""
        said_at = max(link.sighted_at, link.ordered_at)
        if link.stated_by == self.digest and self.observed_at > said_at:
            said_at = self.observed_at
        return said_at > link.withdrawn_at and (self.deleted_at is None or said_at > self.deleted_at) and self.live

    def standing(self) -> Iterator[tuple[LinkKey, LinkState]]:
        """Its links that hold."""
        return ((key, link) for key, link in self.links.items() if self.holds(link))


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
    """An order: which version it is, whose, and what it says of them."""

    observed_at: Instant = NEVER
    digest: str = ""
    customer: RecordName | None = None
    """None for a guest order."""
    deleted_at: Instant | None = None
    placed_by: RecordName | None = None
    """The customer it hangs on in the graph."""
    stored: bool = False
    placed_at: Instant = NEVER
    said: frozenset[LinkKey] = frozenset()
    """What it says of its customer."""

    @property
    def deleted(self) -> bool:
        """Whether it is gone: no version of it is later than its deletion."""
        return self.deleted_at is not None and self.observed_at <= self.deleted_at

    @property
    def owner(self) -> RecordName | None:
        """The customer it is to hang on; None for a guest order and a deleted one."""
        return None if self.deleted else self.customer

    @property
    def given(self) -> frozenset[Given]:
        """The links that its customer has by it; none of a guest order and a deleted one."""
        owner = self.owner
        return frozenset() if owner is None else frozenset((owner, key) for key in self.said)


@dataclass(slots=True)
class Touched:
    """What a batch of items names: the keys to look up and lock."""

    records: set[RecordName] = field(default_factory=set)
    orders: set[str] = field(default_factory=set)
    events: set[str] = field(default_factory=set)
    identifiers: set[IdentifierKey] = field(default_factory=set)

    @classmethod
    def by(cls, items: Iterable[Item | OwnItem]) -> Touched:
        """What these items name."""
        touched = cls()
        for item in items:
            touched._add(item)
        return touched

    def _add(self, item: Item | OwnItem) -> None:
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
            case OperatorMatch() | OperatorBan() | BanExpiry():
                self.records.update((item.a, item.b))
            case Withdrawal():
                self.records.add(item.customer)
                self.identifiers.add(item.identifier)
            case Deletion():
                label, key = split_name(item.record)
                self.records.add(item.record)
                if label == "order":
                    self.orders.add(key)
            case Recheck():
                self.records.update(item.records)
                self.identifiers.update(item.recount)


@dataclass(slots=True)
class Evidence:
    """Stored evidence of some whole components, and what items add to it."""

    records: dict[RecordName, RecordState] = field(default_factory=dict)
    identifiers: dict[IdentifierKey, IdentifierState] = field(default_factory=dict)
    matches: dict[tuple[RecordName, RecordName], Instant] = field(default_factory=dict)
    bans: dict[tuple[RecordName, RecordName], Ban] = field(default_factory=dict)
    lapsed: set[tuple[RecordName, RecordName]] = field(default_factory=set)
    """Those of the bans whose time is over."""
    orders: dict[str, OrderState] = field(default_factory=dict)
    let_go: set[Given] = field(default_factory=set)
    """Links that the last order to say so may say no longer: :meth:`hand_over` tells which order is the last now."""
    events: set[str] = field(default_factory=set)
    recounted: set[IdentifierKey] = field(default_factory=set)
    """Shared identifiers whose every record is here, so that it can be told whether they still are."""

    noted: dict[tuple[RecordName, LinkKey], LinkState] = field(default_factory=dict)
    """The links of which anything new was said."""
    recount: set[IdentifierKey] = field(default_factory=set)
    """Identifiers that somebody wants counted anew."""
    told: dict[str, tuple[str, str]] = field(default_factory=dict)
    """As in :class:`onefold.graph.model.Recheck`."""
    changed: dict[RecordName, RecordState] = field(default_factory=dict)
    """Records that are new, or whose deletion or standing changed."""
    _turned: list[tuple[RecordName, LinkKey, LinkState]] | None = None
    new_matches: list[OperatorMatch] = field(default_factory=list)
    new_bans: list[OperatorBan] = field(default_factory=list)
    expired: list[BanExpiry] = field(default_factory=list)
    new_events: list[Event] = field(default_factory=list)
    customers: dict[RecordName, Customer] = field(default_factory=dict)
    """Customers whose traits are to be written."""
    placed: dict[str, Order] = field(default_factory=dict)
    """Orders to be written, by key."""
    superseded: set[RecordName] = field(default_factory=set)
    """Customers and orders whose stored version gives way to another one."""
    refunds: dict[str, dict[str, tuple[Instant, Refund]]] = field(default_factory=dict)
    """Refunds to be written, by order key and refund id, with the version of the order that says so; the latest
    version of each wins, and those that a version leaves out stay."""

    def add(self, item: Item | OwnItem) -> bool:
        """Fold one item in; True if it says anything that was not known.

        Raises InvalidInput, leaving everything as it was, if the item contradicts what is stored.
        """
        self._turned = None
        match item:
            case Customer():
                return self._add_customer(item)
            case Order():
                return self._add_order(item)
            case Event():
                return self._add_event(item)
            case IdentifierLink():
                return self._sight(self._spoken_for(item.customer), item.assertion, item.source, item.at)
            case OperatorMatch():
                return self._add_match(item)
            case OperatorBan():
                return self._add_ban(item)
            case Withdrawal():
                return self._add_withdrawal(item)
            case Deletion():
                return self._add_deletion(item)
            case BanExpiry():
                return self._add_expiry(item)
            case Recheck():
                self.recount |= item.recount
                self.told |= item.told
                return False

    def belonged(self, member: str) -> str:
        """The identity that a record or an identifier was of before these items, by the log where the graph is known
        to differ from it; empty for none."""
        state = self.records.get(member) or self.identifiers[member]
        stored = state.identity or ""
        found, told = self.told.get(member, ("", ""))
        return told if told and found == stored else stored

    def hand_over(self, left: Mapping[Given, Instant] | None = None) -> None:
        """Have the links that orders let go of held by the orders that are left: those here, and ``left``, which tells
        when the last of all others that say so was placed. Comes after all items and before all questions."""
        last = dict(left or {})
        for order in self.orders.values():
            for given in order.given & self.let_go:
                last[given] = max(order.placed_at, last.get(given, NEVER))
        for name, key in self.let_go:
            record = self.records[name]
            link = record.links[key]
            link.ordered_at = last.get((name, key), NEVER)
            self._note(record, key, link)
        self.let_go.clear()
        self._turned = None

    def end_bans(self, now: Instant) -> None:
        """Say of the new bans whose time is over by ``now`` that it is: who tells the past over again parts nobody."""
        for item in self.new_bans:
            ban = self.bans[_pair(item.a, item.b)]
            if ban.expires_at is not None and ban.expires_at <= now:
                self._add_expiry(BanExpiry(ban.a, ban.b, ban.at))

    def edges(self) -> Edges:
        """All of it that holds, as rows for :func:`onefold.graph.resolve.resolve`."""
        live = {name: record for name, record in self.records.items() if record.live}
        return Edges(
            links=[
                Link(name, identifier, source, assurance, link.first_seen)
                for name, record in live.items()
                for (identifier, source, assurance), link in record.standing()
            ],
            matches=[Match(a, b, at) for (a, b), at in self.matches.items() if a in live and b in live],
            records=live.keys(),
            shared=[
                key for key, identifier in self.identifiers.items() if identifier.shared and key not in self.recounted
            ],
        )

    def standing_bans(self) -> list[Ban]:
        """The bans that hold. One holds until the service has said that its time is over, and not until some clock has
        passed its end: replicas whose clocks differ then still agree."""
        return [ban._replace(expires_at=None) for pair, ban in self.bans.items() if pair not in self.lapsed]

    def has_lapsed(self, expiry: BanExpiry) -> bool:
        """Whether the ban on these two is over, with all that was said since its end."""
        return _pair(expiry.a, expiry.b) in self.lapsed

    def turned(self) -> list[tuple[RecordName, LinkKey, LinkState]]:
        """The links that have begun to hold with these items, or hold no longer; those that did are ``stored``."""
        if self._turned is None:
            self._turned = [
                (name, key, link)
                for (name, key), link in self.noted.items()
                if bool(link.stored) != self.records[name].holds(link)
            ]
        return self._turned

    def suspects(self) -> set[IdentifierKey]:
        """Shared identifiers that may be shared no longer: a link of theirs has ended, or a guest order at them has
        become more like another one."""
        suspects = {key for key in self.recount if self.identifiers[key].shared}
        for name, (identifier, _, _), link in self.turned():
            if link.stored and self.identifiers[identifier].shared:
                suspects.add(identifier)
            record = self.records[name]
            if name.startswith("order:") and record.stored:
                suspects.update(v for v, _, _ in record.links if self.identifiers[v].shared)
        return suspects - self.recounted

    # -- what records say ------------------------------------------------------------------------------------------

    def _add_customer(self, item: Customer) -> bool:
        record = self._spoken_for(item.name)
        digest = _customer_digest(item)
        if (item.observed_at, digest) <= (record.observed_at, record.digest):
            return self._state(record, item.assertions, item.source, item.observed_at, digest)
        changed = digest != record.digest
        if changed and record.digest:
            self.superseded.add(item.name)
        self._replace(record, item.observed_at, digest)
        self.customers[item.name] = item
        return self._state(record, item.assertions, item.source, item.observed_at, digest) or changed

    def _add_order(self, item: Order) -> bool:
        digest = _order_digest(item)
        order = self.orders.setdefault(item.key, OrderState())
        if item.refunds and order.digest != digest:
            self._add_refunds(item)
        latest = (item.observed_at, digest) > (order.observed_at, order.digest)
        gave, placed_at = order.given, order.placed_at
        changed = latest and digest != order.digest
        if latest:
            if order.stored and (changed or order.deleted):
                self.superseded.add(item.name)
            order.observed_at, order.digest, order.customer = item.observed_at, digest, item.customer
            order.placed_at = item.placed_at
            order.said = frozenset((a.identifier, item.source, a.assurance.value) for a in item.assertions)
            self.placed[item.key] = item
            if (guest := self.records.get(item.name)) is not None:
                self._claim(guest, order)
        record = self._spoken_for(item.customer or item.name)
        if item.customer is None:
            self._claim(record, order)
            if latest:
                self._replace(record, item.observed_at, digest)
        new = self._state(record, item.assertions, item.source, item.placed_at, digest)
        if latest:
            self._let_go(gave if order.placed_at < placed_at else gave - order.given, placed_at)
            for _, key in order.given:
                link = record.links[key]
                if item.placed_at > link.ordered_at:
                    link.ordered_at = item.placed_at
                    self._note(record, key, link)
        return new or changed

    def _let_go(self, given: Iterable[Given], placed_at: Instant) -> None:
        """Note the links of which an order placed then may have been the last to say so."""
        for name, key in given:
            # One of a kind that the policy has dropped may have ended unread.
            link = self.records[name].links.get(key)
            if link is not None and link.ordered_at <= placed_at:
                self.let_go.add((name, key))

    def _claim(self, guest: RecordState, order: OrderState) -> None:
        """Note whether the order is a customer's: then it is a record of its own no longer."""
        claimed = order.customer is not None
        if guest.claimed != claimed:
            guest.claimed = claimed
            self._reconsider(guest)

    def _add_refunds(self, item: Order) -> None:
        refunds = self.refunds.setdefault(item.key, {})
        for refund in item.refunds:
            known = refunds.get(refund.refund_id)
            if known is None or (item.observed_at, _hex(refund)) > (known[0], _hex(known[1])):
                refunds[refund.refund_id] = (item.observed_at, refund)

    def _add_event(self, item: Event) -> bool:
        new = False
        if item.customer is not None:
            record = self._spoken_for(item.customer)
            if item.device is not None:
                new = self._sight(record, Assertion(item.device, item.assurance), item.source, item.at)
        elif item.device is not None:
            device = self._identifier(item.device)
            if not device.has_events:
                device.has_events = device.events_dirty = True
        if item.key in self.events:
            return new
        self.events.add(item.key)
        self.new_events.append(item)
        return True

    def _add_withdrawal(self, item: Withdrawal) -> bool:
        record = self._record(item.customer)
        # Sights that are older may come later, of whatever assurance: they find the withdrawal under none.
        taken_back = self._link(record, item.identifier, item.source, "")
        if item.at <= taken_back.withdrawn_at:
            return False
        for key, link in record.links.items():
            if key[:2] == (item.identifier, item.source):
                link.withdrawn_at = item.at
                self._note(record, key, link)
        return True

    def _add_deletion(self, item: Deletion) -> bool:
        record = self._record(item.record)
        if record.deleted_at is not None and item.at <= record.deleted_at:
            return False
        label, key = split_name(item.record)
        if label == "order":
            order = self.orders.setdefault(key, OrderState())
            gave = order.given
            order.deleted_at = item.at
            self._let_go(gave - order.given, order.placed_at)
            if order.placed_by is not None:
                self.superseded.add(item.record)
        record.deleted_at = item.at
        self.changed[item.record] = record
        self._reconsider(record)
        return True

    # -- what operators say ----------------------------------------------------------------------------------------

    def _add_match(self, item: OperatorMatch) -> bool:
        self._known("match", item.a, item.b)
        pair = _pair(item.a, item.b)
        if item.at >= self.matches.get(pair, item.at + 1):
            return False
        self.matches[pair] = item.at
        self.new_matches.append(item)
        return True

    def _add_ban(self, item: OperatorBan) -> bool:
        self._known("ban", item.a, item.b)
        pair = _pair(item.a, item.b)
        stored = self.bans.get(pair)
        ban = Ban(*pair, item.at, item.expires_at)
        if stored is not None and _latest(ban) <= _latest(stored):
            return False
        self.bans[pair] = ban
        self.lapsed.discard(pair)
        self.new_bans.append(item)
        return True

    def _add_expiry(self, item: BanExpiry) -> bool:
        pair = _pair(item.a, item.b)
        ban = self.bans.get(pair)
        if ban is None or ban.at != item.said_at or ban.expires_at is None or pair in self.lapsed:
            return False
        self.lapsed.add(pair)
        self.expired.append(item)
        return True

    def _known(self, what: str, *names: RecordName) -> None:
        unknown = [
            Violation(f"{what}.{end}", f"must name a known record; {name} is not known")
            for end, name in zip("ab", names, strict=True)
            if name not in self.records
        ]
        if unknown:
            raise InvalidInput(unknown)

    # -- records, identifiers, links -------------------------------------------------------------------------------

    def _record(self, name: RecordName) -> RecordState:
        record = self.records.get(name)
        if record is None:
            record = self.records[name] = RecordState(name)
            self.changed[name] = record
        return record

    def _spoken_for(self, name: RecordName) -> RecordState:
        record = self._record(name)
        if not record.spoken_for:
            record.spoken_for = True
            self.changed[name] = record
        return record

    def _identifier(self, key: IdentifierKey) -> IdentifierState:
        identifier = self.identifiers.get(key)
        if identifier is None:
            identifier = self.identifiers[key] = IdentifierState(key)
        return identifier

    def _link(self, record: RecordState, identifier: IdentifierKey, source: str, assurance: str) -> LinkState:
        key = (identifier, source, assurance)
        link = record.links.get(key)
        if link is None:
            self._identifier(identifier)
            taken_back = record.links.get((identifier, source, ""))
            link = record.links[key] = LinkState()
            if taken_back is not None:
                link.withdrawn_at = taken_back.withdrawn_at
        return link

    def _sight(self, record: RecordState, assertion: Assertion, source: str, at: Instant) -> bool:
        """Note that something other than a version says so; True if that is new."""
        key = (assertion.identifier, source, assertion.assurance.value)
        link = self._link(record, *key)
        new = link.see(at)
        if at > link.sighted_at:
            link.sighted_at, new = at, True
        if new:
            self._note(record, key, link)
        return new

    def _state(
        self, record: RecordState, assertions: Iterable[Assertion], source: str, at: Instant, digest: str
    ) -> bool:
        """Note what a version of the record, or of an order of its, says; True if any of it is new."""
        anything, latest = False, digest == record.digest
        for assertion in assertions:
            key = (assertion.identifier, source, assertion.assurance.value)
            link = self._link(record, *key)
            new = link.see(at)
            if (latest and link.stated_by != digest) or link.stated_by is None:
                link.stated_by, new = digest, True
            if new:
                self._note(record, key, link)
            anything |= new
        return anything

    def _replace(self, record: RecordState, observed_at: Instant, digest: str) -> None:
        """Make way for the latest version: what earlier ones said is said no longer."""
        record.observed_at, record.digest = observed_at, digest
        if record.deleted_at is not None:
            self.changed[record.name] = record
        if record.links:
            self._reconsider(record)

    def _note(self, record: RecordState, key: LinkKey, link: LinkState) -> None:
        link.dirty = True
        self.noted[record.name, key] = link

    def _reconsider(self, record: RecordState) -> None:
        """Note all of a record's links: whether they hold may have changed with the record."""
        self.noted.update(((record.name, key), link) for key, link in record.links.items())


def _pair(a: RecordName, b: RecordName) -> tuple[RecordName, RecordName]:
    return (a, b) if a < b else (b, a)


def _latest(ban: Ban) -> tuple[Instant, float]:
    """Of two words on one pair the later one counts; of two at one instant, the one that holds longer."""
    return ban.at, float("inf") if ban.expires_at is None else ban.expires_at


def _customer_digest(item: Customer) -> str:
    """Sixteen hexadecimal digits that differ when what a version says does."""
    return _hex([_said(item.assertions), _sorted(item.traits), _sorted(item.properties)])


def _order_digest(item: Order) -> str:
    return _hex(
        [
            (item.placed_at, item.utc_offset_minutes, item.currency, item.total, item.status, item.channel),
            (item.customer, _said(item.assertions)),
            (item.payment_method, item.coupons, item.lines, item.refunds),
            _sorted(item.properties),
        ]
    )


def _said(assertions: Iterable[Assertion]) -> list[tuple[str, str]]:
    return sorted((a.identifier, a.assurance.value) for a in assertions)


def _sorted(named: Mapping[str, PropertyValue]) -> list[tuple[str, PropertyValue]]:
    return sorted(named.items())


def _hex(content: object) -> str:
    return blake2b(repr(content).encode(), digest_size=8).hexdigest()
