"""The UCI "Online Retail" file as a shop would read it: customers, their orders, and what was given back.

One line of the file is one line of an invoice. The rules:

* An invoice is an order of customer ``online_retail:<CustomerID>``, in GBP, on London's clock. Its total is
  what its lines charge. Lines with the same product and price are summed: each was billed.
* An invoice without a customer identifies nobody: rejected.
* A line with a price of zero is a gift and stays on its order. Postage, carriage, fees and manual entries
  stay too, under a category that says so. An order needs a product, or a manual entry, with a price: an
  invoice of gifts or of postage alone is no purchase, and is rejected.
* A cancellation (``C…``) of a product is a refund on the customer's latest earlier orders that have some of
  it left, those at the same price before those at a higher one, over as many orders as it takes. What remains
  was mostly bought before the file begins: rejected.
* Money given back without a product (discount, commission, postage, manual) is a refund on the customer's
  latest earlier orders that have money left.
* An order given back in full is cancelled if that was on the day of the order, else returned.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from onefold.graph.errors import InvalidInput, Violation
from onefold.graph.model import Instant, Micros, to_instant
from onefold.service.convert import money_to_proto, timestamp_to_proto
from onefold.service.importing import values
from onefold.service.importing.entries import Entry, Parsed, Reason, Reject
from onefold.service.importing.rows import Row, missing_columns, open_csv
from onefold.v1 import record_pb2 as pb

SOURCE: Final = "online_retail"
CURRENCY: Final = "GBP"
CHANNEL: Final = "web"
LONDON: Final = ZoneInfo("Europe/London")
COLUMNS: Final = (
    "InvoiceNo",
    "StockCode",
    "Description",
    "Quantity",
    "InvoiceDate",
    "UnitPrice",
    "CustomerID",
    "Country",
)

CATEGORIES: Final[Mapping[str, str]] = {
    "POST": "shipping",
    "DOT": "shipping",
    "C2": "shipping",
    "M": "manual",
    "m": "manual",
    "S": "sample",
    "D": "discount",
    "CRUK": "commission",
    "AMAZONFEE": "fee",
    "BANK CHARGES": "fee",
    "B": "adjustment",
}
"""Codes that are no product, and the category their lines get."""

NOT_SOLD: Final = frozenset(CATEGORIES.values()) - {"manual"}
"""Categories that alone make no purchase. A manual entry is a sale that the till had no code for."""

COUNTRIES: Final[Mapping[str, str]] = {
    "Australia": "AU",
    "Austria": "AT",
    "Bahrain": "BH",
    "Belgium": "BE",
    "Brazil": "BR",
    "Canada": "CA",
    "Cyprus": "CY",
    "Czech Republic": "CZ",
    "Denmark": "DK",
    "EIRE": "IE",
    "Finland": "FI",
    "France": "FR",
    "Germany": "DE",
    "Greece": "GR",
    "Hong Kong": "HK",
    "Iceland": "IS",
    "Israel": "IL",
    "Italy": "IT",
    "Japan": "JP",
    "Lebanon": "LB",
    "Lithuania": "LT",
    "Malta": "MT",
    "Netherlands": "NL",
    "Norway": "NO",
    "Poland": "PL",
    "Portugal": "PT",
    "RSA": "ZA",
    "Saudi Arabia": "SA",
    "Singapore": "SG",
    "Spain": "ES",
    "Sweden": "SE",
    "Switzerland": "CH",
    "USA": "US",
    "United Arab Emirates": "AE",
    "United Kingdom": "GB",
}
"""ISO 3166-1 alpha-2 codes of the file's countries. Channel Islands and European Community have none."""

UNKNOWN_COUNTRY: Final = "Unspecified"


def read(path: Path, tally: Counter[str] | None = None) -> Iterator[Entry]:
    """The file's rejects as they are met, then its customers and orders in the order of their time.

    A customer comes before its first order, and again when its country changes. The same file gives the same
    entries in the same order. ``tally`` counts what was done that rejects nothing: ``lines summed``, ``gift
    lines``, ``refunds``, ``orders cancelled``, ``orders returned``.

    Raises InvalidInput when it is another file.
    """
    tally = Counter() if tally is None else tally
    invoices: dict[str, _Invoice] = {}
    with open_csv(path) as (header, rows):
        if missing := missing_columns(header, COLUMNS):
            raise InvalidInput([Violation(path.name, f"lacks the columns {', '.join(missing)}")])
        places = [header.index(column) for column in COLUMNS]
        for row in rows:
            if isinstance(row, Reject):
                yield row
            elif reject := _take(row, [row[1][place] for place in places], invoices, tally):
                yield reject
    in_time = sorted(invoices.values(), key=lambda invoice: (invoice.at, invoice.line))
    invoices.clear()
    yield from _settle(in_time, tally)
    yield from _items(in_time, tally)


@dataclass(slots=True)
class _Sale:
    """What an invoice sells of one product at one price."""

    sku: str
    name: str
    quantity: int
    price: Micros
    left: int
    """How many have not been given back."""


@dataclass(frozen=True, slots=True)
class _Return:
    """One line of a cancellation."""

    row: Row
    sku: str
    quantity: int
    price: Micros


@dataclass(slots=True)
class _Invoice:
    line: int
    number: str
    customer: str
    country: str
    at: Instant
    offset: int
    day: str
    sales: dict[tuple[str, Micros], _Sale] = field(default_factory=dict)
    returns: list[_Return] = field(default_factory=list)
    unsold: list[Row] = field(default_factory=list)
    """The rows that make no purchase by themselves."""
    is_purchase: bool = False
    total: Micros = 0
    refunded: Micros = 0
    refunds: list[pb.Refund] = field(default_factory=list)
    refund_days: set[str] = field(default_factory=set)

    @property
    def is_order(self) -> bool:
        return self.is_purchase and bool(self.sales)


def _take(row: Row, cells: list[str], invoices: dict[str, _Invoice], tally: Counter[str]) -> Reject | None:
    """Put a row on its invoice, or say why not."""
    line, raw = row
    number, sku, name, quantity_text, date, price_text, customer, country = cells
    if not customer:
        return Reject(line, Reason.NO_CUSTOMER, "names no customer, so it belongs to nobody", raw)
    try:
        quantity, price = _quantity(number, quantity_text), _price(price_text)
        at, offset, day = _moment(date)
    except ValueError as err:
        return Reject(line, Reason.BAD_VALUE, str(err), raw)
    customer = customer.removesuffix(".0")  # the file was once a spreadsheet
    invoice = invoices.get(number)
    if invoice is None:
        invoice = invoices[number] = _Invoice(line, number, customer, country, at, offset, day)
    elif invoice.customer != customer:
        words = f"CustomerID {customer!r} is not the one on the first line of invoice {number!r}"
        return Reject(line, Reason.BAD_VALUE, words, raw)
    if quantity < 0:
        invoice.returns.append(_Return(row, sku, -quantity, price))
        return None
    sale = invoice.sales.get((sku, price))
    if sale is None:
        label = sys.intern(" ".join(name.split()))
        invoice.sales[sku, price] = _Sale(sys.intern(sku), label, quantity, price, quantity)
    else:
        sale.quantity += quantity
        sale.left += quantity
        tally["lines summed"] += 1
    invoice.total += quantity * price
    tally["gift lines"] += price == 0
    if price and CATEGORIES.get(sku) not in NOT_SOLD:
        invoice.is_purchase = True
    else:
        invoice.unsold.append(row)
    return None


def _quantity(number: str, text: str) -> int:
    quantity = int(text)
    if quantity == 0 or (quantity < 0) != number.startswith("C"):
        raise ValueError(f"Quantity {text!r} does not go with invoice {number!r}")
    return quantity


@lru_cache(maxsize=1 << 12)
def _price(text: str) -> Micros:
    price = values.micros(text)
    if price < 0:
        raise ValueError(f"UnitPrice {text!r} is negative")
    return price


@lru_cache(maxsize=1 << 12)
def _moment(text: str) -> tuple[Instant, int, str]:
    """The instant of a London wall clock, its offset from UTC in minutes, and its day."""
    moment = datetime.fromisoformat(text).replace(tzinfo=LONDON)
    return to_instant(moment), values.offset_minutes(moment), text[:10]


def _settle(in_time: list[_Invoice], tally: Counter[str]) -> Iterator[Reject]:
    """Put every return on the orders it belongs to; the rejects are what finds none, and what is no order."""
    orders: defaultdict[str, list[_Invoice]] = defaultdict(list)
    sold: defaultdict[tuple[str, str], list[tuple[_Invoice, _Sale]]] = defaultdict(list)
    for invoice in in_time:
        if invoice.is_order:
            orders[invoice.customer].append(invoice)
            for sale in invoice.sales.values():
                sold[invoice.customer, sale.sku].append((invoice, sale))
        elif invoice.sales:
            for line, row in invoice.unsold:
                yield Reject(line, Reason.NOTHING_SOLD, "is on an invoice that sells no product at a price", row)
        ids = (f"{invoice.number}-{n}" for n in count(1))
        for back in invoice.returns:
            left = _give_back_goods(invoice, back, sold[invoice.customer, back.sku], ids)
            amount = left * back.price
            if back.sku in CATEGORIES:
                amount = _give_back_money(invoice, back, amount, orders[invoice.customer], ids)
            if amount or (left and not back.price):
                yield _unmatched(back, left, amount)


def _give_back_goods(
    cancellation: _Invoice, back: _Return, sold: list[tuple[_Invoice, _Sale]], ids: Iterator[str]
) -> int:
    """Refund a returned product on the orders that sold it; how many pieces found none."""
    wanted = back.quantity
    same = [(order, sale) for order, sale in reversed(sold) if sale.price == back.price]
    dearer = [(order, sale) for order, sale in reversed(sold) if sale.price > back.price]
    for order, sale in same + dearer:
        affordable = (order.total - order.refunded) // back.price if back.price else wanted
        pieces = min(wanted, sale.left, affordable)
        if pieces:
            sale.left -= pieces
            wanted -= pieces
            _refund(order, cancellation, next(ids), pieces * back.price, back.sku, pieces)
    return wanted


def _give_back_money(
    cancellation: _Invoice, back: _Return, amount: Micros, orders: list[_Invoice], ids: Iterator[str]
) -> Micros:
    """Refund an amount on the latest orders that have money left; how much found none."""
    for order in reversed(orders):
        part = min(amount, order.total - order.refunded)
        if part:
            amount -= part
            _refund(order, cancellation, next(ids), part, back.sku, 0)
    return amount


def _refund(order: _Invoice, by: _Invoice, refund_id: str, amount: Micros, sku: str, pieces: int) -> None:
    order.refunded += amount
    order.refund_days.add(by.day)
    order.refunds.append(
        pb.Refund(
            refund_id=refund_id,
            refund_time=timestamp_to_proto(by.at),
            amount=money_to_proto(amount, CURRENCY),
            sku=sku if pieces else "",
            quantity=pieces,
            reason=CATEGORIES.get(sku, "returned"),
        )
    )


def _unmatched(back: _Return, left: int, amount: Micros) -> Reject:
    if back.sku in CATEGORIES:
        words = f"gives back {values.decimal(amount)} {CURRENCY} more than the customer's earlier orders charged"
    else:
        words = f"gives back {left} of {back.quantity} that no earlier order sold at this price or more"
    line, row = back.row
    return Reject(line, Reason.NO_ORDER, words, row)


def _items(in_time: list[_Invoice], tally: Counter[str]) -> Iterator[Parsed]:
    country_of: dict[str, str] = {}
    for invoice in in_time:
        if country_of.get(invoice.customer) != invoice.country:
            country_of[invoice.customer] = invoice.country
            yield Parsed(invoice.line, _customer(invoice))
        if invoice.is_order:
            order = _order(invoice)
            tally["refunds"] += len(order.refunds)
            tally["orders cancelled"] += order.status == pb.ORDER_STATUS_CANCELLED
            tally["orders returned"] += order.status == pb.ORDER_STATUS_RETURNED
            yield Parsed(invoice.line, pb.Item(order=order))


def _customer(invoice: _Invoice) -> pb.Item:
    country = COUNTRIES.get(invoice.country, invoice.country)
    return pb.Item(
        customer=pb.Customer(
            key=pb.CustomerKey(source=SOURCE, source_id=invoice.customer),
            traits=pb.Traits(country="" if country == UNKNOWN_COUNTRY else country),
            observe_time=timestamp_to_proto(invoice.at),
            utc_offset_minutes=invoice.offset,
        )
    )


def _order(invoice: _Invoice) -> pb.Order:
    return pb.Order(
        key=pb.OrderKey(source=SOURCE, order_id=invoice.number),
        customer=pb.CustomerKey(source=SOURCE, source_id=invoice.customer),
        place_time=timestamp_to_proto(invoice.at),
        utc_offset_minutes=invoice.offset,
        status=_status(invoice),
        currency_code=CURRENCY,
        lines=[
            pb.OrderLine(
                sku=sale.sku,
                name=sale.name,
                category=CATEGORIES.get(sale.sku, ""),
                quantity=sale.quantity,
                unit_price=money_to_proto(sale.price, CURRENCY),
            )
            for sale in invoice.sales.values()
        ],
        total=money_to_proto(invoice.total, CURRENCY),
        channel=CHANNEL,
        refunds=invoice.refunds,
    )


def _status(invoice: _Invoice) -> pb.OrderStatus.ValueType:
    if invoice.refunded < invoice.total:
        return pb.ORDER_STATUS_DELIVERED
    if invoice.refund_days == {invoice.day}:
        return pb.ORDER_STATUS_CANCELLED
    return pb.ORDER_STATUS_RETURNED
