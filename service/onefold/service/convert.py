"""Protobuf to domain values and back: the only module that knows both.

Pairs are symmetric: ``parse_x`` takes a message that already obeys the contract and gives a domain value, or raises
:class:`InvalidInput` with paths that begin at the message; ``x_to_proto`` gives the message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import date
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date
from google.type.money_pb2 import Money

from onefold.graph.errors import InvalidInput, Violation
from onefold.graph.ingest import Outcome, Refused
from onefold.graph.model import (
    TRAITS,
    Assertion,
    Assurance,
    Customer,
    Event,
    IdentifierKey,
    IdentifierLink,
    Instant,
    Item,
    Micros,
    OperatorBan,
    OperatorMatch,
    Order,
    OrderLine,
    PropertyValue,
    RecordName,
    Refund,
    customer_name,
    split_name,
)
from onefold.graph.normalize import identifier as normalize
from onefold.graph.policy import Policy
from onefold.graph.resolve import PPM
from onefold.service.status import status_of
from onefold.v1 import identity_pb2, identity_service_pb2, record_pb2

_ASSURANCES: Final = {
    record_pb2.ASSURANCE_VERIFIED: Assurance.VERIFIED,
    record_pb2.ASSURANCE_DECLARED: Assurance.DECLARED,
    record_pb2.ASSURANCE_OBSERVED: Assurance.OBSERVED,
}


# -- scalars -----------------------------------------------------------------------------------------------------------


def parse_timestamp(message: Timestamp) -> Instant:
    """The instant, rounded down to the millisecond."""
    return message.seconds * 1000 + message.nanos // 1_000_000


def timestamp_to_proto(instant: Instant) -> Timestamp:
    """The instant as a Timestamp."""
    return Timestamp(seconds=instant // 1000, nanos=instant % 1000 * 1_000_000)


def parse_money(message: Money) -> Micros:
    """The amount in micros; the currency is the business of whoever holds it."""
    return message.units * 1_000_000 + message.nanos // 1000


def money_to_proto(micros: Micros, currency: str) -> Money:
    """The amount as Money; units and nanos have the same sign."""
    sign = -1 if micros < 0 else 1
    units, rest = divmod(abs(micros), 1_000_000)
    return Money(currency_code=currency, units=sign * units, nanos=sign * rest * 1000)


def date_to_proto(day: date) -> Date:
    """The day as a Date."""
    return Date(year=day.year, month=day.month, day=day.day)


def _parse_date(message: Date) -> date:
    return date(message.year, message.month, message.day)


def _parse_value(message: record_pb2.PropertyValue) -> PropertyValue:
    match message.WhichOneof("value"):
        case "date_value":
            return _parse_date(message.date_value)
        case "string_list_value":
            return tuple(message.string_list_value.values)
        case name:
            value: PropertyValue = getattr(message, str(name))
            return value


def value_to_proto(value: PropertyValue) -> record_pb2.PropertyValue:
    """A property's value, typed."""
    match value:
        case bool():
            return record_pb2.PropertyValue(bool_value=value)
        case int():
            return record_pb2.PropertyValue(int_value=value)
        case float():
            return record_pb2.PropertyValue(double_value=value)
        case str():
            return record_pb2.PropertyValue(string_value=value)
        case date():
            return record_pb2.PropertyValue(date_value=date_to_proto(value))
        case _:
            return record_pb2.PropertyValue(string_list_value=record_pb2.StringList(values=value))


def _parse_properties(messages: Mapping[str, record_pb2.PropertyValue]) -> dict[str, PropertyValue]:
    return {name: _parse_value(message) for name, message in messages.items()}


# -- items in ----------------------------------------------------------------------------------------------------------


def parse_item(message: record_pb2.Item, policy: Policy) -> Item:
    """The item, its identifiers normalised."""
    kind = message.WhichOneof("item")
    return _PARSERS[str(kind)](getattr(message, str(kind)), policy)


def parse_identifier(message: record_pb2.Identifier, region: str, policy: Policy, path: str) -> IdentifierKey:
    """The identifier's key. ``region`` serves phone numbers whose identifier names none."""
    try:
        return normalize(
            message.kind, message.value, region=message.region or region or None, policy=policy
        )
    except InvalidInput as err:
        raise InvalidInput([Violation(f"{path}.{v.field}", v.rule) for v in err.violations]) from err


def _parse_customer(message: record_pb2.Customer, policy: Policy) -> Customer:
    return Customer(
        source=message.key.source,
        source_id=message.key.source_id,
        observed_at=parse_timestamp(message.observe_time),
        assertions=_parse_assertions(message.identifiers, message.region, policy, "customer"),
        traits=_parse_traits(message.traits),
        properties=_parse_properties(message.properties),
        utc_offset_minutes=message.utc_offset_minutes,
    )


def _parse_assertions(
    messages: Iterable[record_pb2.Identifier], region: str, policy: Policy, path: str
) -> tuple[Assertion, ...]:
    assertions: dict[Assertion, None] = {}
    broken: list[Violation] = []
    for index, message in enumerate(messages):
        try:
            key = parse_identifier(message, region, policy, f"{path}.identifiers[{index}]")
        except InvalidInput as err:
            broken += err.violations
        else:
            assertions[Assertion(key, _ASSURANCES.get(message.assurance, Assurance.DECLARED))] = None
    if broken:
        raise InvalidInput(broken)
    return tuple(assertions)


def _parse_traits(message: record_pb2.Traits) -> dict[str, PropertyValue]:
    traits: dict[str, PropertyValue] = {}
    for name, kind in TRAITS.items():
        if kind is date:
            if message.HasField(name):  # type: ignore[arg-type]
                traits[name] = _parse_date(getattr(message, name))
        elif kind is int:
            if message.HasField(name):  # type: ignore[arg-type]
                traits[name] = getattr(message, name)
        elif value := getattr(message, name):
            traits[name] = value
    return traits


def _parse_order(message: record_pb2.Order, policy: Policy) -> Order:
    lines = tuple(
        OrderLine(line.sku, line.quantity, parse_money(line.unit_price), line.name, line.category)
        for line in message.lines
    )
    placed_at = parse_timestamp(message.place_time)
    total = (
        parse_money(message.total)
        if message.HasField("total")
        else sum(line.quantity * line.unit_price for line in lines)
    )
    if total >= 1 << 63:
        raise InvalidInput([Violation("order.lines", "must not add up to more than 9,223,372,036,854")])
    return Order(
        source=message.key.source,
        order_id=message.key.order_id,
        placed_at=placed_at,
        currency=message.currency_code,
        total=total,
        status=record_pb2.OrderStatus.Name(message.status).removeprefix("ORDER_STATUS_").lower(),
        observed_at=parse_timestamp(message.observe_time) if message.HasField("observe_time") else placed_at,
        customer=parse_customer_key(message.customer) if message.HasField("customer") else None,
        assertions=_parse_assertions(message.identifiers, message.region, policy, "order"),
        lines=lines,
        refunds=tuple(map(_parse_refund, message.refunds)),
        channel=message.channel,
        payment_method=message.payment_method,
        coupons=tuple(message.coupons),
        properties=_parse_properties(message.properties),
        utc_offset_minutes=message.utc_offset_minutes,
    )


def _parse_refund(message: record_pb2.Refund) -> Refund:
    return Refund(
        refund_id=message.refund_id,
        at=parse_timestamp(message.refund_time),
        amount=parse_money(message.amount),
        sku=message.sku,
        quantity=message.quantity,
        reason=message.reason,
    )


def _parse_event(message: record_pb2.Event, policy: Policy) -> Event:
    device = None
    if message.HasField("device"):
        device = parse_identifier(message.device, "", policy, "event.device")
        if policy.kind(message.device.kind).label != "Device":
            devices = ", ".join(kind for kind, rule in policy.kinds.items() if rule.label == "Device")
            raise InvalidInput([Violation("event.device.kind", f"must be a kind of device: {devices}")])
    return Event(
        source=message.source,
        event_id=message.event_id,
        type=message.type,
        at=parse_timestamp(message.event_time),
        customer=parse_customer_key(message.customer) if message.HasField("customer") else None,
        device=device,
        assurance=_ASSURANCES.get(message.device.assurance, Assurance.OBSERVED),
        channel=message.channel,
        properties=_parse_properties(message.properties),
        utc_offset_minutes=message.utc_offset_minutes,
    )


def _parse_link(message: record_pb2.IdentifierLink, policy: Policy) -> IdentifierLink:
    key = parse_identifier(message.identifier, "", policy, "link.identifier")
    assurance = _ASSURANCES.get(message.identifier.assurance, Assurance.DECLARED)
    return IdentifierLink(
        source=message.source,
        customer=parse_customer_key(message.customer),
        assertion=Assertion(key, assurance),
        at=parse_timestamp(message.observe_time),
    )


def _parse_match(message: record_pb2.OperatorMatch, _policy: Policy) -> OperatorMatch:
    return OperatorMatch(
        a=parse_customer_key(message.a),
        b=parse_customer_key(message.b),
        actor=message.actor,
        reason=message.reason,
        at=parse_timestamp(message.create_time),
    )


def _parse_ban(message: record_pb2.OperatorBan, _policy: Policy) -> OperatorBan:
    return OperatorBan(
        a=parse_customer_key(message.a),
        b=parse_customer_key(message.b),
        actor=message.actor,
        reason=message.reason,
        at=parse_timestamp(message.create_time),
        expires_at=parse_timestamp(message.expire_time) if message.HasField("expire_time") else None,
    )


_PARSERS: Final[Mapping[str, Callable[[Any, Policy], Item]]] = {
    "customer": _parse_customer,
    "order": _parse_order,
    "event": _parse_event,
    "link": _parse_link,
    "match": _parse_match,
    "ban": _parse_ban,
}


# -- names -------------------------------------------------------------------------------------------------------------


def parse_customer_key(message: record_pb2.CustomerKey) -> RecordName:
    """The record's name."""
    return customer_name(message.source, message.source_id)


def record_to_proto(name: RecordName) -> record_pb2.RecordKey:
    """A record's name as its key."""
    label, key = split_name(name)
    source, _, its_id = key.partition(":")
    if label == "customer":
        return record_pb2.RecordKey(customer=record_pb2.CustomerKey(source=source, source_id=its_id))
    return record_pb2.RecordKey(order=record_pb2.OrderKey(source=source, order_id=its_id))


# -- outcomes out ------------------------------------------------------------------------------------------------------


def outcome_to_proto(index: int, outcome: Outcome) -> identity_service_pb2.ItemResult:
    """What became of an item; its violations' paths begin at the request."""
    if outcome.violations:
        violations = [Violation(f"items[{index}].{v.field}", v.rule) for v in outcome.violations]
        return refused_to_proto(index, InvalidInput(violations))
    return identity_service_pb2.ItemResult(
        index=index,
        changed=outcome.changed,
        identity_before=outcome.identity_before,
        identity=outcome.identity,
        refusals=[refusal_to_proto(refused) for refused in outcome.refused],
    )


def refused_to_proto(index: int, error: InvalidInput) -> identity_service_pb2.ItemResult:
    """An item that was not accepted, and why."""
    return identity_service_pb2.ItemResult(index=index, status=status_of(error))


def refusal_to_proto(refused: Refused) -> identity_pb2.Refusal:
    """A join that the policy refused."""
    refusal = refused.refusal
    message = identity_pb2.Refusal(
        reason=identity_pb2.RefusalReason.Value(f"REFUSAL_REASON_{refusal.reason.value}"),
        kind=refusal.kind,
        limit=refusal.limit,
        record=refusal.record,
        confidence=refusal.confidence / PPM,
        identity=refused.identity,
        other_identity=refused.other_identity,
    )
    if refusal.identifier is not None:
        message.identifier = refusal.identifier
    else:
        message.other_record = refusal.owner
    return message
