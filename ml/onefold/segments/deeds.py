"""What people did, as numbers, and what is computed of it in groups."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from onefold.graph.model import Instant
from onefold.ml import catalogue as ml_catalogue
from onefold.segments.asked import Asked
from onefold.segments.coded import coded, few, of_property, parsed, persons
from onefold.segments.person_features import CARTED, REFERRED, REVIEWED, SHARED, VIEWED, Source, of_source
from onefold.segments.printing import text_of
from onefold.segments.query import query
from onefold.segments.relations import RELATIONS
from onefold.segments.types import Type
from onefold.segments.windows import counted, field_columns, number

PROPERTIES: Final = ("brand", "category", "rating", "session")
"""The free properties of events that features read, whatever a catalogue asks for beside."""

_DAY: Final = 86_400_000
_HOUR: Final = 3_600_000
_MINUTE: Final = 60_000

_TEXT: Final = {
    Source.ACTIONS: "source",
    Source.CHANNELS: "channel",
    Source.CATEGORIES: "category",
    Source.BRANDS: "brand",
}
"""Of which column the texts are that a relation's features give."""


@dataclass(frozen=True, slots=True)
class Deeds:
    """What people did before an instant, in three tables of numbers.

    ``events``: ``person``, ``at`` (milliseconds), ``type`` (a text), whether it is ``viewed``, ``carted``,
    ``reviewed``, ``shared`` or ``referred``, ``rating`` (millionths), ``session``, ``category``, ``brand``,
    ``channel``, ``source``, ``hour`` (local), and the columns that the catalogue's windows read. ``orders``:
    ``person``, ``at``, ``channel``, ``source``, ``hour``. ``lines``: ``person``, ``at``, ``category``, ``currency``,
    ``quantity``, ``unit_price``. Orders and lines are those that were not cancelled. Texts but ``type`` and
    ``currency`` are places in ``texts``, -1 where there is none.
    """

    events: pa.Table
    orders: pa.Table
    lines: pa.Table
    texts: Mapping[str, pa.Array]
    """By the name of the column."""


def deeds(orders: pa.Table, lines: pa.Table, events: pa.Table, identities: pa.Array, asked: Asked) -> Deeds:
    """What these people did, from tables in the columns of :mod:`onefold.segments.columns`."""
    events, who_did = persons(events, identities)
    orders, who_ordered = persons(uncancelled(orders), identities)
    lines, who_bought = persons(uncancelled(lines), identities)
    sources = few("source", events["source"], orders["source"])
    channels = few("channel", events["channel"], orders["channel"])
    categories = few("category", of_property(events["properties"], "category"), lines["category"])
    (brands,) = few("brand", of_property(events["properties"], "brand"))
    return Deeds(
        events=pa.table(
            {
                "person": who_did,
                "at": _ms(events["at"]),
                **_types(events["type"]),
                "rating": parsed(of_property(events["properties"], "rating"), _millionths, pa.int64()),
                "session": coded(of_property(events["properties"], "session"))[0].codes,
                "category": categories[0].codes,
                "brand": brands.codes,
                "channel": channels[0].codes,
                "source": sources[0].codes,
                "hour": _hours(events, "at", asked.time_zone),
                **dict(field_columns(events, asked.windows, asked.event_fields)),
            }
        ),
        orders=pa.table(
            {
                "person": who_ordered,
                "at": _ms(orders["placed_at"]),
                "channel": channels[1].codes,
                "source": sources[1].codes,
                "hour": _hours(orders, "placed_at", asked.time_zone),
            }
        ),
        lines=pa.table(
            {
                "person": who_bought,
                "at": _ms(lines["placed_at"]),
                "category": categories[1].codes,
                **{name: lines[name] for name in ("currency", "quantity", "unit_price")},
            }
        ),
        texts={
            "source": sources[0].texts,
            "channel": channels[0].texts,
            "category": categories[0].texts,
            "brand": brands.texts,
        },
    )


def uncancelled(rows: pa.Table) -> pa.Table:
    """Orders, or lines of orders, that were not cancelled."""
    return rows.filter(pc.not_equal(rows["status"], "cancelled"))


def features_of(done: Deeds, as_of: Instant, asked: Asked) -> list[pa.Table]:
    """The features of all relations of what people did, of events those of models, too, and the counts of the windows.

    Each table has a row for those ``person`` of whom its relation says anything.
    """
    others = (source for source in RELATIONS if source is not Source.EVENTS)
    return [_of_events(done, as_of, asked), *(_of(source, done, as_of) for source in others)]


def _of_events(done: Deeds, as_of: Instant, asked: Asked) -> pa.Table:
    known = [(f.key, f.formula) for f in of_source(Source.EVENTS)]
    known += [(f.key, f.formula) for f in ml_catalogue.of_source(ml_catalogue.Source.EVENTS)]
    windows = counted(asked.windows, asked.event_fields, as_of)
    known += zip(map(text_of, asked.windows), windows.expressions, strict=True)
    return _grouped(RELATIONS[Source.EVENTS], known, done, {"as_of": as_of, **windows.parameters})


def _of(source: Source, done: Deeds, as_of: Instant) -> pa.Table:
    relation = RELATIONS[source]
    parameters = {"as_of": as_of} if "$as_of" in relation else {}
    found = _grouped(relation, [(f.key, f.formula) for f in of_source(source)], done, parameters)
    for feature in of_source(source):
        if feature.type in (Type.TEXT, Type.TEXTS):
            place = found.schema.get_field_index(feature.key)
            found = found.set_column(place, feature.key, _as_texts(found[feature.key], done.texts[_TEXT[source]]))
    return found


def _grouped(relation: str, known: list[tuple[str, str]], done: Deeds, parameters: Mapping[str, Any]) -> pa.Table:
    selected = ", ".join(f"({formula}) AS {_quoted(key)}" for key, formula in known)
    tables = {"events": done.events, "orders": done.orders, "lines": done.lines}
    return query(f"SELECT person, {selected} FROM ({relation}) GROUP BY person", tables, parameters)


def _as_texts(places: pa.ChunkedArray, texts: pa.Array) -> pa.ChunkedArray:
    if not pa.types.is_list(places.type):
        return pa.chunked_array([texts.take(chunk.cast(pa.int64())) for chunk in places.chunks], pa.string())
    lists = [pa.ListArray.from_arrays(chunk.offsets, texts.take(chunk.values)) for chunk in places.chunks]
    return pa.chunked_array(lists, pa.list_(pa.string()))


def _types(types: pa.ChunkedArray) -> dict[str, Any]:
    """The types of events, and what they are by them."""
    (each,) = coded(types)
    asked = {"viewed": VIEWED, "carted": CARTED, "reviewed": REVIEWED, "shared": SHARED, "referred": REFERRED}
    return {"type": each.column()} | {
        name: np.array([re.search(pattern, text) is not None for text in each.texts.to_pylist()], bool)[each.codes]
        for name, pattern in asked.items()
    }


def _hours(rows: pa.Table, at: str, time_zone: str) -> npt.NDArray[np.int32]:
    """The local hour of the day: by the offset of the row, else in the time zone."""
    offset = rows["utc_offset_minutes"]
    ms = _ms(rows[at])
    hours = (ms + np.asarray(pc.fill_null(offset, 0).to_numpy(), np.int64) * _MINUTE) % _DAY // _HOUR
    if offset.null_count:
        there = pc.hour(rows[at].cast(pa.timestamp("ms", time_zone))).to_numpy()
        hours = np.where(pc.is_null(offset).to_numpy(), there, hours)
    return hours.astype(np.int32)


def _ms(instants: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    return np.asarray(instants.cast(pa.int64()).to_numpy(), np.int64)


def _millionths(text: str) -> int | None:
    """A rating as a whole number, so that sums depend on no order."""
    value = number(text)
    return None if value is None or abs(value) > 1e6 else round(value * 1e6)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
