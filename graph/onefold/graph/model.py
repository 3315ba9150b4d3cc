"""The domain's values: what sources say (items), and how things are named.

Everything here is plain, immutable and already normalised; doors (gRPC, files) parse into these values and
nothing behind a door sees anything else.

Names are strings of the form ``type:rest``, the same in Python, on the wire and in the graph:

* an identifier is ``kind:value``, e.g. ``email:ann@example.org`` — the ``key`` of its node;
* a record is ``customer:source:source_id`` or ``order:source:order_id`` — its node's ``key`` is what follows
  the first colon.

Sources and kinds hold no colon, so a name parses in one way only. Instants are whole milliseconds since
1970-01-01T00:00Z; amounts are whole millionths (micros) of a currency unit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Final

Instant = int
"""Milliseconds since the epoch, UTC."""

Micros = int
"""Millionths of one unit of a currency: 2.55 GBP is 2_550_000."""

RecordName = str
"""``customer:source:source_id`` or ``order:source:order_id``."""

IdentifierKey = str
"""``kind:value``, normalised."""

PropertyValue = str | int | float | bool | date | tuple[str, ...]
"""What a free property may hold."""


class Assurance(StrEnum):
    """How a source came to know an identifier; the policy gives each its own confidence."""

    VERIFIED = "verified"
    """The person proved control of it: a confirmed mail, a code by SMS, a log-in on the device."""
    DECLARED = "declared"
    """The person or a clerk typed it."""
    OBSERVED = "observed"
    """It was seen alongside: a shared terminal, a tracking cookie, an import without context."""


@dataclass(frozen=True, slots=True)
class Assertion:
    """One identifier that a source gives for a record."""

    identifier: IdentifierKey
    assurance: Assurance = Assurance.DECLARED


@dataclass(frozen=True, slots=True)
class Customer:
    """What one source system knows of one person."""

    source: str
    source_id: str
    observed_at: Instant
    """When the source knew this version of the record."""
    assertions: tuple[Assertion, ...] = ()
    traits: Mapping[str, PropertyValue] = field(default_factory=dict)
    """Typed common traits, by the names in :data:`TRAITS`."""
    properties: Mapping[str, PropertyValue] = field(default_factory=dict)
    """Free properties, by any name of letters, digits and underscores."""
    utc_offset_minutes: int = 0

    @property
    def name(self) -> RecordName:
        """The record's name."""
        return customer_name(self.source, self.source_id)


@dataclass(frozen=True, slots=True)
class OrderLine:
    """One product on an order."""

    sku: str
    quantity: int
    unit_price: Micros
    name: str = ""
    category: str = ""


@dataclass(frozen=True, slots=True)
class Refund:
    """Money given back on an order; the source's ``refund_id`` makes a repeat harmless."""

    refund_id: str
    at: Instant
    amount: Micros
    sku: str = ""
    quantity: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Order:
    """A purchase: of a known customer record, or a guest order that is a record itself."""

    source: str
    order_id: str
    placed_at: Instant
    currency: str
    total: Micros
    """What was charged, before refunds."""
    status: str
    observed_at: Instant
    """When the source knew this version of the order; the latest version wins."""
    customer: RecordName | None = None
    assertions: tuple[Assertion, ...] = ()
    lines: tuple[OrderLine, ...] = ()
    refunds: tuple[Refund, ...] = ()
    channel: str = ""
    payment_method: str = ""
    coupons: tuple[str, ...] = ()
    properties: Mapping[str, PropertyValue] = field(default_factory=dict)
    utc_offset_minutes: int = 0

    @property
    def key(self) -> str:
        """The order node's key."""
        return f"{self.source}:{self.order_id}"

    @property
    def name(self) -> RecordName:
        """The order's name as a record (used for resolution only when it is a guest order)."""
        return order_name(self.source, self.order_id)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened: a view, a cart, a search, a ticket. It hangs on a customer record if one is
    named, else on its device, and is the person's as soon as the device is."""

    source: str
    event_id: str
    type: str
    at: Instant
    customer: RecordName | None = None
    device: IdentifierKey | None = None
    """The device it happened on. With a customer, it is also evidence that this customer uses the device."""
    assurance: Assurance = Assurance.OBSERVED
    channel: str = ""
    properties: Mapping[str, PropertyValue] = field(default_factory=dict)
    utc_offset_minutes: int = 0

    @property
    def key(self) -> str:
        """The event node's key."""
        return f"{self.source}:{self.event_id}"


@dataclass(frozen=True, slots=True)
class IdentifierLink:
    """A source's word that a customer record has an identifier, apart from the record itself."""

    source: str
    customer: RecordName
    assertion: Assertion
    at: Instant


@dataclass(frozen=True, slots=True)
class OperatorMatch:
    """An operator's word that two customer records are one person."""

    a: RecordName
    b: RecordName
    actor: str
    reason: str
    at: Instant


@dataclass(frozen=True, slots=True)
class OperatorBan:
    """An operator's word that two customer records are never one person, until it expires."""

    a: RecordName
    b: RecordName
    actor: str
    reason: str
    at: Instant
    expires_at: Instant | None = None


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """A source's word that a customer record no longer has an identifier, however the source came to know it."""

    source: str
    customer: RecordName
    identifier: IdentifierKey
    at: Instant
    """What the source saw until then is taken back; what it sees later counts again."""


@dataclass(frozen=True, slots=True)
class Deletion:
    """A source's word that it deleted one of its records: a customer, or an order."""

    record: RecordName
    at: Instant
    """Versions of the record until then are gone; a later one brings it back."""


@dataclass(frozen=True, slots=True)
class BanExpiry:
    """The service's own word that a ban's time is over."""

    a: RecordName
    b: RecordName
    said_at: Instant
    """Which ban on these two: the one that an operator set then."""


@dataclass(frozen=True, slots=True)
class Recheck:
    """The service's own wish to have some records decided again, with all that hangs together with them."""

    records: frozenset[RecordName]
    recount: frozenset[IdentifierKey] = frozenset()
    """Identifiers to be counted anew: whether they are shared is not believed."""
    told: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Members that stand elsewhere than the log told: where they were found, and where they belong by the log."""


Item = Customer | Order | Event | IdentifierLink | OperatorMatch | OperatorBan | Withdrawal | Deletion
"""One thing a caller asks to be ingested."""

OwnItem = BanExpiry | Recheck
"""One thing the service asks of itself."""

TRAITS: Final[Mapping[str, type]] = {
    "full_name": str,
    "given_name": str,
    "family_name": str,
    "gender": str,
    "birth_date": date,
    "language": str,
    "country": str,
    "region": str,
    "city": str,
    "postal_code": str,
    "street_address": str,
    "company": str,
    "job_title": str,
    "loyalty_tier": str,
    "loyalty_points": int,
    "member_since": date,
}
"""The typed common traits, by name: the same word in the proto, here and as a node property."""

PROPERTY_PREFIX: Final = "x_"
"""Free properties are node properties with this prefix, so that none can shadow a trait or a key."""

ORDER_STATUSES: Final = ("pending", "paid", "shipped", "delivered", "cancelled", "returned")


def customer_name(source: str, source_id: str) -> RecordName:
    """The record name of a customer."""
    return f"customer:{source}:{source_id}"


def order_name(source: str, order_id: str) -> RecordName:
    """The record name of a (guest) order."""
    return f"order:{source}:{order_id}"


def split_name(name: RecordName) -> tuple[str, str]:
    """The record's label (``customer`` or ``order``) and its node key (``source:id``)."""
    label, _, key = name.partition(":")
    return label, key


def is_record(name: str) -> bool:
    """Whether a member of an identity is a record, and not an identifier."""
    return name.startswith(("customer:", "order:"))


def source_of(name: RecordName) -> str:
    """The source system a record belongs to."""
    return name.split(":", 2)[1]


def kind_of(identifier: IdentifierKey) -> str:
    """The identifier's kind: what stands before its first colon."""
    return identifier.partition(":")[0]


def to_instant(moment: datetime) -> Instant:
    """Milliseconds since the epoch, rounded down. A naive datetime is an error, not a guess."""
    if moment.tzinfo is None:
        raise ValueError("an instant needs a time zone")
    delta = moment - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1000 + delta.microseconds // 1000


def to_datetime(instant: Instant) -> datetime:
    """The instant as an aware UTC datetime."""
    return datetime.fromtimestamp(instant // 1000, UTC).replace(microsecond=instant % 1000 * 1000)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
