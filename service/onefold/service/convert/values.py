"""Instants, amounts, days and property values."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date
from google.type.money_pb2 import Money

from onefold.graph.model import Instant, Micros, PropertyValue
from onefold.v1 import record_pb2


def parse_timestamp(message: Timestamp) -> Instant:
    """The instant, rounded down to the millisecond."""
    return message.seconds * 1000 + message.nanos // 1_000_000


def timestamp_to_proto(instant: Instant) -> Timestamp:
    """The instant as a Timestamp."""
    return Timestamp(seconds=instant // 1000, nanos=instant % 1000 * 1_000_000)


def maybe_timestamp_to_proto(instant: Instant | None) -> Timestamp | None:
    """The instant as a Timestamp; None, an absent field, if there is none."""
    return None if instant is None else timestamp_to_proto(instant)


def parse_money(message: Money) -> Micros:
    """The amount in micros; the currency is the business of whoever holds it."""
    micros: Micros = message.units * 1_000_000 + message.nanos // 1000
    return micros


def money_to_proto(micros: Micros, currency: str) -> Money:
    """The amount as Money; units and nanos have the same sign."""
    sign = -1 if micros < 0 else 1
    units, rest = divmod(abs(micros), 1_000_000)
    return Money(currency_code=currency, units=sign * units, nanos=sign * rest * 1000)


def parse_date(message: Date) -> date:
    """The day."""
    return date(message.year, message.month, message.day)


def date_to_proto(day: date) -> Date:
    """The day as a Date."""
    return Date(year=day.year, month=day.month, day=day.day)


def parse_value(message: record_pb2.PropertyValue) -> PropertyValue:
    """A property's value."""
    match message.WhichOneof("value"):
        case "date_value":
            return parse_date(message.date_value)
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


def parse_properties(messages: Mapping[str, record_pb2.PropertyValue]) -> dict[str, PropertyValue]:
    """Free properties, by name."""
    return {name: parse_value(message) for name, message in messages.items()}


def properties_to_proto(properties: Mapping[str, PropertyValue]) -> dict[str, record_pb2.PropertyValue]:
    """Free properties, by name."""
    return {name: value_to_proto(value) for name, value in properties.items()}
