"""Any CSV file, by a mapping: which column is which part of a customer, an order or an event.

A mapping is a YAML file. Where a value is wanted stands a column's name, or a mapping of its own::

    timezone: Europe/London            # for times without an offset
    customer:
      source: {constant: crm}
      source_id: CustomerNo            # the column of that name
      observe_time: {column: Changed, format: "%d/%m/%Y %H:%M"}
      region: {column: Country, values: {England: GB, Wales: GB}, default: GB}
      identifiers:
        - {kind: email, value: Mail, assurance: verified}
        - {kind: phone, value: Mobile}
      traits: {given_name: First, family_name: Last}
      properties:
        newsletter: {column: News, type: bool}

Each row gives what its sections say: a section whose own id is empty in a row is passed over, and so is any
other empty cell. With ``order.line``, all rows with one order id are one order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, tzinfo
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from onefold.graph import document
from onefold.graph.errors import InvalidInput, Violation
from onefold.graph.model import TRAITS, Assurance


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Cell(_Part):
    """Where a value comes from: a column, or a constant."""

    column: str | None = None
    constant: str | None = None
    values: Mapping[str, str] | None = None
    """What the column's words mean; another word rejects the row."""
    default: str = ""
    """What an empty cell means."""

    @model_validator(mode="after")
    def _has_one_origin(self) -> Cell:
        if (self.column is None) == (self.constant is None):
            raise ValueError("needs a column or a constant, one of the two")
        return self

    def text(self, row: Mapping[str, str]) -> str:
        """The value in a row, "" where there is none. Raises ValueError for a word that ``values`` lacks."""
        if self.column is None:
            return self.constant or ""
        text = row[self.column].strip() or self.default
        if self.values is None or not text:
            return text
        try:
            return self.values[text]
        except KeyError:
            raise ValueError(f"{text!r} is none of {', '.join(self.values)}") from None


class TimeCell(Cell):
    """Where an instant comes from."""

    format: str | None = None
    """As for ``strptime``, or ``unix`` or ``unix_ms``; without it ISO 8601."""


class DateCell(Cell):
    """Where a day comes from."""

    format: str | None = None
    """As for ``strptime``; without it ISO 8601."""


class PropertyCell(Cell):
    """Where a free property comes from."""

    type: Literal["string", "int", "double", "bool", "date", "list"] = "string"
    format: str | None = None
    """Of a date, as for ``strptime``."""
    separator: str = "|"
    """Of a list."""


def _column(given: object) -> object:
    if isinstance(given, bool | int | float):  # YAML reads a column named no, or 2024, as something else
        raise ValueError("must be a column's name: put it in quotes")
    return {"column": given} if isinstance(given, str) else given


Text = Annotated[Cell, BeforeValidator(_column)]
Time = Annotated[TimeCell, BeforeValidator(_column)]
Day = Annotated[DateCell, BeforeValidator(_column)]
Property = Annotated[PropertyCell, BeforeValidator(_column)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]


class IdentifierPart(_Part):
    """One identifier."""

    kind: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
    value: Text
    assurance: Assurance | None = None
    region: Text | None = None


class CustomerKeyPart(_Part):
    """The key of a customer record."""

    source: Text
    source_id: Text


class CustomerPart(CustomerKeyPart):
    """A customer record."""

    observe_time: Time
    region: Text | None = None
    identifiers: tuple[IdentifierPart, ...] = ()
    traits: Mapping[str, Day] = Field(default_factory=dict)
    properties: Mapping[Name, Property] = Field(default_factory=dict)

    @field_validator("traits")
    @classmethod
    def _traits_are_known(cls, traits: Mapping[str, DateCell]) -> Mapping[str, DateCell]:
        for trait, cell in traits.items():
            if trait not in TRAITS:
                raise ValueError(f"{trait!r} is no trait; known are {', '.join(TRAITS)}")
            if cell.format is not None and TRAITS[trait] is not date:
                raise ValueError(f"{trait!r} is no date, so it has no format")
        return traits


class LinePart(_Part):
    """One product on an order."""

    sku: Text
    quantity: Text
    unit_price: Text
    name: Text | None = None
    category: Text | None = None


class OrderPart(_Part):
    """An order. Without ``customer``, or where its id is empty in a row, a guest order."""

    source: Text
    order_id: Text
    place_time: Time
    status: Text
    currency_code: Text
    customer: CustomerKeyPart | None = None
    region: Text | None = None
    identifiers: tuple[IdentifierPart, ...] = ()
    line: LinePart | None = None
    total: Text | None = None
    channel: Text | None = None
    payment_method: Text | None = None
    coupon: Text | None = None
    properties: Mapping[Name, Property] = Field(default_factory=dict)


class EventPart(_Part):
    """An event, of a customer, a device, or both."""

    source: Text
    event_id: Text
    type: Text
    event_time: Time
    customer: CustomerKeyPart | None = None
    device: IdentifierPart | None = None
    channel: Text | None = None
    properties: Mapping[Name, Property] = Field(default_factory=dict)


class CsvMapping(_Part):
    """What the columns of a file are. Made by :func:`load`."""

    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    encoding: str = "utf-8"
    timezone: str | None = None
    """IANA name of the clock of times that don't say their offset."""
    customer: CustomerPart | None = None
    order: OrderPart | None = None
    event: EventPart | None = None

    @field_validator("timezone")
    @classmethod
    def _timezone_is_known(cls, name: str | None) -> str | None:
        if name is not None:
            try:
                ZoneInfo(name)
            except (ZoneInfoNotFoundError, ValueError):
                raise ValueError(f"{name!r} is no IANA time zone such as Europe/London") from None
        return name

    @model_validator(mode="after")
    def _says_something(self) -> CsvMapping:
        if self.customer is None and self.order is None and self.event is None:
            raise ValueError("needs a customer, an order or an event")
        return self

    @cached_property
    def clock(self) -> tzinfo | None:
        """The clock of times that don't say their offset."""
        return None if self.timezone is None else ZoneInfo(self.timezone)

    def columns(self) -> Iterator[tuple[str, str]]:
        """Each column that the mapping names, after the path of the field that names it."""
        return _columns("", self)


def load(path: Path) -> CsvMapping:
    """The mapping in a YAML file. Raises InvalidInput, naming every field that breaks a rule and its line."""
    try:
        text = path.read_text("utf-8")
    except OSError as err:
        raise InvalidInput([Violation(str(path), f"can't be read: {err.strerror}")]) from err
    except UnicodeDecodeError as err:
        raise InvalidInput([Violation(f"{path} (byte {err.start})", "is not valid UTF-8")]) from err
    return document.parse(text, CsvMapping, name="mapping")


def _columns(path: str, part: object) -> Iterator[tuple[str, str]]:
    if isinstance(part, Cell):
        if part.column is not None:
            yield path, part.column
    elif isinstance(part, BaseModel):
        for name in type(part).model_fields:
            yield from _columns(f"{path}.{name}".lstrip("."), getattr(part, name))
    elif isinstance(part, Mapping):
        for name, value in part.items():
            yield from _columns(f"{path}.{name}", value)
    elif isinstance(part, tuple):
        for place, value in enumerate(part):
            yield from _columns(f"{path}[{place}]", value)
