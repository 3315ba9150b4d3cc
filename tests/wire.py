"""Items of tests as a client sends them, each world in a space of its own: equal names of two worlds don't meet."""

from __future__ import annotations

from typing import TypeGuard

from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money

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
    Recheck,
    RecordName,
    Withdrawal,
)
from onefold.v1 import record_pb2 as pb


def is_sayable(item: Item | OwnItem) -> TypeGuard[Item]:
    """Whether a client may say so: the end of a ban is the service's own word, and something of a guest order must tell
    whose it is."""
    if isinstance(item, Order) and item.customer is None:
        return any(not assertion.identifier.endswith("n/a") for assertion in item.assertions)
    return not isinstance(item, BanExpiry | Recheck)


def item_to_proto(item: Item, space: int) -> pb.Item:
    """The item, under the names of the space."""
    match item:
        case Customer():
            customer = pb.Customer(
                key=_customer(item.name, space),
                identifiers=[_identifier(a, space) for a in item.assertions],
                traits=pb.Traits(full_name=item.traits.get("full_name", "")),
                observe_time=_time(item.observed_at),
                properties=_properties(item.name, space),
            )
            return pb.Item(customer=customer)
        case Order():
            order = pb.Order(
                key=pb.OrderKey(source=item.source, order_id=f"{space}-{item.order_id}"),
                customer=_customer(item.customer, space) if item.customer else None,
                identifiers=[_identifier(a, space) for a in item.assertions],
                place_time=_time(item.placed_at),
                observe_time=_time(item.observed_at),
                status=pb.ORDER_STATUS_PAID,
                currency_code=item.currency,
                total=Money(currency_code=item.currency, units=item.total // 1_000_000),
                properties=_properties(item.name, space),
            )
            return pb.Item(order=order)
        case Event():
            event = pb.Event(
                source=item.source,
                event_id=f"{space}-{item.event_id}",
                type=item.type,
                event_time=_time(item.at),
                customer=_customer(item.customer, space) if item.customer else None,
                device=_identifier(Assertion(item.device, item.assurance), space) if item.device else None,
                properties=_properties(item.key, space),
            )
            return pb.Item(event=event)
        case IdentifierLink():
            link = pb.IdentifierLink(
                source=item.source,
                customer=_customer(item.customer, space),
                identifier=_identifier(item.assertion, space),
                observe_time=_time(item.at),
            )
            return pb.Item(link=link)
        case Withdrawal():
            withdrawal = pb.Withdrawal(
                source=item.source,
                customer=_customer(item.customer, space),
                identifier=_identifier(Assertion(item.identifier), space),
                withdraw_time=_time(item.at),
            )
            return pb.Item(withdrawal=withdrawal)
        case Deletion():
            return pb.Item(deletion=pb.Deletion(record=_record(item.record, space), delete_time=_time(item.at)))
        case OperatorMatch() | OperatorBan():
            return _word(item, space)


def _properties(name: str, space: int) -> dict[str, pb.PropertyValue]:
    """A few of any kind: what holds them has another order of its own in each process."""
    return {
        "name": pb.PropertyValue(string_value=name),
        "space": pb.PropertyValue(int_value=space),
        "weight": pb.PropertyValue(double_value=space / 7),
        "loud": pb.PropertyValue(bool_value=space % 2 == 0),
        "sizes": pb.PropertyValue(string_list_value=pb.StringList(values=["s", "m"])),
    }


def _word(item: OperatorMatch | OperatorBan, space: int) -> pb.Item:
    word = {
        "a": _customer(item.a, space),
        "b": _customer(item.b, space),
        "actor": item.actor,
        "reason": item.reason,
        "create_time": _time(item.at),
    }
    if isinstance(item, OperatorMatch):
        return pb.Item(match=pb.OperatorMatch(**word))
    expire_time = None if item.expires_at is None else _time(item.expires_at)
    return pb.Item(ban=pb.OperatorBan(**word, expire_time=expire_time))


def _record(name: RecordName, space: int) -> pb.RecordKey:
    label, source, id = name.split(":", 2)
    if label == "customer":
        return pb.RecordKey(customer=_customer(name, space))
    return pb.RecordKey(order=pb.OrderKey(source=source, order_id=f"{space}-{id}"))


def _customer(name: RecordName, space: int) -> pb.CustomerKey:
    _, source, id = name.split(":", 2)
    return pb.CustomerKey(source=source, source_id=f"{space}-{id}")


def _identifier(assertion: Assertion, space: int) -> pb.Identifier:
    kind, value = _spaced(assertion.identifier, space)
    assurance = pb.Assurance.Value(f"ASSURANCE_{assertion.assurance.upper()}")
    return pb.Identifier(kind=kind, value=value, assurance=assurance)


def _spaced(identifier: IdentifierKey, space: int) -> tuple[str, str]:
    """A value that normalisation takes."""
    kind, _, value = identifier.partition(":")
    match kind, value:
        case _, "n/a":
            return "member", value  # is blocked, and no email
        case "email", _:
            return kind, f"e{value}.{space}@example.org"
        case "phone", _:
            return kind, f"+49151{space:06}{int(value):02}"
        case _:
            return kind, f"{space}-{value}"


def _time(at: Instant) -> Timestamp:
    time = Timestamp()
    time.FromMilliseconds(at)
    return time
