"""Items both ways: what sources say, and the orders and events that are shown again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import date
from typing import Any, Final

from onefold.graph.errors import InvalidInput, Violation
from onefold.graph.model import (
    TRAITS,
    Assertion,
    Assurance,
    Customer,
    Deletion,
    Event,
    IdentifierKey,
    IdentifierLink,
    Item,
    OperatorBan,
    OperatorMatch,
    Order,
    OrderLine,
    PropertyValue,
    RecordName,
    Refund,
    Withdrawal,
    customer_name,
    order_name,
    split_name,
)
from onefold.graph.normalize import identifier as normalize
from onefold.graph.policy import Policy
from onefold.service.convert.values import (
    money_to_proto,
    parse_date,
    parse_money,
    parse_properties,
    parse_timestamp,
    properties_to_proto,
    timestamp_to_proto,
)
from onefold.v1 import record_pb2

_ASSURANCES: Final = {
    record_pb2.ASSURANCE_VERIFIED: Assurance.VERIFIED,
    record_pb2.ASSURANCE_DECLARED: Assurance.DECLARED,
    record_pb2.ASSURANCE_OBSERVED: Assurance.OBSERVED,
}


# -- items in ----------------------------------------------------------------------------------------------------------


def parse_item(message: record_pb2.Item, policy: Policy) -> Item:
    """The item, its identifiers normalised."""
    kind = message.WhichOneof("item")
    return _PARSERS[str(kind)](getattr(message, str(kind)), policy)


def parse_identifier(message: record_pb2.Identifier, region: str, policy: Policy, path: str) -> IdentifierKey:
    """The identifier's key. ``region`` serves phone numbers whose identifier names none."""
    try:
        return normalize(message.kind, message.value, region=message.region or region or None, policy=policy)
    except InvalidInput as err:
        raise InvalidInput([Violation(f"{path}.{v.field}", v.rule) for v in err.violations]) from err


def _parse_customer(message: record_pb2.Customer, policy: Policy) -> Customer:
    return Customer(
        source=message.key.source,
        source_id=message.key.source_id,
        observed_at=parse_timestamp(message.observe_time),
        assertions=_parse_assertions(message.identifiers, message.region, policy, "customer"),
        traits=_parse_traits(message.traits),
        properties=parse_properties(message.properties),
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
                traits[name] = parse_date(getattr(message, name))
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
    assertions = _parse_assertions(message.identifiers, message.region, policy, "order")
    if not message.HasField("customer") and all(policy.is_blocked(a.identifier) for a in assertions):
        # Only its identifiers lead to a guest order.
        raise InvalidInput([Violation("order.identifiers", "must have a value that identifies somebody")])
    return Order(
        source=message.key.source,
        order_id=message.key.order_id,
        placed_at=placed_at,
        currency=message.currency_code,
        total=total,
        status=record_pb2.OrderStatus.Name(message.status).removeprefix("ORDER_STATUS_").lower(),
        observed_at=parse_timestamp(message.observe_time) if message.HasField("observe_time") else placed_at,
        customer=parse_customer_key(message.customer) if message.HasField("customer") else None,
        assertions=assertions,
        lines=lines,
        refunds=tuple(map(_parse_refund, message.refunds)),
        channel=message.channel,
        payment_method=message.payment_method,
        coupons=tuple(message.coupons),
        properties=parse_properties(message.properties),
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
        if not message.HasField("customer") and policy.is_blocked(device):
            # Nothing else leads to the event.
            raise InvalidInput([Violation("event.device.value", "is a value that identifies nobody")])
    return Event(
        source=message.source,
        event_id=message.event_id,
        type=message.type,
        at=parse_timestamp(message.event_time),
        customer=parse_customer_key(message.customer) if message.HasField("customer") else None,
        device=device,
        assurance=_ASSURANCES.get(message.device.assurance, Assurance.OBSERVED),
        channel=message.channel,
        properties=parse_properties(message.properties),
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


def _parse_withdrawal(message: record_pb2.Withdrawal, policy: Policy) -> Withdrawal:
    return Withdrawal(
        source=message.source,
        customer=parse_customer_key(message.customer),
        identifier=parse_identifier(message.identifier, "", policy, "withdrawal.identifier"),
        at=parse_timestamp(message.withdraw_time),
    )


def _parse_deletion(message: record_pb2.Deletion, _policy: Policy) -> Deletion:
    return Deletion(record=parse_record_key(message.record), at=parse_timestamp(message.delete_time))


_PARSERS: Final[Mapping[str, Callable[[Any, Policy], Item]]] = {
    "customer": _parse_customer,
    "order": _parse_order,
    "event": _parse_event,
    "link": _parse_link,
    "match": _parse_match,
    "ban": _parse_ban,
    "withdrawal": _parse_withdrawal,
    "deletion": _parse_deletion,
}


# -- names -------------------------------------------------------------------------------------------------------------


def parse_customer_key(message: record_pb2.CustomerKey) -> RecordName:
    """The customer record's name."""
    return customer_name(message.source, message.source_id)


def customer_key_to_proto(name: RecordName) -> record_pb2.CustomerKey:
    """A customer record's name as its key."""
    source, _, its_id = split_name(name)[1].partition(":")
    return record_pb2.CustomerKey(source=source, source_id=its_id)


def parse_order_key(message: record_pb2.OrderKey) -> RecordName:
    """The order's name."""
    return order_name(message.source, message.order_id)


def order_key_to_proto(name: RecordName) -> record_pb2.OrderKey:
    """An order's name as its key."""
    source, _, its_id = split_name(name)[1].partition(":")
    return record_pb2.OrderKey(source=source, order_id=its_id)


def parse_record_key(message: record_pb2.RecordKey) -> RecordName:
    """The record's name."""
    if message.HasField("customer"):
        return parse_customer_key(message.customer)
    return parse_order_key(message.order)


def record_to_proto(name: RecordName) -> record_pb2.RecordKey:
    """A record's name as its key."""
    if split_name(name)[0] == "customer":
        return record_pb2.RecordKey(customer=customer_key_to_proto(name))
    return record_pb2.RecordKey(order=order_key_to_proto(name))


# -- items out ---------------------------------------------------------------------------------------------------------


def order_to_proto(order: Order) -> record_pb2.Order:
    """The order as a source could have sent it; parsing it gives the same order."""
    return record_pb2.Order(
        key=order_key_to_proto(order.name),
        customer=None if order.customer is None else customer_key_to_proto(order.customer),
        identifiers=[assertion_to_proto(a.identifier, a.assurance) for a in order.assertions],
        place_time=timestamp_to_proto(order.placed_at),
        utc_offset_minutes=order.utc_offset_minutes,
        status=record_pb2.OrderStatus.Value(f"ORDER_STATUS_{order.status.upper()}"),
        currency_code=order.currency,
        lines=[_line_to_proto(line, order.currency) for line in order.lines],
        total=money_to_proto(order.total, order.currency),
        channel=order.channel,
        payment_method=order.payment_method,
        coupons=order.coupons,
        refunds=[_refund_to_proto(refund, order.currency) for refund in order.refunds],
        properties=properties_to_proto(order.properties),
        observe_time=timestamp_to_proto(order.observed_at),
    )


def event_to_proto(event: Event) -> record_pb2.Event:
    """The event as a source could have sent it; parsing it gives the same event.

    The graph keeps the device's assurance with the link between customer and device, and not with each event: an
    event that was read from it is shown as observed, whatever its source said.
    """
    return record_pb2.Event(
        source=event.source,
        event_id=event.event_id,
        type=event.type,
        event_time=timestamp_to_proto(event.at),
        utc_offset_minutes=event.utc_offset_minutes,
        customer=None if event.customer is None else customer_key_to_proto(event.customer),
        device=None if event.device is None else assertion_to_proto(event.device, event.assurance),
        channel=event.channel,
        properties=properties_to_proto(event.properties),
    )


def assertion_to_proto(key: IdentifierKey, assurance: Assurance) -> record_pb2.Identifier:
    """An identifier, in its normal form, as a source could give it."""
    kind, _, value = key.partition(":")
    return record_pb2.Identifier(
        kind=kind, value=value, assurance=record_pb2.Assurance.Value(f"ASSURANCE_{assurance.upper()}")
    )


def _line_to_proto(line: OrderLine, currency: str) -> record_pb2.OrderLine:
    return record_pb2.OrderLine(
        sku=line.sku,
        name=line.name,
        category=line.category,
        quantity=line.quantity,
        unit_price=money_to_proto(line.unit_price, currency),
    )


def _refund_to_proto(refund: Refund, currency: str) -> record_pb2.Refund:
    return record_pb2.Refund(
        refund_id=refund.refund_id,
        refund_time=timestamp_to_proto(refund.at),
        amount=money_to_proto(refund.amount, currency),
        sku=refund.sku,
        quantity=refund.quantity,
        reason=refund.reason,
    )
