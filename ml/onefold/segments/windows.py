"""Counts of events as features: the columns that conditions read, and an expression a window."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa

from onefold.graph.model import Instant
from onefold.segments import statement
from onefold.segments.asked import EventField
from onefold.segments.check import Rule
from onefold.segments.coded import coded, of_property, parsed
from onefold.segments.reads import reads
from onefold.segments.tree import CountEvents
from onefold.segments.types import Type
from onefold.segments.vocabulary import TypedFeature

_HOUR: Final = 3_600_000


@dataclass(frozen=True, slots=True)
class Counted:
    """What is selected of a person's events for their windows, and the parameters of that."""

    expressions: tuple[str, ...]
    """Of DuckDB, in the order of the windows, over ``type``, ``at`` (milliseconds) and the columns of
    :func:`field_columns`."""
    parameters: Mapping[str, Any] = field(default_factory=dict)


def counted(windows: Iterable[CountEvents], fields: Mapping[str, EventField], as_of: Instant) -> Counted:
    """How many events are in each window that ends at ``as_of``, before which all the events are."""
    expressions, parameters = [], dict[str, Any]()
    typed = {key: TypedFeature(_column(key), each.type) for key, each in fields.items()}
    for number, window in enumerate(windows):
        name = f"w{number}_"
        conditions = [f"type = ${name}type"]
        parameters[f"{name}type"] = window.type
        if window.hours is not None:
            conditions.append(f'"at" >= ${name}start')
            parameters[f"{name}start"] = as_of - window.hours * _HOUR
        if window.where is not None:
            said = statement.duckdb(Rule(window.where, typed), as_of, name)
            conditions.append(said.text)
            parameters |= said.parameters
        expressions.append(f"count(*) FILTER ({' AND '.join(conditions)})")
    return Counted(tuple(expressions), parameters)


def fields_read(windows: Iterable[CountEvents]) -> list[str]:
    """The keys of the fields that the windows ask for, sorted."""
    return sorted({key for window in windows if window.where is not None for key in reads(window.where).features})


def properties_read(windows: Iterable[CountEvents], fields: Mapping[str, EventField]) -> list[str]:
    """The free properties that the windows ask for, sorted."""
    return sorted({fields[key].property for key in fields_read(windows)} - {""})


def field_columns(
    events: pa.Table, windows: Iterable[CountEvents], fields: Mapping[str, EventField]
) -> Iterator[tuple[str, pa.Array]]:
    """Name and values of the columns that the conditions of the windows read: texts case-folded, what is not of the
    field's type unknown."""
    for key in fields_read(windows):
        each = fields[key]
        said = of_property(events["properties"], each.property) if each.property else events["channel"]
        if each.type is Type.TEXT:
            yield _column(key), coded(said)[0].column()
        else:
            parse, type = _PARSED[each.type]
            yield _column(key), parsed(said, parse, type)


def number(text: str) -> float | None:
    """The finite number that a text says, if it says one."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value + 0.0 if math.isfinite(value) else None  # no negative zero


def whole(text: str) -> int | None:
    """The whole number that a text says, if it says one that floats tell apart."""
    value = number(text)
    return int(value) if value is not None and value.is_integer() and abs(value) < 1 << 53 else None


def truth(text: str) -> bool | None:
    """What a text says is so, if ``true`` or ``false``."""
    return {"true": True, "false": False}.get(text)


def _column(key: str) -> str:
    return f"field {key}"


_PARSED: Final[Mapping[Type, tuple[Callable[[str], Any], pa.DataType]]] = {
    Type.INT: (whole, pa.int64()),
    Type.FLOAT: (number, pa.float64()),
    Type.DAYS: (number, pa.float64()),
    Type.BOOL: (truth, pa.bool_()),
}
