"""What a profile says of people, as features."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from typing import Any, Final

import pyarrow as pa

from onefold.graph.model import Instant, to_instant
from onefold.ml.columns import INSTANT
from onefold.segments.asked import Asked
from onefold.segments.coded import coded, of_property, parsed
from onefold.segments.folding import folded
from onefold.segments.person_features import Source, of_source
from onefold.segments.query import query
from onefold.segments.tree import CountEvents
from onefold.segments.types import Type
from onefold.segments.windows import number, truth, whole

_PEOPLE: Final = ", ".join(f"({feature.formula}) AS {feature.key}" for feature in of_source(Source.PEOPLE))


def features_of(people: pa.Table, today: date, asked: Asked) -> pa.Table:
    """Traits, and the catalogue's features that are free properties, row by row of
    :data:`onefold.segments.columns.PEOPLE`."""
    known = people.drop_columns(["identity", "properties"])
    for place, field in enumerate(known.schema):
        if field.type == pa.string():
            known = known.set_column(place, field.name, coded(known[field.name])[0].column())
    found = query(
        f"SELECT {_PEOPLE} FROM (SELECT *, $today::DATE AS today FROM people) ORDER BY person",
        {"people": known.append_column("person", pa.array(range(len(known)), pa.int64()))},
        {"today": today.isoformat()},
    )
    for key, custom in asked.features.items():
        if not isinstance(custom.source, CountEvents):
            parse, type = _PARSED[custom.type]
            said = parsed(of_property(people["properties"], custom.source.name), parse, type)
            found = found.append_column(key, said)
    return found


def _text(text: str) -> str | None:
    return folded(text) or None


def _texts(text: str) -> list[str]:
    """The entries of a list, which is written as JSON; else the one text."""
    try:
        said = json.loads(text)
    except ValueError:
        said = text
    entries = map(str, said) if isinstance(said, list) else [text]
    return sorted({folded(entry) for entry in entries} - {""})


def _instant(text: str) -> Instant | None:
    """An instant or, of a day, its midnight UTC."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return None
    return to_instant(when if when.tzinfo else when.replace(tzinfo=UTC))


_PARSED: Final[Mapping[Type, tuple[Callable[[str], Any], pa.DataType]]] = {
    Type.INT: (whole, pa.int64()),
    Type.FLOAT: (number, pa.float64()),
    Type.DAYS: (number, pa.float64()),
    Type.BOOL: (truth, pa.bool_()),
    Type.TEXT: (_text, pa.string()),
    Type.TEXTS: (_texts, pa.list_(pa.string())),
    Type.INSTANT: (_instant, INSTANT),
}
