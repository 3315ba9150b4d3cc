"""Any CSV file into items, by a mapping."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal, InvalidOperation
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from google.type.date_pb2 import Date
from google.type.money_pb2 import Money

from onefold.graph.errors import InvalidInput, Violation
from onefold.graph.model import ORDER_STATUSES, TRAITS, to_instant
from onefold.service.convert import date_to_proto, money_to_proto, timestamp_to_proto
from onefold.service.importing import values
from onefold.service.importing.csv_mapping import (
    Cell,
    CsvMapping,
    CustomerKeyPart,
    CustomerPart,
    DateCell,
    EventPart,
    IdentifierPart,
    LinePart,
    OrderPart,
    PropertyCell,
    TimeCell,
)
from onefold.service.importing.entries import Entry, Parsed, Reason, Reject
from onefold.service.importing.rows import missing_columns, open_csv
from onefold.v1 import record_pb2 as pb

UNIX: Final[Mapping[str, timedelta]] = {"unix": timedelta(seconds=1), "unix_ms": timedelta(milliseconds=1)}
"""Formats of a time that is a number since 1970, and what one is."""

TRUE: Final = frozenset({"true", "t", "yes", "y", "1"})
FALSE: Final = frozenset({"false", "f", "no", "n", "0"})


def read(path: Path, mapping: CsvMapping) -> Iterator[Entry]:
    """The file's items and rejects in the order of its rows; orders of several rows come after all else.

    Where one row of such an order can't be read, the order is left out as a whole.

    Raises InvalidInput when the file lacks a column that the mapping names, naming the field that asks for
    it.
    """
    orders = _Orders()
    with open_csv(path, delimiter=mapping.delimiter, encoding=mapping.encoding) as (header, rows):
        _check_columns(header, mapping)
        for entry in rows:
            if isinstance(entry, Reject):
                yield entry
                continue
            line, cells = entry
            try:
                items = _items(mapping, dict(zip(header, cells, strict=True)), line, orders)
            except ValueError as err:
                yield Reject(line, Reason.BAD_VALUE, str(err), cells)
                continue
            if items is None:
                yield Reject(line, Reason.NO_KEY, "has no id of what the mapping asks for", cells)
            else:
                yield from (Parsed(line, item) for item in items)
    yield from orders.items()


def _check_columns(header: list[str], mapping: CsvMapping) -> None:
    faults = []
    for field, column in mapping.columns():
        if missing_columns(header, [column]):
            close = difflib.get_close_matches(column, header, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(header)}"
            faults.append(Violation(field, f"the file has no column {column!r}; {hint}"))
        elif header.count(column) > 1:
            faults.append(Violation(field, f"the file has column {column!r} twice"))
    if faults:
        raise InvalidInput(faults)


Cells = Mapping[str, str]
"""A row, by column."""


class _Orders:
    """Orders whose lines stand in several rows."""

    def __init__(self) -> None:
        self._orders: dict[tuple[str, str], tuple[int, pb.Order]] = {}
        self._broken: dict[tuple[str, str], int] = {}

    def add(self, line: int, order: pb.Order) -> None:
        """Take an order, or one more line of an order that is known."""
        key = (order.key.source, order.key.order_id)
        if key in self._orders:
            self._orders[key][1].lines.extend(order.lines)
        else:
            self._orders[key] = (line, order)

    def spoil(self, line: int, source: str, order_id: str) -> None:
        """Leave an order out, since one of its rows can't be read."""
        self._broken.setdefault((source, order_id), line)

    def items(self) -> Iterator[Entry]:
        """The orders, by their first rows."""
        for key, (line, order) in self._orders.items():
            if (fault := self._broken.get(key)) is None:
                yield Parsed(line, pb.Item(order=order))
            else:
                words = f"order {key[1]!r} is left out: line {fault} of it can't be read"
                yield Reject(line, Reason.BAD_VALUE, words, list(key))


def _items(mapping: CsvMapping, row: Cells, line: int, orders: _Orders) -> list[pb.Item] | None:
    """What a row gives, apart from orders of several rows; None if it names nothing at all."""
    items: list[pb.Item] = []
    named = False
    if (customer := mapping.customer) and _text(customer.source_id, row, "customer.source_id"):
        items.append(pb.Item(customer=_customer(customer, row, mapping.clock)))
    if (part := mapping.order) and (order_id := _text(part.order_id, row, "order.order_id")):
        named = True
        try:
            order = _order(part, row, mapping.clock)
        except ValueError:
            orders.spoil(line, _text(part.source, row, "order.source"), order_id)
            raise
        if part.line is None:
            items.append(pb.Item(order=order))
        else:
            orders.add(line, order)
    if (event := mapping.event) and _text(event.event_id, row, "event.event_id"):
        items.append(pb.Item(event=_event(event, row, mapping.clock)))
    return items if items or named else None


def _customer(part: CustomerPart, row: Cells, clock: tzinfo | None) -> pb.Customer:
    observed = _time(part.observe_time, row, "customer.observe_time", clock)
    return pb.Customer(
        key=_customer_key(part, row, "customer"),
        identifiers=_identifiers(part.identifiers, row, "customer"),
        traits=pb.Traits(**_traits(part.traits, row)),
        properties=_properties(part.properties, row, "customer"),
        region=_optional(part.region, row, "customer.region"),
        observe_time=timestamp_to_proto(to_instant(observed)),
        utc_offset_minutes=values.offset_minutes(observed),
    )


def _order(part: OrderPart, row: Cells, clock: tzinfo | None) -> pb.Order:
    placed = _time(part.place_time, row, "order.place_time", clock)
    currency = _text(part.currency_code, row, "order.currency_code")
    owner = None if part.customer is None else _customer_key(part.customer, row, "order.customer")
    coupon = _optional(part.coupon, row, "order.coupon")
    total = _optional(part.total, row, "order.total")
    return pb.Order(
        key=pb.OrderKey(
            source=_text(part.source, row, "order.source"),
            order_id=_text(part.order_id, row, "order.order_id"),
        ),
        customer=owner if owner and owner.source_id else None,
        identifiers=_identifiers(part.identifiers, row, "order"),
        region=_optional(part.region, row, "order.region"),
        place_time=timestamp_to_proto(to_instant(placed)),
        utc_offset_minutes=values.offset_minutes(placed),
        status=_status(part.status, row),
        currency_code=currency,
        lines=[] if part.line is None else [_line(part.line, row, currency)],
        total=_money(total, currency, "order.total") if total else None,
        channel=_optional(part.channel, row, "order.channel"),
        payment_method=_optional(part.payment_method, row, "order.payment_method"),
        coupons=[coupon] if coupon else [],
        properties=_properties(part.properties, row, "order"),
    )


def _line(part: LinePart, row: Cells, currency: str) -> pb.OrderLine:
    price = _text(part.unit_price, row, "order.line.unit_price")
    quantity = _text(part.quantity, row, "order.line.quantity")
    return pb.OrderLine(
        sku=_text(part.sku, row, "order.line.sku"),
        name=_optional(part.name, row, "order.line.name"),
        category=_optional(part.category, row, "order.line.category"),
        quantity=_parse(_whole, quantity, "order.line.quantity"),
        unit_price=_money(price, currency, "order.line.unit_price"),
    )


def _event(part: EventPart, row: Cells, clock: tzinfo | None) -> pb.Event:
    happened = _time(part.event_time, row, "event.event_time", clock)
    owner = None if part.customer is None else _customer_key(part.customer, row, "event.customer")
    devices = _identifiers(() if part.device is None else (part.device,), row, "event")
    return pb.Event(
        source=_text(part.source, row, "event.source"),
        event_id=_text(part.event_id, row, "event.event_id"),
        type=_text(part.type, row, "event.type"),
        event_time=timestamp_to_proto(to_instant(happened)),
        utc_offset_minutes=values.offset_minutes(happened),
        customer=owner if owner and owner.source_id else None,
        device=devices[0] if devices else None,
        channel=_optional(part.channel, row, "event.channel"),
        properties=_properties(part.properties, row, "event"),
    )


def _customer_key(part: CustomerKeyPart, row: Cells, path: str) -> pb.CustomerKey:
    return pb.CustomerKey(
        source=_text(part.source, row, f"{path}.source"),
        source_id=_text(part.source_id, row, f"{path}.source_id"),
    )


def _identifiers(parts: tuple[IdentifierPart, ...], row: Cells, path: str) -> list[pb.Identifier]:
    found = []
    for part in parts:
        if value := _text(part.value, row, f"{path}.identifiers ({part.kind})"):
            word = "ASSURANCE_" + ("UNSPECIFIED" if part.assurance is None else part.assurance.upper())
            found.append(
                pb.Identifier(
                    kind=part.kind,
                    value=value,
                    region=_optional(part.region, row, f"{path}.identifiers ({part.kind}).region"),
                    assurance=pb.Assurance.Value(word),
                )
            )
    return found


def _traits(parts: Mapping[str, DateCell], row: Cells) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for trait, cell in parts.items():
        path = f"customer.traits.{trait}"
        if text := _text(cell, row, path):
            if TRAITS[trait] is date:
                found[trait] = _parse(partial(_date, form=cell.format), text, path)
            else:
                found[trait] = _parse(_whole, text, path) if TRAITS[trait] is int else text
    return found


def _properties(parts: Mapping[str, PropertyCell], row: Cells, path: str) -> dict[str, pb.PropertyValue]:
    found = {}
    for name, cell in parts.items():
        where = f"{path}.properties.{name}"
        if text := _text(cell, row, where):
            found[name] = _parse(partial(_property, cell=cell), text, where)
    return found


def _property(text: str, cell: PropertyCell) -> pb.PropertyValue:
    match cell.type:
        case "int":
            return pb.PropertyValue(int_value=_whole(text))
        case "double":
            return pb.PropertyValue(double_value=_finite(text))
        case "bool":
            return pb.PropertyValue(bool_value=_truth(text))
        case "date":
            return pb.PropertyValue(date_value=_date(text, cell.format))
        case "list":
            words = [word.strip() for word in text.split(cell.separator)]
            return pb.PropertyValue(string_list_value=pb.StringList(values=[word for word in words if word]))
        case "string":
            return pb.PropertyValue(string_value=text)


def _text(cell: Cell, row: Cells, path: str) -> str:
    try:
        return cell.text(row)
    except ValueError as err:
        raise ValueError(f"{path}: {err}") from err


def _optional(cell: Cell | None, row: Cells, path: str) -> str:
    return "" if cell is None else _text(cell, row, path)


def _time(cell: TimeCell, row: Cells, path: str, clock: tzinfo | None) -> datetime:
    return _parse(partial(_moment, form=cell.format, clock=clock), _text(cell, row, path), path)


def _status(cell: Cell, row: Cells) -> pb.OrderStatus.ValueType:
    word = _text(cell, row, "order.status").lower()
    if word not in ORDER_STATUSES:
        raise ValueError(f"order.status: {word!r} is none of {', '.join(ORDER_STATUSES)}; map it with values")
    return pb.OrderStatus.Value(f"ORDER_STATUS_{word.upper()}")


def _money(text: str, currency: str, path: str) -> Money:
    return money_to_proto(_parse(values.micros, text, path), currency)


Value = TypeVar("Value")


def _parse(parser: Callable[[str], Value], text: str, path: str) -> Value:
    try:
        return parser(text)
    except (ValueError, OverflowError) as err:
        raise ValueError(f"{path}: {err}") from err


def _whole(text: str) -> int:
    try:
        number = Decimal(text)  # a spreadsheet writes 12 as 12.0
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or abs(number) >= 2**63 or number != int(number):
        raise ValueError(f"{text!r} is no whole number")
    return int(number)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text!r} is no finite number")
    return number


def _truth(text: str) -> bool:
    word = text.lower()
    if word not in TRUE | FALSE:
        raise ValueError(f"{text!r} is neither true nor false")
    return word in TRUE


def _date(text: str, form: str | None) -> Date:
    day = date.fromisoformat(text) if form is None else datetime.strptime(text, form).date()
    return date_to_proto(day)


def _moment(text: str, form: str | None, clock: tzinfo | None) -> datetime:
    if form is not None and form in UNIX:
        return datetime(1970, 1, 1, tzinfo=UTC) + UNIX[form] * _finite(text)
    moment: datetime = datetime.fromisoformat(text) if form is None else datetime.strptime(text, form)
    if moment.tzinfo is None:
        if clock is None:
            raise ValueError(f"{text!r} has no offset from UTC; give the mapping a timezone")
        moment = moment.replace(tzinfo=clock)
    return moment
